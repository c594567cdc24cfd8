"""The bench of training recipes, on next to nothing."""

from __future__ import annotations

import pytest

from explore.bench import training


def test_a_row_a_recipe_and_what_was_trained_is_kept_until_the_end(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    small = {"train": 8, "few": 4, "test": 3, "samples": 16, "seeds": [0, 1], "seeds_of_changes": [0]}
    monkeypatch.setattr(training, "CONFIG", training.CONFIG | small)
    monkeypatch.setattr(training, "VARIANTS", {name: training.VARIANTS[name] for name in ("paper", "ours")})
    trained: list[int] = []
    real = training._train

    def stopped_once(arch, judge, values, seed, state, told):
        trained.append(seed)
        if len(trained) == 4:
            raise KeyboardInterrupt
        return real(arch, judge, values, seed, state, told)

    monkeypatch.setattr(training, "_train", stopped_once)
    with pytest.raises(KeyboardInterrupt):
        training.run(lambda share: None)
    shares: list[float] = []
    rows, claims = training.run(shares.append)
    assert len(trained) == 6  # five, one of them begun twice
    assert [(row["recipe"], row["frames"]) for row in rows] == [("paper", 8), ("ours", 8), ("ours", 4)]
    assert shares[-1] == 1 and not list(tmp_path.glob("bench-*"))
    assert [len(row["by_seed_mm"]) for row in rows] == [2, 2, 1]
    for row in rows:
        seeds = row["by_seed_mm"]
        assert row["mpjpe_mm"] == pytest.approx(sum(seeds) / len(seeds), abs=0.11) and len(set(seeds)) == len(seeds)
        assert row["flip_test_mpjpe_mm"] > 0
    gains = [paper - ours for paper, ours in zip(rows[0]["by_seed_mm"], rows[1]["by_seed_mm"], strict=True)]
    assert claims[0].holds == all(gain > 0 for gain in gains)
