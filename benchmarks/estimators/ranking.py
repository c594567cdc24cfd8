"""Rank correlation and regret of estimates, compared with full training; lower values are better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from explore.pareto import hypervolume, select_along_front

Values = NDArray[np.float64]
DRAWS = 2000  # of the bootstrap
INTERVAL = (5.0, 95.0)  # percentiles


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau-b with its 90% bootstrap interval over networks."""

    tau: float
    low: float
    high: float


def tau(one: Values, other: Values, bins: Sequence[int] | None = None) -> float:
    """Return Kendall's tau-b; with `bins`, over pairs within one bin only. NaN without any pair."""
    first, second = np.triu_indices(len(one), 1)
    if bins is not None:
        same = np.asarray(bins)[first] == np.asarray(bins)[second]
        first, second = first[same], second[same]
    a, b = np.sign(one[first] - one[second]), np.sign(other[first] - other[second])
    norm = np.sqrt((a != 0).sum() * (b != 0).sum())
    return float((a * b).sum() / norm) if norm else float("nan")


def agreement(one: Values, other: Values, bins: Sequence[int] | None = None) -> Agreement:
    """Return tau-b and its bootstrap interval over networks.

    Duplicates in a bootstrap sample are ties in both orders and do not count.
    """
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        chosen = rng.integers(0, len(one), len(one))
        drawn.append(tau(one[chosen], other[chosen], None if bins is None else np.asarray(bins)[chosen].tolist()))
    low, high = np.nanpercentile(drawn, INTERVAL)
    return Agreement(tau(one, other, bins), float(low), float(high))


def probability_better(one: Values, rival: Values, truth: Values, bins: Sequence[int]) -> float:
    """Return the fraction of bootstrap samples in which `one` has a higher tau-b within bins than `rival`."""
    rng = np.random.default_rng(0)
    better = 0
    for _ in range(DRAWS):
        chosen = rng.integers(0, len(truth), len(truth))
        part = np.asarray(bins)[chosen].tolist()
        better += tau(one[chosen], truth[chosen], part) > tau(rival[chosen], truth[chosen], part)
    return better / DRAWS


def seed_deviation(first: Values, second: Values) -> float:
    """Return the standard deviation between seeds of one network, from pairs of seeds, mm."""
    return float(np.sqrt(np.mean((first - second) ** 2) / 2))


def ceiling(truth: Values, deviation: float, bins: Sequence[int] | None = None) -> float:
    """Return the mean tau-b of a perfect estimator against true errors with noise of `deviation` mm.

    Measured means replace the true errors; their larger spread makes the ceiling slightly too high.
    """
    rng = np.random.default_rng(0)
    return float(np.mean([tau(truth, truth + rng.normal(0, deviation, len(truth)), bins) for _ in range(500)]))


def regret(estimate: Values, truth: Values, bins: Sequence[int]) -> float:
    """Return the mean over bins of (error of the network with the lowest estimate) - (lowest error), mm."""
    found = []
    for place in sorted(set(bins)):
        members = np.flatnonzero(np.asarray(bins) == place)
        found.append(truth[members[np.argmin(estimate[members])]] - truth[members].min())
    return float(np.mean(found))


def random_regret(truth: Values, bins: Sequence[int]) -> float:
    """Return the expected regret of a random choice, mm."""
    places = np.asarray(bins)
    return float(np.mean([truth[places == place].mean() - truth[places == place].min() for place in sorted(set(bins))]))


def front_share(estimate: Values, truth: Values, macs: Values, count: int) -> float:
    """Return the hypervolume of `count` finalists selected along the estimated front.

    Units are mm and log2 MACs; the result is a fraction of the hypervolume of all networks.
    """
    return _area(truth, macs, select_along_front(np.stack([estimate, macs], 1), count)) / _area(
        truth, macs, range(len(truth))
    )


def random_front_share(truth: Values, macs: Values, count: int) -> float:
    """Return the mean front share of randomly chosen networks."""
    rng = np.random.default_rng(0)
    drawn = [_area(truth, macs, rng.permutation(len(truth))[:count].tolist()) for _ in range(DRAWS)]
    return float(np.mean(drawn)) / _area(truth, macs, range(len(truth)))


def _area(truth: Values, macs: Values, chosen: Sequence[int]) -> float:
    points = np.stack([truth, np.log2(macs)], 1)
    return hypervolume(points[list(chosen)], np.add(points.max(0), (1.0, 0.1)))


def noise(estimate: Values, truth: Values) -> float:
    """Return the residual standard deviation (mm) of a linear regression of the true error on the estimate."""
    slope, offset = np.polyfit(estimate, truth, 1)
    return float(np.std(truth - (slope * estimate + offset), ddof=2))


def pairs(bins: Sequence[int]) -> int:
    """Return the number of pairs within bins."""
    return sum(a == b for a, b in combinations(bins, 2))
