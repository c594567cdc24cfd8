"""Benchmark `hypervolume` with synthetic rows of the reference networks."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from arch.cost import cost
from arch.space import Arch
from benchmarks import hypervolume
from benchmarks.estimators import estimates, ranking, reference
from benchmarks.hypervolume import export_cost
from benchmarks.hypervolume.replay import replay, stop_search, volume
from benchmarks.hypervolume.world import Recorded, World, leave_one_out, read_recorded
from explore.estimate import inherit, predictor
from tests.helpers import ROOT

SEED_MM = 2.0


def truth(arch: Arch) -> float:
    return 260 - 9 * math.log2(cost(arch).macs / 1e4) + 4 * (arch.decoder_width == 32)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of two seeds and of the estimators short and inherit; none of the supernet."""
    monkeypatch.setattr(reference, "ROWS", tmp_path / "reference.jsonl")
    monkeypatch.setattr(estimates, "ROWS", tmp_path / "estimates.jsonl")
    rng = random.Random(0)
    full, estimated = [], []
    for arch in reference.networks():
        facts = {"set": reference.set_hash(), "arch_id": arch.id}
        for seed in (0, 1):
            full.append(facts | {"seed": seed, "mm": truth(arch) + rng.gauss(0, SEED_MM), "cpu_s": 100.0})
        for name, noise in (("short", 2.0), ("inherit", 12.0)):
            mm = 100 + 0.5 * truth(arch) + rng.gauss(0, noise)
            estimated.append(facts | {"estimator": name, "budget": 3200, "mm": mm, "cpu_s": 10.0})
    reference.ROWS.write_text("".join(json.dumps(row) + "\n" for row in full))
    estimates.ROWS.write_text("".join(json.dumps(row) + "\n" for row in estimated))
    monkeypatch.chdir(ROOT)  # folder of the latency predictor


@pytest.fixture
def known(rows: None) -> Recorded:
    return read_recorded()


@pytest.mark.slow
def test_worlds_agree_with_the_recorded_networks(known: Recorded) -> None:
    assert known.seed_mm == pytest.approx(SEED_MM, rel=0.4) and set(known.estimators) == {"short", "inherit"}
    means, deviations = leave_one_out(known)
    assert ranking.tau(means, known.errors) > 0.8
    assert np.mean(np.abs(means - known.errors) < 1.645 * deviations) > 0.75
    worlds = [World(known, seed, 5.0) for seed in (0, 0, 1)]
    for arch, mm in zip(known.archs, known.errors, strict=True):
        assert worlds[0].error(arch) == worlds[1].error(arch) != worlds[2].error(arch)
        assert abs(worlds[0].error(arch) - mm) < 12
    rng = random.Random(3)
    archs = [known.space.sample(rng) for _ in range(150)]
    errors = np.array([worlds[0].error(arch) for arch in archs])
    assert ranking.tau(errors, np.array([truth(arch) for arch in archs])) > 0.7
    full = ranking.tau(np.array([worlds[0].trained(arch) for arch in archs]), errors)
    short, inherited = (
        ranking.tau(np.array([worlds[0].estimate(name, arch) for arch in archs]), errors)
        for name in ("short", "inherit")
    )
    assert full > short > inherited


@pytest.mark.slow
def test_searches_follow_the_rules_and_count_all_costs(known: Recorded) -> None:
    world = World(known, 0, 5.0)
    found = {name: replay(world, name, "random", 30) for name in ("full", "short", "inherit", "predictor")}
    assert all(len({one.arch.id for one in each}) == 30 for each in found.values())
    in_full = {name: sum(one.in_full for one in each) for name, each in found.items()}
    assert in_full["full"] == 30 and in_full["short"] == 0 and in_full["inherit"] == inherit.MIN_PARENTS
    assert predictor.MIN_NETWORKS <= in_full["predictor"] < 30
    assert all(one.mm == world.trained(one.arch) for one in found["predictor"] if one.in_full)
    stop = stop_search(world, "full", found["full"], 6)
    assert len(stop.exported) == 6 and stop.cpu_s == pytest.approx(30 * (100 + 5), rel=0.01)
    after = stop_search(world, "short", found["short"], 6)
    before = sum(one.cpu_s for one in found["short"])
    assert after.cpu_s - before == pytest.approx(6 * 105, rel=0.01)
    corner = np.array([300.0, 1.0])
    assert volume(world, [one.arch for one in found["full"]], corner) >= volume(world, stop.exported, corner) > 0


def test_rows_claims_and_page(rows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"seeds": [0, 1], "wanted": [10, 16], "stops": [6, 10, 16], "finalists": 4, "pool": 60}
    monkeypatch.setattr(hypervolume, "CONFIG", hypervolume.CONFIG | small)
    monkeypatch.setattr(hypervolume, "TARGETS", {10: 1 / 3, 16: 0.1})
    monkeypatch.setattr(hypervolume, "PLOT", tmp_path / "plot.png")
    monkeypatch.setattr(export_cost, "seconds", lambda archs: 5.0)
    shares: list[float] = []
    found, claims = hypervolume.run(shares.append)
    assert shares[-1] == 1 and (tmp_path / "plot.png").stat().st_size > 1000
    methods = {row["row"]: row for row in found if "reached_16" in row}
    assert set(methods) == {"full tpe", "full random"} | {
        f"{name} {sampler}" for name in ("short", "inherit", "predictor") for sampler in ("tpe", "nsga2")
    }
    assert methods["full tpe"]["cpu_share_16"] == 1 and methods["full tpe"]["reached_16"] == 2
    assert methods["short tpe"]["cpu_s_16"] < methods["full tpe"]["cpu_s_16"]
    assert all(0 < row["hypervolume_16"] <= 1 for row in methods.values())
    assert len(claims) == 6
    text = hypervolume.markdown(found, claims)
    assert "These are simulated searches" in text and "recorded rows are missing: supernet" in text


def test_claims_use_the_better_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervolume, "TARGETS", {60: 1 / 3})
    shares = {"full tpe": 1.0, "short tpe": 0.5, "short nsga2": 0.3, "inherit tpe": None, "supernet tpe": 0.4}
    claims = hypervolume._claims([{"row": name, "reached_share_60": share} for name, share in shares.items()])
    assert [(claim.measured, claim.passed) for claim in claims] == [
        ("0.3 (short nsga2)", True),
        ("not reached by most seeds", False),
        ("0.4 (supernet tpe)", False),
    ]
