"""The bench of training recipes, on next to nothing."""

from __future__ import annotations

from explore.bench import training


def test_a_row_a_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    small = {"train": 8, "test": 3, "samples": 16}
    monkeypatch.setattr(training, "CONFIG", training.CONFIG | small)
    monkeypatch.setattr(training, "VARIANTS", {name: training.VARIANTS[name] for name in ("paper", "ours")})
    shares: list[float] = []
    rows, claims = training.run(shares.append)
    assert [row["recipe"] for row in rows] == ["paper", "ours"] and shares[-1] == 1
    assert all(row["mpjpe_mm"] > 0 and row["flip_test_mpjpe_mm"] > 0 for row in rows)
    assert claims[0].holds == (rows[1]["mpjpe_mm"] < rows[0]["mpjpe_mm"])
