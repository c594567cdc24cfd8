"""Simulated world of networks: true errors, estimates, latencies and costs, from the records of `estimators`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch
from benchmarks.estimators import estimates, ranking, reference
from benchmarks.hypervolume.surrogate import Surrogate, fit_surrogate
from explore.measure.predictor import Predictor

Values = NDArray[np.float64]
LATENCY = Path("results/predictors/local-litert-int8-static-mobile-64-1.json")
RUNS = ("short", "inherit", "supernet")  # simulated from recorded rows; `predictor` is run


@dataclass(frozen=True)
class LinearCost:
    """Linear model of the CPU seconds of a network, given its MACs."""

    offset: float
    slope: float

    def __call__(self, arch: Arch) -> float:
        return self.offset + self.slope * cost(arch).macs


@dataclass(frozen=True)
class RecordedEstimator:
    """An estimator at one budget: a linear function of the error, and residuals modelled by a surrogate.

    recorded: estimate of each reference network, mm
    each: CPU seconds per network
    once: CPU seconds spent once for all networks
    """

    budget: int
    recorded: Values
    slope: float
    offset: float
    residuals: Surrogate
    each: LinearCost
    once: float


@dataclass(frozen=True)
class Recorded:
    """Recorded reference networks: mean error over seeds in mm, and the variance of each mean (`noise`)."""

    space: Space
    archs: list[Arch]
    errors: Values
    noise: Values
    seed_mm: float
    full: LinearCost
    surrogate: Surrogate
    estimators: dict[str, RecordedEstimator]


def read_recorded() -> Recorded:
    """Return the recorded reference, and the estimators with a row for each of its networks.

    Raises:
        InputError: a reference network is missing, or fewer than two have two seeds.
    """
    space, archs = reference.space(), reference.networks()
    mm, cpu_s = estimates.by_seed("mm"), estimates.mean_over_seeds("cpu_s")
    if missing := [arch.id for arch in archs if not mm[arch.id]]:
        raise InputError(f"{reference.ROWS}: {len(missing)} networks are missing; run: python -m benchmarks estimators")
    both = np.array([list(found.values())[:2] for found in mm.values() if len(found) > 1])
    if len(both) < 2:
        raise InputError(
            f"{reference.ROWS}: fewer than two networks with two seeds; run: python -m benchmarks estimators"
        )
    seed_mm = ranking.seed_deviation(both[:, 0], both[:, 1])
    errors = np.array([float(np.mean(list(mm[arch.id].values()))) for arch in archs])
    noise = np.array([seed_mm**2 / len(mm[arch.id]) for arch in archs])
    rows = reference.read_rows(estimates.ROWS)
    measured = {name: _measured(space, archs, errors, noise, rows, name) for name in RUNS}
    return Recorded(
        space=space,
        archs=archs,
        errors=errors,
        noise=noise,
        seed_mm=seed_mm,
        full=_line(archs, [cpu_s[arch.id] for arch in archs]),
        surrogate=fit_surrogate(space, archs, errors, noise),
        estimators={name: found for name, found in measured.items() if found},
    )


def _measured(
    space: Space, archs: list[Arch], errors: Values, noise: Values, rows: list[dict[str, Any]], name: str
) -> RecordedEstimator | None:
    """Return an estimator at the largest budget with a row for every network, or None."""
    for budget in sorted(estimates.BUDGETS[name], reverse=True):
        mine = {row["arch_id"]: row for row in rows if (row["estimator"], row["budget"]) == (name, budget)}
        if len(mine) < len(archs):
            continue
        found = np.array([mine[arch.id]["mm"] for arch in archs])
        slope, offset = np.polyfit(errors, found, 1)
        residuals = found - (offset + slope * errors)
        return RecordedEstimator(
            budget=budget,
            recorded=found,
            slope=float(slope),
            offset=float(offset),
            residuals=fit_surrogate(space, archs, residuals, slope**2 * noise),
            each=_line(archs, [mine[arch.id]["cpu_s"] for arch in archs]),
            once=float(np.mean([row.get("once_cpu_s", 0.0) for row in mine.values()])),
        )
    return None


def _line(archs: Sequence[Arch], seconds: Sequence[float]) -> LinearCost:
    slope, offset = np.polyfit([cost(arch).macs for arch in archs], seconds, 1)
    return LinearCost(float(offset), float(slope))


def leave_one_out(recorded: Recorded) -> tuple[Values, Values]:
    """Return the leave-one-out prediction of each network's error, mean and standard deviation in mm."""
    means, deviations = [], []
    for index, arch in enumerate(recorded.archs):
        rest = [other for other in range(len(recorded.archs)) if other != index]
        archs = [recorded.archs[other] for other in rest]
        mean, deviation = fit_surrogate(recorded.space, archs, recorded.errors[rest], recorded.noise[rest]).predict(
            [arch]
        )
        means.append(mean[0])
        deviations.append(math.hypot(deviation[0], math.sqrt(recorded.noise[index])))
    return np.array(means), np.array(deviations)


class World:
    """A simulated world, deterministic in its seed.

    export_s: CPU seconds of exporting, evaluating and timing one candidate
    """

    def __init__(self, recorded: Recorded, seed: int, export_s: float) -> None:
        self.recorded, self.seed, self.export_s = recorded, seed, export_s
        self._latency = Predictor.load(LATENCY)
        self._errors: dict[str, float] = {}
        self._ms: dict[str, float] = {}
        self._estimates: dict[tuple[str, str], float] = {}

    @cached_property
    def _truth(self) -> Callable[[Arch], float]:
        return self.recorded.surrogate.sample(self.seed, "error")

    @cached_property
    def _residuals(self) -> dict[str, Callable[[Arch], float]]:
        return {name: found.residuals.sample(self.seed, name) for name, found in self.recorded.estimators.items()}

    def error(self, arch: Arch) -> float:
        """Return the true error after full training, mm."""
        if arch.id not in self._errors:
            self._errors[arch.id] = self._truth(arch)
        return self._errors[arch.id]

    def trained(self, arch: Arch) -> float:
        """Return the error measured after one full training, with seed noise, mm."""
        return self.error(arch) + self.recorded.seed_mm * random.Random(f"{self.seed} full {arch.id}").gauss(0, 1)

    def estimate(self, name: str, arch: Arch) -> float:
        """Return the estimate of an estimator, mm on its own scale."""
        if (name, arch.id) not in self._estimates:
            found = self.recorded.estimators[name]
            value = found.offset + found.slope * self.error(arch) + self._residuals[name](arch)
            self._estimates[name, arch.id] = value
        return self._estimates[name, arch.id]

    def ms(self, arch: Arch) -> float:
        """Return the latency of the INT8 file in ms, by the bundled latency predictor."""
        if arch.id not in self._ms:
            self._ms[arch.id] = float(self._latency.ms([arch])[0])
        return self._ms[arch.id]
