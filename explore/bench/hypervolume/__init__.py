"""Hypervolume against CPU seconds: searches by every estimator, replayed in worlds drawn from recorded networks.

Searches of this length by real training are days of CPU. Here the samplers, the estimators' rules and the choice of
finalists are the project's own; errors are looked up in a surrogate of the recorded reference, and costs are those that
were measured. Says how long estimators of such errors take, not what a real search would find.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arch.space import Arch
from explore.bench import Claim
from explore.bench.estimators import ranking, reference
from explore.bench.hypervolume import shipping
from explore.bench.hypervolume.page import page, plot
from explore.bench.hypervolume.replay import Candidate, replay, stopped, volume
from explore.bench.hypervolume.world import Known, World, leave_one_out, read_known
from explore.config import SearchConfig
from explore.search.front import Points, ranks

CONFIG: dict[str, Any] = {
    "seeds": [0, 1, 2, 3, 4], "wanted": [60, 500], "finalists": SearchConfig().finalists, "pool": 1000, "shipped_for_cost": 4,
    "stops": [12, 20, 30, 45, 60, 90, 130, 180, 250, 350, 500], "reference": reference.SET,
}  # fmt: skip
METHODS = [("full", "tpe"), ("full", "random")] + [
    (name, asks) for name in ("short", "inherit", "supernet", "predictor") for asks in ("tpe", "nsga2")
]
ASKED = {60: 1 / 3, 500: 0.1}  # of full training's CPU seconds, to its hypervolume
PLOT = Path("results/bench/hypervolume.png")

Method = tuple[str, str]  # estimator, sampler
Curve = dict[int, tuple[float, float]]  # candidates -> (CPU seconds, share of the best hypervolume)


@dataclass(frozen=True)
class Replayed:
    """All searches of one seed: what estimators' orders agree to, and each method's curve."""

    agreed: dict[str, dict[str, float]]
    curves: dict[Method, Curve]


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """A row for the surrogate, each estimator in it, and each method; what was asked of them."""
    known = read_known()
    ship_s = shipping.seconds(known.archs[:: len(known.archs) // CONFIG["shipped_for_cost"]])
    done: list[Replayed] = []
    for seed in CONFIG["seeds"]:
        done.append(
            replay_seed(known, seed, ship_s, lambda share: progress((len(done) + share) / len(CONFIG["seeds"])))
        )
    return record(known, ship_s, done)


def replay_seed(known: Known, seed: int, ship_s: float, progress: Callable[[float], None]) -> Replayed:
    """Every method in the world of that seed."""
    world = World(known, seed, ship_s)
    pool = _pool(world)
    methods = [(name, asks) for name, asks in METHODS if name in ("full", "predictor") or name in known.estimators]
    found: dict[Method, list[Candidate]] = {}
    for turn, method in enumerate(methods):
        found[method] = replay(world, *method, max(CONFIG["wanted"]))
        progress((turn + 1) / len(methods))
    return Replayed(_agreement(world, pool), _curves(world, pool, found))


def record(known: Known, ship_s: float, done: list[Replayed]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Rows and claims; leaves the plot."""
    curves = {method: [each.curves[method] for each in done] for method in done[0].curves}
    replayed = _replayed(known, [each.agreed for each in done])
    rows = [_surrogate(known, ship_s), *replayed, *(_row(method, curves) for method in curves)]
    plot(PLOT, curves)
    return rows, _claims(rows)


def markdown(rows: list[dict[str, Any]], claims: list[Claim]) -> str:
    return page(rows, CONFIG)


def _pool(world: World) -> list[Arch]:
    """Random networks of the space: what bounds and scales hypervolumes."""
    rng = random.Random(f"pool {world.seed}")
    return [world.known.space.sample(rng) for _ in range(CONFIG["pool"])]


def _curves(world: World, pool: list[Arch], found: dict[Method, list[Candidate]]) -> dict[Method, Curve]:
    """Each method's stops, hypervolumes as shares of that of the best networks that any of them or the pool has."""
    everyone = {arch.id: arch for arch in (*pool, *(one.arch for each in found.values() for one in each))}
    points = np.array([[world.error(arch), np.log10(world.ms(arch))] for arch in everyone.values()])
    corner: Points = points[: len(pool)].max(0)
    front = ranks(points) == 0
    best = volume(world, [arch for arch, on in zip(everyone.values(), front, strict=True) if on], corner)
    curves: dict[Method, Curve] = {}
    for method, candidates in found.items():
        curves[method] = {}
        for count in CONFIG["stops"]:
            stop = stopped(world, method[0], candidates[:count], CONFIG["finalists"])
            curves[method][count] = (stop.cpu_s, volume(world, stop.shipped, corner) / best)
    return curves


def _agreement(world: World, pool: list[Arch]) -> dict[str, dict[str, float]]:
    """tau-b of what estimators say of random networks, overall and within the reference's bins of MACs."""
    placed = [(arch, place) for arch in pool[:300] if (place := reference.bin_of(arch)) is not None]
    archs, bins = [arch for arch, _ in placed], [place for _, place in placed]
    truth = np.array([world.error(arch) for arch in archs])
    said = {name: np.array([world.told(name, arch) for arch in archs]) for name in world.known.estimators}
    said["full"] = np.array([world.trained(arch) for arch in archs])
    return {
        name: {"overall": ranking.tau(mm, truth), "within": ranking.tau(mm, truth, bins)} for name, mm in said.items()
    }


def _surrogate(known: Known, ship_s: float) -> dict[str, Any]:
    """How well the surrogate tells a reference network from the others, and what things cost."""
    means, deviations = leave_one_out(known)
    bins = [reference.bin_of(arch) or 0 for arch in known.archs]
    misses = means - known.errors
    return {
        "row": "surrogate, leave-one-out",
        "networks": len(known.archs),
        "tau_overall": round(ranking.tau(means, known.errors), 2),
        "tau_within_bins": round(ranking.tau(means, known.errors, bins), 2),
        "error_mm": round(float(np.sqrt(np.mean(misses**2))), 2),
        "within_90": round(float(np.mean(np.abs(misses) <= 1.645 * deviations)), 2),
        "seed_deviation_mm": round(known.seed_mm, 2),
        "own_part_mm": round(known.surface.deviation * known.surface.sizes.own**0.5, 2),
        "spread_mm": round(float(known.errors.std(ddof=1)), 2),
        "full_cpu_s": round(float(np.mean([known.full(arch) for arch in known.archs])), 1),
        "ship_s": round(ship_s, 2),
    }


def _replayed(known: Known, agreed: list[dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """Estimators as the replay has them, beside what was recorded of them."""
    bins = [reference.bin_of(arch) or 0 for arch in known.archs]
    rows = []
    for name, found in known.estimators.items():
        said = found.recorded
        rows.append(
            {
                "row": f"{name} as replayed",
                "budget": found.budget,
                "tau_overall": round(ranking.tau(said, known.errors), 2),
                "tau_within_bins": round(ranking.tau(said, known.errors, bins), 2),
                "replayed_tau_overall": round(float(np.mean([each[name]["overall"] for each in agreed])), 2),
                "replayed_tau_within_bins": round(float(np.mean([each[name]["within"] for each in agreed])), 2),
                "cpu_s_a_network": round(float(np.mean([found.each(arch) for arch in known.archs])), 2),
                "cpu_s_once": round(found.once, 1),
            }
        )
    return rows


def _row(method: Method, curves: dict[Method, list[Curve]]) -> dict[str, Any]:
    """A method over all seeds: hypervolume and CPU seconds at each number of candidates, and when it reaches full's."""
    row: dict[str, Any] = {"row": " ".join(method)}
    for wanted in CONFIG["wanted"]:
        pairs = list(zip(curves[method], curves["full", "tpe"], strict=True))
        shares = [_reached(mine, theirs, wanted) for mine, theirs in pairs]
        there = [share for share in shares if share is not None]
        row |= {
            f"hypervolume_{wanted}": round(float(np.mean([mine[wanted][1] for mine, _ in pairs])), 3),
            f"hypervolume_{wanted}_seeds": [round(mine[wanted][1], 3) for mine, _ in pairs],
            f"cpu_s_{wanted}": round(float(np.mean([mine[wanted][0] for mine, _ in pairs]))),
            f"cpu_share_{wanted}": round(
                float(np.mean([mine[wanted][0] / full[wanted][0] for mine, full in pairs])), 3
            ),
            f"reached_{wanted}": len(there),
            f"reached_share_{wanted}": round(float(np.median(there)), 3) if 2 * len(there) > len(shares) else None,
        }
    return row


def _reached(mine: Curve, full: Curve, wanted: int) -> float | None:
    """CPU seconds to full training's final hypervolume, of full training's; None if `wanted` candidates never do."""
    seconds, asked = full[wanted]
    return next((spent / seconds for count, (spent, have) in mine.items() if count <= wanted and have >= asked), None)


def _claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """What is asked of the default, of each estimator by its better sampler."""
    claims = []
    for wanted, asked in ASKED.items():
        key = f"reached_share_{wanted}"
        methods = [row for row in rows if key in row]
        for name in dict.fromkeys(row["row"].split()[0] for row in methods):
            if name == "full":
                continue
            there = [row for row in methods if row["row"].split()[0] == name and row[key] is not None]
            best = min(there, key=lambda row: row[key], default=None)
            claims.append(
                Claim(
                    name=f"{name}: CPU share to full training's hypervolume at {wanted} candidates",
                    asked=f"<={asked:.2f}",
                    measured=f"{best[key]} ({best['row']})" if best else "not reached in most seeds",
                    holds=best is not None and best[key] <= asked,
                )
            )
    return claims
