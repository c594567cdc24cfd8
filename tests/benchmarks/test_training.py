"""Benchmark `training` on a minimal data set."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import training, training_long
from tests.helpers.training import tiny_arch


@pytest.mark.slow
def test_interrupted_run_continues(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    small = {"train": 8, "few": 4, "test": 3, "samples": 16, "seeds": [0, 1], "seeds_of_changes": [0]}
    monkeypatch.setattr(training, "CONFIG", training.CONFIG | small)
    monkeypatch.setattr(training, "VARIANTS", {name: training.VARIANTS[name] for name in ("paper", "ours")})
    trained: list[int] = []
    real = training._train

    def interrupted_once(arch, evaluator, values, seed, state, report):
        trained.append(seed)
        if len(trained) == 4:
            raise KeyboardInterrupt
        return real(arch, evaluator, values, seed, state, report)

    monkeypatch.setattr(training, "_train", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        training.run(lambda share: None, "presets")
    shares: list[float] = []
    rows, claims = training.run(shares.append, "presets")
    assert len(trained) == 6  # five trainings, one of them started twice
    assert [(row["preset"], row["frames"]) for row in rows] == [("paper", 8), ("ours", 8), ("ours", 4)]
    assert shares[-1] == 1 and not list(tmp_path.glob("bench-*"))
    assert [len(row["by_seed_mm"]) for row in rows] == [2, 2, 1]
    for row in rows:
        seeds = row["by_seed_mm"]
        assert row["mpjpe_mm"] == pytest.approx(sum(seeds) / len(seeds), abs=0.11) and len(set(seeds)) == len(seeds)
        assert row["flip_test_mpjpe_mm"] > 0
    gains = np.subtract(rows[0]["by_seed_mm"], rows[1]["by_seed_mm"])
    assert claims[0].low == pytest.approx(gains.min()) and claims[0].high == pytest.approx(gains.max())


@pytest.mark.parametrize(("ours", "passed"), [([90.0, 95.0], True), ([90.0, 101.0], False)])
def test_claim_needs_a_gain_with_every_seed(ours, passed, monkeypatch):
    monkeypatch.setattr(training, "CONFIG", training.CONFIG | {"train": 8})
    rows = [
        {"preset": "paper", "frames": 8, "by_seed_mm": [100.0, 100.0]},
        {"preset": "ours", "frames": 8, "by_seed_mm": ours},
    ]
    (claim,) = training.claims(rows)
    assert claim.passed == passed


def test_long_runs_change_one_setting_each_and_keep_the_other_part(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    small = {"data": {"dataset": {"train_frames": 8, "val_frames": 4, "test_frames": 4}}}
    monkeypatch.setattr(
        training_long, "LONG", training_long.LONG | small | {"arch": tiny_arch().model_dump(mode="json")}
    )
    monkeypatch.setattr(
        training_long,
        "RUNS",
        ({"samples": 16}, {"samples": 16, "batch_size": 4}, {"samples": 8}, {"samples": 16, "seed": 1}),
    )
    monkeypatch.setattr(training_long, "FRAMES", {16: 8, 8: 4})
    before = [
        {"recipe": "paper", "frames": 6000, "by_seed_mm": [100.0]},
        {"recipe": "ours", "frames": 6000, "by_seed_mm": [90.0]},
    ]
    rows, claims = training.run(lambda share: None, "long", before)
    assert [row.get("preset") for row in rows] == ["paper", "ours", None, None, None, None] and claims[0].passed
    assert [row["passes"] for row in rows[2:]] == [2, 2, 4, 2]
    assert [row["changes"] for row in rows[2:]] == [{}, {"batch_size": 4}, {}, {"seed": 1}]
    assert len({row["mpjpe_mm"] for row in rows[2:]}) == 4
    assert training.run(lambda share: None, "long", rows)[0] == rows  # nothing is trained again
