"""Every estimator on every network of the reference set, at several budgets; a row each, added as it comes.

Estimators have a seed of their own, so that nothing they share with a reference run flatters them. `inherit` starts
from the nearest other network, `predictor` is fitted on others alone.
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
from explore.bench.estimators import reference
from explore.config import EstimateConfig, TrainConfig
from explore.estimate import Finished, Setup, make
from explore.judge import Judge

ROWS = reference.FOLDER / "estimates.jsonl"
SEED = 2
# samples a network of short and inherit; samples in all of the supernet; networks that predictor is fitted on
BUDGETS: dict[str, tuple[int, ...]] = {
    "short": (3200, 1600),
    "supernet": (64000,),
    "inherit": (3200,),
    "predictor": (8, 16, 23),
}
SUPERNET: dict[str, Any] = {"batch": 16, "rate": 4e-3, "augment": "light"}


def estimate_all(judge: Judge, progress: Callable[[float], None]) -> list[dict[str, Any]]:
    """Rows of all estimators; computes what is missing."""
    jobs = {
        f"{name}-{budget}-{arch.id}": (name, budget, arch)
        for name, budgets in BUDGETS.items()
        for budget in budgets
        for arch in reference.networks()
    }

    def do(job: str) -> None:
        name, budget, arch = jobs[job]
        _JOBS[name](name, judge, budget, arch, lambda share: progress((list(jobs).index(job) + share) / len(jobs)))

    reference.shared(list(jobs), lambda job: _has(*jobs[job]), do)
    return reference.read_rows(ROWS)


def _has(name: str, budget: int, arch: Arch) -> bool:
    rows = reference.read_rows(ROWS)
    return any((row["estimator"], row["budget"], row["arch_id"]) == (name, budget, arch.id) for row in rows)


def _add(name: str, budget: int, arch: Arch, mm: float, cpu_s: float, once_cpu_s: float = 0.0) -> None:
    """once_cpu_s: spent for all networks together."""
    row = {"estimator": name, "budget": budget, "arch_id": arch.id, "mm": round(mm, 3), "cpu_s": round(cpu_s, 3)}
    reference.add_row(ROWS, row | ({"once_cpu_s": round(once_cpu_s, 1)} if once_cpu_s else {}))


def _alone(name: str, judge: Judge, budget: int, arch: Arch, progress: Callable[[float], None]) -> None:
    """A run of `budget` samples; none is doubled here, lengths are compared instead."""
    seed = reference.SET["seeds"][0]
    others = [
        Finished(other, 0.0, reference.weights_of(other.id, seed))
        for other in reference.networks()
        if other.id != arch.id
    ]
    options = EstimateConfig(samples=budget)
    setup = Setup(
        judge, reference.settings(budget), options, SEED, lambda: others,
        progress=lambda done, total: progress(done / total),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        found = make(name, setup).estimate(arch, Path(folder) / arch.id)
    _add(name, budget, arch, found.mm, found.cpu_seconds)


def _supernet(name: str, judge: Judge, budget: int, arch: Arch, progress: Callable[[float], None]) -> None:
    checkpoint = reference.weights_of(f"supernet-{budget}", SEED)
    with reference.alone("supernet"):
        once = train_supernet(judge, budget, checkpoint, progress)
    options = EstimateConfig(supernet=str(checkpoint), space=reference.SET["space"])
    with tempfile.TemporaryDirectory() as folder:
        found = make(name, Setup(judge, reference.settings(), options, SEED)).estimate(arch, Path(folder) / arch.id)
    _add(name, budget, arch, found.mm, found.cpu_seconds, once)


def train_supernet(judge: Judge, samples: int, path: Path, progress: Callable[[float], None]) -> float:
    """A supernet's checkpoint at `path`, trained unless it is there; returns its CPU seconds."""
    from arch.elastic import SuperNet
    from explore.train.loop import train
    from explore.train.supernet import Sandwich, load_supernet, save_supernet

    space = reference.space()
    if not path.exists():
        config = TrainConfig.model_validate(reference.SET["training"] | SUPERNET | {"samples": samples})
        supernet = SuperNet(space, SEED)
        result = train(
            supernet.largest, judge.train, config, SEED, path.with_suffix(".state"),
            progress=lambda done, total: progress(done / total), objective=Sandwich(supernet, config, SEED),
        )  # fmt: skip
        facts = {"samples": samples, "cpu_seconds": result.cpu_seconds, "skipped_steps": result.skipped_steps}
        save_supernet(path, result.net, space, facts | {"data": judge.train.name, "loss": result.loss})
        path.with_suffix(".state").unlink(missing_ok=True)
    _, known = load_supernet(path, space)
    return float(known["cpu_seconds"])


def _predictor(name: str, judge: Judge, budget: int, arch: Arch, progress: Callable[[float], None]) -> None:
    from explore.estimate.predictor import fit

    truth, full = reference_mm(), reference_cpu_s()
    others = [other for other in reference.networks() if other.id != arch.id]
    chosen = random.Random(f"{arch.id} {budget}").sample(others, budget)
    started = time.process_time()
    found = float(fit(chosen, [truth[other.id] for other in chosen]).predict([arch])[0][0])
    spent = time.process_time() - started
    _add(name, budget, arch, found, spent, budget * float(np.mean(list(full.values()))))


_JOBS: dict[str, Callable[[str, Judge, int, Arch, Callable[[float], None]], None]] = {
    "short": _alone,
    "inherit": _alone,
    "supernet": _supernet,
    "predictor": _predictor,
}


def reference_mm() -> dict[str, float]:
    """Mean error of each reference network over its seeds, mm."""
    return {arch_id: float(np.mean(list(found.values()))) for arch_id, found in by_seed("mm").items()}


def reference_cpu_s() -> dict[str, float]:
    """Mean CPU seconds of each reference network over its seeds."""
    return {arch_id: float(np.mean(list(found.values()))) for arch_id, found in by_seed("cpu_s").items()}


def by_seed(key: str) -> dict[str, dict[int, float]]:
    """A column of the reference by network and seed."""
    found: dict[str, dict[int, float]] = {arch.id: {} for arch in reference.networks()}
    for row in reference.read_rows(reference.ROWS):
        found[row["arch_id"]][row["seed"]] = float(row[key])
    return found
