"""The replay of searches, on made-up rows of the reference's own networks."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from arch.cost import cost
from arch.space import Arch
from explore.bench import hypervolume
from explore.bench.estimators import estimates, ranking, reference
from explore.bench.hypervolume import shipping
from explore.bench.hypervolume.replay import replay, stopped, volume
from explore.bench.hypervolume.world import Known, World, leave_one_out, read_known
from explore.estimate import inherit, predictor
from explore.estimate.short import in_better_half

ROOT = Path(__file__).resolve().parents[2]
SEED_MM = 2.0


def truth(arch: Arch) -> float:
    return 260 - 9 * math.log2(cost(arch).macs / 1e4) + 4 * (arch.decoder_width == 32)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference of two seeds, short and inherit runs; no supernet."""
    monkeypatch.setattr(reference, "ROWS", tmp_path / "reference.jsonl")
    monkeypatch.setattr(estimates, "ROWS", tmp_path / "estimates.jsonl")
    rng = random.Random(0)
    full, told = [], []
    for arch in reference.networks():
        facts = {"set": reference.set_hash(), "arch_id": arch.id}
        for seed in (0, 1):
            full.append(facts | {"seed": seed, "mm": truth(arch) + rng.gauss(0, SEED_MM), "cpu_s": 100.0})
        for name, noise in (("short", 2.0), ("inherit", 12.0)):
            mm = 100 + 0.5 * truth(arch) + rng.gauss(0, noise)
            told.append(facts | {"estimator": name, "budget": 3200, "mm": mm, "cpu_s": 10.0})
    reference.ROWS.write_text("".join(json.dumps(row) + "\n" for row in full))
    estimates.ROWS.write_text("".join(json.dumps(row) + "\n" for row in told))
    monkeypatch.chdir(ROOT)  # of the latency predictor


@pytest.fixture
def known(rows: None) -> Known:
    return read_known()


def test_drawn_worlds_hold_what_was_recorded_and_differ_elsewhere(known: Known) -> None:
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
        ranking.tau(np.array([worlds[0].told(name, arch) for arch in archs]), errors) for name in ("short", "inherit")
    )
    assert full > short > inherited


def test_searches_follow_the_estimators_rules_and_pay_for_everything(known: Known) -> None:
    world = World(known, 0, 5.0)
    found = {name: replay(world, name, "random", 30) for name in ("full", "short", "inherit", "predictor")}
    assert all(len({one.arch.id for one in each}) == 30 for each in found.values())
    in_full = {name: sum(one.in_full for one in each) for name, each in found.items()}
    assert in_full["full"] == 30 and in_full["short"] == 0 and in_full["inherit"] == inherit.PARENTS
    assert predictor.ENOUGH <= in_full["predictor"] < 30
    assert all(one.mm == world.trained(one.arch) for one in found["predictor"] if one.in_full)
    stop = stopped(world, "full", found["full"], 6)
    assert len(stop.shipped) == 6 and stop.cpu_s == pytest.approx(30 * (100 + 5), rel=0.01)
    after = stopped(world, "short", found["short"], 6)
    before = sum(one.cpu_s for one in found["short"])
    assert after.cpu_s - before == pytest.approx(6 * 105, rel=0.01)
    corner = np.array([300.0, 1.0])
    assert volume(world, [one.arch for one in found["full"]], corner) >= volume(world, stop.shipped, corner) > 0


def test_half_of_those_trained_as_long_go_on() -> None:
    peers = [(100.0, 4.0), (110.0, 3.0), (120.0, 4.0), (130.0, 5.0), (140.0, 6.0)]
    assert [in_better_half(peers, mine) for mine in peers] == [True, True, True, False, False]
    assert not in_better_half(peers[:3], peers[0])


def test_the_bench_from_rows_to_page(rows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"seeds": [0, 1], "wanted": [10, 16], "stops": [6, 10, 16], "finalists": 4, "pool": 60}
    monkeypatch.setattr(hypervolume, "CONFIG", hypervolume.CONFIG | small)
    monkeypatch.setattr(hypervolume, "ASKED", {10: 1 / 3, 16: 0.1})
    monkeypatch.setattr(hypervolume, "PLOT", tmp_path / "plot.png")
    monkeypatch.setattr(shipping, "seconds", lambda archs: 5.0)
    shares: list[float] = []
    found, claims = hypervolume.run(shares.append)
    assert shares[-1] == 1 and (tmp_path / "plot.png").stat().st_size > 1000
    methods = {row["row"]: row for row in found if "reached_16" in row}
    assert set(methods) == {"full tpe", "full random"} | {
        f"{name} {asks}" for name in ("short", "inherit", "predictor") for asks in ("tpe", "nsga2")
    }
    assert methods["full tpe"]["cpu_share_16"] == 1 and methods["full tpe"]["reached_16"] == 2
    assert methods["short tpe"]["cpu_s_16"] < methods["full tpe"]["cpu_s_16"]
    assert all(0 < row["hypervolume_16"] <= 1 for row in methods.values())
    assert len(claims) == 6 and all(
        claim.holds is False or "tpe" in claim.measured or "nsga2" in claim.measured for claim in claims
    )
    text = hypervolume.markdown(found, claims)
    assert "A replay, no search" in text and "not replayed: supernet" in text
