"""Benchmark `distillation` on a minimal data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import distillation
from benchmarks.distillation import KINDS
from tests.helpers.training import tiny_arch


@pytest.mark.slow
def test_an_interrupted_run_continues_and_the_samples_follow_the_cpu_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    arch = tiny_arch().model_dump(mode="json")
    small = {
        "train": 16, "val": 8, "samples": 16, "teacher_samples": 24, "seeds": [0, 1], "teacher": arch,
        "student": arch,
    }  # fmt: skip
    monkeypatch.setattr(distillation, "CONFIG", distillation.CONFIG | small)
    real, trained = distillation._train, list[int]()

    def timed(arch: Any, evaluator: Any, config: Any, seed: int, path: Path, report: Any) -> dict[str, Any]:
        trained.append(config.samples)
        if len(trained) == 4:
            raise KeyboardInterrupt
        seconds = 6.0 if path.stem == "0" else 2.0 if config.teacher else config.samples / 16  # 16 samples/s
        return real(arch, evaluator, config, seed, path, report) | {"cpu_s": seconds}

    monkeypatch.setattr(distillation, "_train", timed)
    with pytest.raises(KeyboardInterrupt):
        distillation.run(lambda share: None)
    shares: list[float] = []
    rows, claims = distillation.run(shares.append)
    assert trained == [24, 16, 16, 32, 32, 128, 16, 16, 32, 128]  # the fourth was started twice
    assert [(row["student"], row["seed"]) for row in rows] == [("teacher", 0), *((k, s) for s in (0, 1) for k in KINDS)]
    assert shares[-1] == 1 and not list(tmp_path.glob("bench-*"))
    assert len({row["mpjpe_mm"] for row in rows}) == len(rows) and len(claims) == 3
