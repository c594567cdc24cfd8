"""How far an estimate's order of networks is that of full training. Everything is in mm or plain costs, lower is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from explore.search.front import choose, hypervolume

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
    """Kendall's tau-b; with `bins`, over the pairs of networks of one bin alone. NaN where no pair is left."""
    first, second = np.triu_indices(len(one), 1)
    if bins is not None:
        same = np.asarray(bins)[first] == np.asarray(bins)[second]
        first, second = first[same], second[same]
    a, b = np.sign(one[first] - one[second]), np.sign(other[first] - other[second])
    norm = np.sqrt((a != 0).sum() * (b != 0).sum())
    return float((a * b).sum() / norm) if norm else float("nan")


def agreement(one: Values, other: Values, bins: Sequence[int] | None = None, seed: int = 0) -> Agreement:
    """tau-b of all networks, and its interval from networks drawn with replacement.

    A network drawn twice makes a pair with itself, which is a tie of both and counts nowhere.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(DRAWS):
        chosen = rng.integers(0, len(one), len(one))
        drawn.append(tau(one[chosen], other[chosen], None if bins is None else np.asarray(bins)[chosen].tolist()))
    low, high = np.nanpercentile(drawn, INTERVAL)
    return Agreement(tau(one, other, bins), float(low), float(high))


def chance_better(one: Values, rival: Values, truth: Values, bins: Sequence[int], seed: int = 0) -> float:
    """Share of bootstrap draws in which `one` agrees with the truth more than `rival` does, within bins."""
    rng = np.random.default_rng(seed)
    better = 0
    for _ in range(DRAWS):
        chosen = rng.integers(0, len(truth), len(truth))
        part = np.asarray(bins)[chosen].tolist()
        better += tau(one[chosen], truth[chosen], part) > tau(rival[chosen], truth[chosen], part)
    return better / DRAWS


def seed_deviation(first: Values, second: Values) -> float:
    """Standard deviation of one training around a network's mean, from pairs of seeds, mm."""
    return float(np.sqrt(np.mean((first - second) ** 2) / 2))


def ceiling(truth: Values, deviation: float, bins: Sequence[int] | None = None, seed: int = 0) -> float:
    """Mean tau-b that a perfect estimator would reach against means over networks with noise of `deviation` mm.

    The measured means stand for the truth. They are spread a little wider than it, so the ceiling is generous.
    """
    rng = np.random.default_rng(seed)
    return float(np.mean([tau(truth, truth + rng.normal(0, deviation, len(truth)), bins) for _ in range(500)]))


def regret(estimate: Values, truth: Values, bins: Sequence[int]) -> float:
    """mm by which the network that the estimate picks in each bin is behind the bin's best, on average."""
    found = []
    for place in sorted(set(bins)):
        members = np.flatnonzero(np.asarray(bins) == place)
        found.append(truth[members[np.argmin(estimate[members])]] - truth[members].min())
    return float(np.mean(found))


def chance_regret(truth: Values, bins: Sequence[int]) -> float:
    """The same for a network picked at random."""
    places = np.asarray(bins)
    return float(np.mean([truth[places == place].mean() - truth[places == place].min() for place in sorted(set(bins))]))


def front_share(estimate: Values, truth: Values, macs: Values, count: int) -> float:
    """Hypervolume that `count` networks reach, chosen along the estimated front as a search chooses its finalists.

    As a share of what training all would have found, in mm and doublings of MACs.
    """
    return _area(truth, macs, choose(np.stack([estimate, macs], 1), count)) / _area(truth, macs, range(len(truth)))


def chance_front_share(truth: Values, macs: Values, count: int, seed: int = 0) -> float:
    """The same for networks chosen at random, on average."""
    rng = np.random.default_rng(seed)
    drawn = [_area(truth, macs, rng.permutation(len(truth))[:count].tolist()) for _ in range(DRAWS)]
    return float(np.mean(drawn)) / _area(truth, macs, range(len(truth)))


def _area(truth: Values, macs: Values, chosen: Sequence[int]) -> float:
    points = np.stack([truth, np.log2(macs)], 1)
    return hypervolume(points[list(chosen)], np.add(points.max(0), (1.0, 0.1)))


def noise(estimate: Values, truth: Values) -> float:
    """Standard deviation in mm of the truth around the straight line in the estimate: what an estimate leaves open."""
    slope, offset = np.polyfit(estimate, truth, 1)
    return float(np.std(truth - (slope * estimate + offset), ddof=2))


def pairs(bins: Sequence[int]) -> int:
    """Pairs of networks of one bin."""
    return sum(a == b for a, b in combinations(bins, 2))
