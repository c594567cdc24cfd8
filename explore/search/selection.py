"""The choice of finalists: candidates along the whole front, by validation error with its uncertainty.

The error of a candidate is uncertain in two ways: the validation part is a sample, and another seed would train another
network. Both are drawn many times. All candidates share the resampled units (subjects, clips or frames), as in a paired
comparison. In each draw some candidates are on the front. Finalists are those that maximise the expected hypervolume
together, chosen one after another; a candidate that is only lucky, or that another one can replace, adds little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explore.evaluation.intervals import Units
from explore.pareto import hypervolume, non_dominated_rank, select_along_front

DRAWS = 256
VOLUME_DRAWS = 64  # of these, for hypervolumes
LEAST_PROBABILITY = 0.05  # of being on the front, of candidates that are compared by hypervolume

Array = NDArray[np.float64]


@dataclass(frozen=True)
class UncertainError:
    """Error of a candidate, mm.

    deviation_mm: standard deviation from the validation part, used where `frames` is None
    noise_mm: standard deviation between trainings
    frames: (N,) error of each validation sample; None if it is not known
    """

    mm: float
    deviation_mm: float
    noise_mm: float
    frames: Array | None = None


def draw_errors(errors: Sequence[UncertainError], units: Units | None, seed: int) -> Array:
    """Return draws (DRAWS, candidates) of the errors, mm.

    units: independent units of the validation samples
    """
    rng = np.random.default_rng((seed, 3))
    drawn = np.array([one.mm for one in errors]) + np.zeros((DRAWS, len(errors)))
    paired = [index for index, one in enumerate(errors) if one.frames is not None and units is not None]
    if paired and units is not None:
        known = units.labels >= 0
        labels = units.labels[known]
        weights = rng.multinomial(units.count, np.full(units.count, 1 / units.count), DRAWS).astype(np.float64)
        counts = weights @ np.bincount(labels, minlength=units.count)
        for index in paired:
            frames = np.asarray(errors[index].frames, np.float64)[known]
            sums = np.bincount(labels, frames - frames.mean(), units.count)
            drawn[:, index] += weights @ sums / counts
    for index, one in enumerate(errors):
        spread = np.hypot(one.noise_mm, 0.0 if index in paired else one.deviation_mm)
        drawn[:, index] += rng.normal(0.0, spread, DRAWS)
    return drawn


def front_probability(drawn: Array, costs: Array) -> Array:
    """Return the probability (candidates,) of being on the front. drawn: (draws, candidates); costs: (candidates, K)"""
    found = np.zeros(drawn.shape[1])
    for errors in drawn:
        found += non_dominated_rank(np.column_stack([errors, costs])) == 0
    return found / len(drawn)


def select_finalists(drawn: Array, costs: Array, count: int, worst_mm: float) -> list[int]:
    """Return the indices of at most `count` candidates, the one with the largest expected hypervolume first.

    drawn: (draws, candidates) errors, mm; costs: (candidates, K), positive, compared by ratio
    worst_mm: error of the reference point
    """
    probability = front_probability(drawn, costs)
    pool = [int(index) for index in np.flatnonzero(probability >= LEAST_PROBABILITY)]
    scaled = np.log(np.maximum(costs, 1e-9))
    span = np.maximum(np.ptp(scaled, axis=0), 1e-6)
    reference = np.array([max(worst_mm, float(drawn.max())) + 1e-6, *(scaled.max(0) + 0.05 * span)])
    points = np.stack([np.column_stack([errors, scaled]) for errors in drawn[:VOLUME_DRAWS]])
    chosen: list[int] = []
    while pool and len(chosen) < count:
        volumes = [sum(hypervolume(draw[[*chosen, index]], reference) for draw in points) for index in pool]
        chosen.append(pool.pop(int(np.argmax(volumes))))
    if len(chosen) < count:
        rest = [index for index in range(drawn.shape[1]) if index not in chosen]
        found = select_along_front(np.column_stack([drawn.mean(0), costs])[rest], count - len(chosen)) if rest else []
        chosen += [rest[index] for index in found]
    return chosen
