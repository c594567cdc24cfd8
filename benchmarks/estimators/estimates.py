"""Estimates of every reference network by every estimator at several budgets.

Estimators use another seed than the reference, so that shared randomness does not raise the correlation. `inherit`
starts from the nearest other network; `predictor` is fitted on other networks only.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from arch.space import Arch
from benchmarks.estimators import reference
from benchmarks.steps import Progress, part_of, run_missing
from explore.estimate import EstimatorContext, TrainedNetwork, make
from explore.estimate.config import EstimateConfig
from explore.evaluation.evaluator import Evaluator
from explore.host import locked
from explore.train.config import TrainConfig

ROWS = reference.FOLDER / "estimates.jsonl"
SEED = 2
# short, inherit: samples per network; supernet: samples in total; predictor: training networks
BUDGETS: dict[str, tuple[int, ...]] = {
    "short": (3200, 1600),
    "supernet": (64000,),
    "inherit": (3200,),
    "predictor": (8, 16, 23),
}
SUPERNET: dict[str, Any] = {"batch": 16, "rate": 4e-3, "augment": "light"}


def estimate_all(evaluator: Evaluator, progress: Progress) -> None:
    """Compute the missing estimates and add their rows."""
    jobs = {
        f"{name}-{budget}-{arch.id}": (name, budget, arch)
        for name, budgets in BUDGETS.items()
        for budget in budgets
        for arch in reference.networks()
    }

    def do(job: str) -> None:
        name, budget, arch = jobs[job]
        _JOBS[name](name, evaluator, budget, arch, part_of(progress, list(jobs).index(job), len(jobs)))

    run_missing(reference.folder(), jobs, lambda job: _has(*jobs[job]), do)


def _has(name: str, budget: int, arch: Arch) -> bool:
    rows = reference.read_rows(ROWS)
    return any((row["estimator"], row["budget"], row["arch_id"]) == (name, budget, arch.id) for row in rows)


def _add(name: str, budget: int, arch: Arch, mm: float, cpu_s: float, once_cpu_s: float = 0.0) -> None:
    """Add a row; `once_cpu_s` was spent once for all networks."""
    row = {"estimator": name, "budget": budget, "arch_id": arch.id, "mm": round(mm, 3), "cpu_s": round(cpu_s, 3)}
    reference.add_row(ROWS, row | ({"once_cpu_s": round(once_cpu_s, 1)} if once_cpu_s else {}))


def _short_run(name: str, evaluator: Evaluator, budget: int, arch: Arch, progress: Progress) -> None:
    """Estimate with one run of `budget` samples, without doubling."""
    seed = reference.SET["seeds"][0]
    others = [
        TrainedNetwork(other, 0.0, reference.weights_of(other.id, seed))
        for other in reference.networks()
        if other.id != arch.id
    ]
    options = EstimateConfig(samples=budget)
    setup = EstimatorContext(
        evaluator, reference.settings(budget), options, SEED, lambda: others,
        progress=lambda done, total: progress(done / total),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        found = make(name, setup).estimate(arch, Path(folder) / arch.id)
    _add(name, budget, arch, found.mpjpe_mm, found.cpu_seconds)


def _supernet(name: str, evaluator: Evaluator, budget: int, arch: Arch, progress: Progress) -> None:
    checkpoint = reference.weights_of(f"supernet-{budget}", SEED)
    with locked(reference.folder() / "supernet.lock"):
        once = train_supernet(evaluator, budget, checkpoint, progress)
    options = EstimateConfig(supernet=str(checkpoint), space=reference.SET["space"])
    with tempfile.TemporaryDirectory() as folder:
        found = make(name, EstimatorContext(evaluator, reference.settings(), options, SEED)).estimate(
            arch, Path(folder) / arch.id
        )
    _add(name, budget, arch, found.mpjpe_mm, found.cpu_seconds, once)


def train_supernet(evaluator: Evaluator, samples: int, path: Path, progress: Progress) -> float:
    """A supernet's checkpoint at `path`, trained unless it is there; returns its CPU seconds."""
    from arch.elastic import SuperNet
    from explore.train.loop import train
    from explore.train.provenance import trained_on
    from explore.train.supernet import SandwichObjective, load_supernet, save_supernet

    space = reference.space()
    if not path.exists():
        config = TrainConfig.model_validate(reference.SET["training"] | SUPERNET | {"samples": samples})
        supernet = SuperNet(space, SEED)
        result = train(
            supernet.largest, evaluator.train, config, SEED, path.with_suffix(".state"),
            progress=lambda done, total: progress(done / total), objective=SandwichObjective(supernet, config, SEED),
        )  # fmt: skip
        facts: dict[str, Any] = {
            "samples": samples,
            "cpu_seconds": result.cpu_seconds,
            "skipped_steps": result.skipped_steps,
        }
        facts |= {"data": evaluator.train.name, "loss": result.loss} | trained_on(evaluator)
        save_supernet(path, result.net, space, facts)
        path.with_suffix(".state").unlink(missing_ok=True)
    _, known = load_supernet(path, space)
    return float(known["cpu_seconds"])


def _predictor(name: str, evaluator: Evaluator, budget: int, arch: Arch, progress: Progress) -> None:
    from explore.estimate.predictor import fit

    truth, full = mean_over_seeds("mm"), mean_over_seeds("cpu_s")
    others = [other for other in reference.networks() if other.id != arch.id]
    chosen = random.Random(f"{arch.id} {budget}").sample(others, budget)
    started = time.process_time()
    found = float(fit(chosen, [truth[other.id] for other in chosen]).predict([arch])[0][0])
    spent = time.process_time() - started
    _add(name, budget, arch, found, spent, budget * float(np.mean(list(full.values()))))


_JOBS: dict[str, Callable[[str, Evaluator, int, Arch, Progress], None]] = {
    "short": _short_run,
    "inherit": _short_run,
    "supernet": _supernet,
    "predictor": _predictor,
}


def mean_over_seeds(key: str) -> dict[str, float]:
    """Return the mean of a column of the reference rows (`mm`, `cpu_s`) by network."""
    return {arch_id: float(np.mean(list(found.values()))) for arch_id, found in by_seed(key).items()}


def by_seed(key: str) -> dict[str, dict[int, float]]:
    """Return a column of the reference rows by network and seed."""
    found: dict[str, dict[int, float]] = {arch.id: {} for arch in reference.networks()}
    for row in reference.read_rows(reference.ROWS):
        found[row["arch_id"]][row["seed"]] = float(row[key])
    return found
