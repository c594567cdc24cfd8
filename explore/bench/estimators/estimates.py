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
    "short": (800, 400),
    "supernet": (16000,),
    "inherit": (800,),
    "predictor": (8, 16, 23),
}
SUPERNET: dict[str, Any] = {"batch": 16, "rate": 4e-3, "augment": "light"}


def estimate_all(judge: Judge, progress: Callable[[float], None]) -> list[dict[str, Any]]:
    """Rows of all estimators; computes what is missing."""
    jobs = [(name, budget) for name, budgets in BUDGETS.items() for budget in budgets]
    for index, (name, budget) in enumerate(jobs):
        missing = [arch for arch in reference.networks() if not _has(name, budget, arch)]
        if missing:
            _JOBS[name](judge, budget, missing, lambda part, index=index: progress((index + part) / len(jobs)))  # type: ignore[misc]
    return reference.read_rows(ROWS)


def _has(name: str, budget: int, arch: Arch) -> bool:
    rows = reference.read_rows(ROWS)
    return any((row["estimator"], row["budget"], row["arch_id"]) == (name, budget, arch.id) for row in rows)


def _add(name: str, budget: int, arch: Arch, mm: float, cpu_s: float, once_cpu_s: float = 0.0) -> None:
    """once_cpu_s: spent for all networks together."""
    row = {"estimator": name, "budget": budget, "arch_id": arch.id, "mm": round(mm, 3), "cpu_s": round(cpu_s, 3)}
    reference.add_row(ROWS, row | ({"once_cpu_s": round(once_cpu_s, 1)} if once_cpu_s else {}))


def _alone(name: str) -> Callable[[Judge, int, list[Arch], Callable[[float], None]], None]:
    """Runs of `budget` samples; none is doubled here, lengths are compared instead."""

    def job(judge: Judge, budget: int, missing: list[Arch], progress: Callable[[float], None]) -> None:
        seed = reference.SET["seeds"][0]
        finished = [Finished(arch, 0.0, reference.weights_of(arch.id, seed)) for arch in reference.networks()]
        for index, arch in enumerate(missing):
            others = [other for other in finished if other.arch.id != arch.id]
            setup = Setup(
                judge, reference.settings(budget), EstimateConfig(samples=budget), SEED, lambda others=others: others  # type: ignore[misc]
            )  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                found = make(name, setup).estimate(arch, Path(folder) / arch.id)
            _add(name, budget, arch, found.mm, found.cpu_seconds)
            progress((index + 1) / len(missing))

    return job


def _supernet(judge: Judge, budget: int, missing: list[Arch], progress: Callable[[float], None]) -> None:
    checkpoint = reference.weights_of(f"supernet-{budget}", SEED)
    once = train_supernet(judge, budget, checkpoint, lambda share: progress(0.9 * share))
    options = EstimateConfig(supernet=str(checkpoint), space=reference.SET["space"])
    estimator = make("supernet", Setup(judge, reference.settings(), options, SEED))
    with tempfile.TemporaryDirectory() as folder:
        for index, arch in enumerate(missing):
            found = estimator.estimate(arch, Path(folder) / arch.id)
            _add("supernet", budget, arch, found.mm, found.cpu_seconds, once)
            progress(0.9 + 0.1 * (index + 1) / len(missing))


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


def _predictor(judge: Judge, budget: int, missing: list[Arch], progress: Callable[[float], None]) -> None:
    from explore.estimate.predictor import fit

    truth, full = reference_mm(), reference_cpu_s()
    for index, arch in enumerate(missing):
        others = [other for other in reference.networks() if other.id != arch.id]
        rng = random.Random(f"{arch.id} {budget}")
        chosen = rng.sample(others, budget)
        started = time.process_time()
        found = float(fit(chosen, [truth[other.id] for other in chosen]).predict([arch])[0][0])
        spent = time.process_time() - started
        _add("predictor", budget, arch, found, spent, budget * float(np.mean(list(full.values()))))
        progress((index + 1) / len(missing))


_JOBS: dict[str, Callable[[Judge, int, list[Arch], Callable[[float], None]], None]] = {
    "short": _alone("short"),
    "inherit": _alone("inherit"),
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
