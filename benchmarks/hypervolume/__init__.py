"""Hypervolume over CPU time of searches with every estimator, simulated with a surrogate of recorded networks.

Real searches of this length take days of CPU time. Samplers, the estimators' rules and the selection of finalists are
the project's own code; errors come from a surrogate of the recorded reference networks, costs from measurements. The
result compares the cost of estimators; it does not predict the outcome of a real search.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arch.space import Arch
from benchmarks import Claim
from benchmarks.estimators import ranking, reference
from benchmarks.hypervolume import export_cost
from benchmarks.hypervolume.page import page, plot
from benchmarks.hypervolume.replay import Candidate, replay, stop_search, volume
from benchmarks.hypervolume.world import Recorded, World, leave_one_out, read_recorded
from benchmarks.steps import part_of
from explore.pareto import Points, non_dominated_rank
from explore.search.config import SearchConfig

CONFIG: dict[str, Any] = {
    "seeds": [0, 1, 2, 3, 4], "wanted": [60, 500], "finalists": SearchConfig().finalists, "pool": 1000, "exported_for_cost": 4,
    "stops": [12, 20, 30, 45, 60, 90, 130, 180, 250, 350, 500], "reference": reference.SET,
}  # fmt: skip
METHODS = [("full", "tpe"), ("full", "random")] + [
    (name, sampler) for name in ("short", "inherit", "supernet", "predictor") for sampler in ("tpe", "nsga2")
]
TARGETS = {60: 1 / 3, 500: 0.1}  # candidates: fraction of full training's CPU time to reach its hypervolume
PLOT = Path("results/bench/hypervolume.png")

Method = tuple[str, str]  # estimator, sampler
Curve = dict[int, tuple[float, float]]  # candidates: (CPU seconds, fraction of the best hypervolume)


@dataclass(frozen=True)
class SeedResult:
    """All searches of one seed: agreement of each estimator with the true order, and the curve of each method."""

    agreement: dict[str, dict[str, float]]
    curves: dict[Method, Curve]


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for the surrogate, each estimator and each method, and the claims."""
    known = read_recorded()
    export_s = export_cost.seconds(known.archs[:: len(known.archs) // CONFIG["exported_for_cost"]])
    done: list[SeedResult] = []
    for seed in CONFIG["seeds"]:
        done.append(replay_seed(known, seed, export_s, part_of(progress, len(done), len(CONFIG["seeds"]))))
    return record(known, export_s, done)


def replay_seed(known: Recorded, seed: int, export_s: float, progress: Callable[[float], None]) -> SeedResult:
    """Simulate every method in the world of a seed."""
    world = World(known, seed, export_s)
    pool = _pool(world)
    methods = [
        (name, sampler) for name, sampler in METHODS if name in ("full", "predictor") or name in known.estimators
    ]
    found: dict[Method, list[Candidate]] = {}
    for turn, method in enumerate(methods):
        found[method] = replay(world, *method, max(CONFIG["wanted"]))
        progress((turn + 1) / len(methods))
    return SeedResult(_agreement(world, pool), _curves(world, pool, found))


def record(known: Recorded, export_s: float, done: list[SeedResult]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return rows and claims, and write the plot."""
    curves = {method: [each.curves[method] for each in done] for method in done[0].curves}
    replayed = _replayed(known, [each.agreement for each in done])
    rows = [_surrogate(known, export_s), *replayed, *(_row(method, curves) for method in curves)]
    plot(PLOT, curves)
    return rows, _claims(rows)


def markdown(rows: list[dict[str, Any]], claims: list[Claim]) -> str:
    """Return the page of the record."""
    return page(rows, CONFIG)


def _pool(world: World) -> list[Arch]:
    """Return random networks, which define the reference point and the best known front."""
    rng = random.Random(f"pool {world.seed}")
    return [world.recorded.space.sample(rng) for _ in range(CONFIG["pool"])]


def _curves(world: World, pool: list[Arch], found: dict[Method, list[Candidate]]) -> dict[Method, Curve]:
    """Return the curve of each method; hypervolumes are fractions of that of all networks found or in the pool."""
    networks = {arch.id: arch for arch in (*pool, *(one.arch for each in found.values() for one in each))}
    points = np.array([[world.error(arch), np.log10(world.ms(arch))] for arch in networks.values()])
    corner: Points = points[: len(pool)].max(0)
    front = non_dominated_rank(points) == 0
    best = volume(world, [arch for arch, on in zip(networks.values(), front, strict=True) if on], corner)
    curves: dict[Method, Curve] = {}
    for method, candidates in found.items():
        curves[method] = {}
        for count in CONFIG["stops"]:
            stop = stop_search(world, method[0], candidates[:count], CONFIG["finalists"])
            curves[method][count] = (stop.cpu_s, volume(world, stop.exported, corner) / best)
    return curves


def _agreement(world: World, pool: list[Arch]) -> dict[str, dict[str, float]]:
    """Return tau-b of each estimator on random networks, overall and within the reference's bins of MACs."""
    placed = [(arch, place) for arch in pool[:300] if (place := reference.bin_of(arch)) is not None]
    archs, bins = [arch for arch, _ in placed], [place for _, place in placed]
    truth = np.array([world.error(arch) for arch in archs])
    estimated = {name: np.array([world.estimate(name, arch) for arch in archs]) for name in world.recorded.estimators}
    estimated["full"] = np.array([world.trained(arch) for arch in archs])
    return {
        name: {"overall": ranking.tau(mm, truth), "within": ranking.tau(mm, truth, bins)}
        for name, mm in estimated.items()
    }


def _surrogate(known: Recorded, export_s: float) -> dict[str, Any]:
    """Return leave-one-out results of the surrogate, and the costs of training and export."""
    means, deviations = leave_one_out(known)
    bins = [reference.bin_of(arch) or 0 for arch in known.archs]
    residuals = means - known.errors
    return {
        "row": "surrogate, leave-one-out",
        "networks": len(known.archs),
        "tau_overall": round(ranking.tau(means, known.errors), 2),
        "tau_within_bins": round(ranking.tau(means, known.errors, bins), 2),
        "error_mm": round(float(np.sqrt(np.mean(residuals**2))), 2),
        "within_90": round(float(np.mean(np.abs(residuals) <= 1.645 * deviations)), 2),
        "seed_deviation_mm": round(known.seed_mm, 2),
        "own_part_mm": round(known.surrogate.deviation * known.surrogate.sizes.own**0.5, 2),
        "spread_mm": round(float(known.errors.std(ddof=1)), 2),
        "full_cpu_s": round(float(np.mean([known.full(arch) for arch in known.archs])), 1),
        "ship_s": round(export_s, 2),
    }


def _replayed(known: Recorded, agreed: list[dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """Return a row for each estimator: tau-b recorded and in the simulation, and CPU seconds."""
    bins = [reference.bin_of(arch) or 0 for arch in known.archs]
    rows = []
    for name, found in known.estimators.items():
        rows.append(
            {
                "row": f"{name} as replayed",
                "budget": found.budget,
                "tau_overall": round(ranking.tau(found.recorded, known.errors), 2),
                "tau_within_bins": round(ranking.tau(found.recorded, known.errors, bins), 2),
                "replayed_tau_overall": round(float(np.mean([each[name]["overall"] for each in agreed])), 2),
                "replayed_tau_within_bins": round(float(np.mean([each[name]["within"] for each in agreed])), 2),
                "cpu_s_a_network": round(float(np.mean([found.each(arch) for arch in known.archs])), 2),
                "cpu_s_once": round(found.once, 1),
            }
        )
    return rows


def _row(method: Method, curves: dict[Method, list[Curve]]) -> dict[str, Any]:
    """Return hypervolume and CPU seconds of a method at each number of candidates, over all seeds.

    `reached_share_N` is the CPU time to reach the hypervolume of full training, as a fraction of its CPU time: the
    median over seeds, None if fewer than half of the seeds reach it.
    """
    row: dict[str, Any] = {"row": " ".join(method)}
    for wanted in CONFIG["wanted"]:
        pairs = list(zip(curves[method], curves["full", "tpe"], strict=True))
        shares = [_reached(mine, theirs, wanted) for mine, theirs in pairs]
        reached = [share for share in shares if share is not None]
        row |= {
            f"hypervolume_{wanted}": round(float(np.mean([mine[wanted][1] for mine, _ in pairs])), 3),
            f"hypervolume_{wanted}_seeds": [round(mine[wanted][1], 3) for mine, _ in pairs],
            f"cpu_s_{wanted}": round(float(np.mean([mine[wanted][0] for mine, _ in pairs]))),
            f"cpu_share_{wanted}": round(
                float(np.mean([mine[wanted][0] / full[wanted][0] for mine, full in pairs])), 3
            ),
            f"reached_{wanted}": len(reached),
            f"reached_share_{wanted}": round(float(np.median(reached)), 3) if 2 * len(reached) > len(shares) else None,
        }
    return row


def _reached(mine: Curve, full: Curve, wanted: int) -> float | None:
    """Return the fraction of full training's CPU time to reach its hypervolume, or None if not reached."""
    seconds, target = full[wanted]
    return next((spent / seconds for count, (spent, have) in mine.items() if count <= wanted and have >= target), None)


def _claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """Compare each estimator, with the better of its samplers, with the targets."""
    claims = []
    for wanted, target in TARGETS.items():
        key = f"reached_share_{wanted}"
        methods = [row for row in rows if key in row]
        for name in dict.fromkeys(row["row"].split()[0] for row in methods):
            if name == "full":
                continue
            reached = [row for row in methods if row["row"].split()[0] == name and row[key] is not None]
            best = min(reached, key=lambda row: row[key], default=None)
            claims.append(
                Claim(
                    name=f"{name}: fraction of full training's CPU time to its hypervolume at {wanted} candidates",
                    target=f"<= {target:.2f}",
                    measured=f"{best[key]} ({best['row']})" if best else "not reached by most seeds",
                    passed=best is not None and best[key] <= target,
                )
            )
    return claims
