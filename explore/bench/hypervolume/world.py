"""What a replay takes for true: errors, what each estimator says of them, latencies, and what finding out costs.

All of it from what `bench estimators` recorded; nothing is trained here.
"""

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
from explore.bench.estimators import estimates, ranking, reference
from explore.bench.hypervolume.surface import Surface, fit_surface
from explore.measure.predictor import Predictor

Values = NDArray[np.float64]
LATENCY = Path("results/predictors/local-litert-int8-static-mobile-64-1.json")
RUNS = ("short", "inherit", "supernet")  # told from recorded rows; `predictor` runs itself


@dataclass(frozen=True)
class Line:
    """CPU seconds of a network from its MACs."""

    offset: float
    slope: float

    def __call__(self, arch: Arch) -> float:
        return self.offset + self.slope * cost(arch).macs


@dataclass(frozen=True)
class Measured:
    """An estimator as recorded at one budget: `offset + slope * error`, and a rest that follows the networks.

    recorded: what it says of each network of the reference, mm
    once: CPU seconds spent for all networks together
    """

    budget: int
    recorded: Values
    slope: float
    offset: float
    rest: Surface
    each: Line
    once: float


@dataclass(frozen=True)
class Known:
    """What was recorded. errors: mean over seeds, mm; noise: variance of each mean around the network's own error."""

    space: Space
    archs: list[Arch]
    errors: Values
    noise: Values
    seed_mm: float
    full: Line
    surface: Surface
    estimators: dict[str, Measured]


def read_known() -> Known:
    """The recorded reference and the estimators that have a row for each of its networks.

    Raises:
        InputError: networks of the reference that are not trained yet, or none with two seeds.
    """
    space, archs = reference.space(), reference.networks()
    mm, cpu_s = estimates.by_seed("mm"), estimates.reference_cpu_s()
    if missing := [arch.id for arch in archs if not mm[arch.id]]:
        raise InputError(f"{reference.ROWS}: {len(missing)} networks are missing; run bench estimators first")
    both = np.array([list(found.values())[:2] for found in mm.values() if len(found) > 1])
    if len(both) < 2:
        raise InputError(f"{reference.ROWS}: has no two networks of two seeds; run bench estimators first")
    seed_mm = ranking.seed_deviation(both[:, 0], both[:, 1])
    errors = np.array([float(np.mean(list(mm[arch.id].values()))) for arch in archs])
    noise = np.array([seed_mm**2 / len(mm[arch.id]) for arch in archs])
    rows = reference.read_rows(estimates.ROWS)
    measured = {name: _measured(space, archs, errors, noise, rows, name) for name in RUNS}
    return Known(
        space=space,
        archs=archs,
        errors=errors,
        noise=noise,
        seed_mm=seed_mm,
        full=_line(archs, [cpu_s[arch.id] for arch in archs]),
        surface=fit_surface(space, archs, errors, noise),
        estimators={name: found for name, found in measured.items() if found},
    )


def _measured(
    space: Space, archs: list[Arch], errors: Values, noise: Values, rows: list[dict[str, Any]], name: str
) -> Measured | None:
    """An estimator at the largest budget that has a row for every network; None without one."""
    for budget in sorted(estimates.BUDGETS[name], reverse=True):
        mine = {row["arch_id"]: row for row in rows if (row["estimator"], row["budget"]) == (name, budget)}
        if len(mine) < len(archs):
            continue
        found = np.array([mine[arch.id]["mm"] for arch in archs])
        slope, offset = np.polyfit(errors, found, 1)
        rest = found - (offset + slope * errors)
        return Measured(
            budget=budget,
            recorded=found,
            slope=float(slope),
            offset=float(offset),
            rest=fit_surface(space, archs, rest, slope**2 * noise),
            each=_line(archs, [mine[arch.id]["cpu_s"] for arch in archs]),
            once=float(np.mean([row.get("once_cpu_s", 0.0) for row in mine.values()])),
        )
    return None


def _line(archs: Sequence[Arch], seconds: Sequence[float]) -> Line:
    slope, offset = np.polyfit([cost(arch).macs for arch in archs], seconds, 1)
    return Line(float(offset), float(slope))


def leave_one_out(known: Known) -> tuple[Values, Values]:
    """Mean and deviation of each network's error as told from all others, mm."""
    means, deviations = [], []
    for index, arch in enumerate(known.archs):
        rest = [other for other in range(len(known.archs)) if other != index]
        archs = [known.archs[other] for other in rest]
        mean, deviation = fit_surface(known.space, archs, known.errors[rest], known.noise[rest]).predict([arch])
        means.append(mean[0])
        deviations.append(math.hypot(deviation[0], math.sqrt(known.noise[index])))
    return np.array(means), np.array(deviations)


class World:
    """One drawn world of networks: the same for all searches of a seed.

    ship_s: CPU seconds of converting, judging and timing one candidate, whatever estimates it.
    """

    def __init__(self, known: Known, seed: int, ship_s: float) -> None:
        self.known, self.seed, self.ship_s = known, seed, ship_s
        self._latency = Predictor.load(LATENCY)
        self._errors: dict[str, float] = {}
        self._ms: dict[str, float] = {}
        self._told: dict[tuple[str, str], float] = {}

    @cached_property
    def _truth(self) -> Callable[[Arch], float]:
        return self.known.surface.draw(self.seed, "error")

    @cached_property
    def _rests(self) -> dict[str, Callable[[Arch], float]]:
        return {name: found.rest.draw(self.seed, name) for name, found in self.known.estimators.items()}

    def error(self, arch: Arch) -> float:
        """A network's own error after full training, mm."""
        if arch.id not in self._errors:
            self._errors[arch.id] = self._truth(arch)
        return self._errors[arch.id]

    def trained(self, arch: Arch) -> float:
        """What one full training of it measures, mm."""
        return self.error(arch) + self.known.seed_mm * random.Random(f"{self.seed} full {arch.id}").gauss(0, 1)

    def told(self, name: str, arch: Arch) -> float:
        """What an estimator says of it, mm on the estimator's own scale."""
        if (name, arch.id) not in self._told:
            found = self.known.estimators[name]
            said = found.offset + found.slope * self.error(arch) + self._rests[name](arch)
            self._told[name, arch.id] = said
        return self._told[name, arch.id]

    def ms(self, arch: Arch) -> float:
        """Latency of its INT8 file, by the predictor that the project ships."""
        if arch.id not in self._ms:
            self._ms[arch.id] = float(self._latency.ms([arch])[0])
        return self._ms[arch.id]
