"""Benchmark `loop` on a minimal data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import loop


@pytest.mark.slow
def test_rows_of_all_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    monkeypatch.setattr(loop, "CONFIG", loop.CONFIG | {"train": 8, "test": 3, "rounds": 1, "seconds": 0.05, "warm": 1})
    chosen = {name: setting for name, setting in loop.SETTINGS.items() if not setting.compiled and "-L" not in name}
    monkeypatch.setattr(loop, "SETTINGS", chosen)
    monkeypatch.setattr(loop, "_claims", lambda rows: [])  # needs settings that this test leaves out
    shares: list[float] = []
    rows, _ = loop.run(shares.append)
    assert [row["setting"] for row in rows] == list(chosen) and shares[-1] == 1
    for row in rows:
        assert row["images_s"] > 0 and sum(row[stage] for stage in loop.STAGES) == pytest.approx(1, abs=0.01)
