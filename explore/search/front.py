"""Pareto fronts of points to be minimised, and the choice of finalists along them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def dominates(a: Points, b: Points) -> bool:
    """Whether `a` is nowhere worse than `b` and somewhere better."""
    return bool((a <= b).all() and (a < b).any())


def ranks(points: Points) -> NDArray[np.int64]:
    """Nondomination rank of each row of (N, objectives): 0 is the front, 1 the front of the rest, and so on."""
    distinct, place = np.unique(points, axis=0, return_inverse=True)  # in an order in which none dominates one before
    rank = np.full(len(distinct), -1, np.int64)
    left, level = np.arange(len(distinct)), 0
    while left.size:
        rest = left
        while rest.size:
            first, others = rest[0], rest[1:]
            rank[first] = level
            rest = others[(distinct[others] < distinct[first]).any(1)]
        left, level = left[rank[left] < 0], level + 1
    return rank[place]


def crowding(points: Points) -> Points:
    """How far the neighbours of each row of (N, objectives) are, as in NSGA-II, on logarithms; the ends are infinite."""
    found = np.zeros(len(points))
    scaled = np.log(np.maximum(points, 1e-9))
    for column in scaled.T:
        order = np.argsort(column, kind="stable")
        spread = float(np.ptp(column)) or 1.0
        found[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
        found[order[[0, -1]]] = np.inf
    return found


def best_first(points: Points) -> NDArray[np.int64]:
    """Indices of the rows of (N, objectives): by rank, within a front the most alone first, then as they came."""
    rank = ranks(points)
    alone = np.zeros(len(points))
    for level in range(int(rank.max()) + 1):
        members = np.flatnonzero(rank == level)
        alone[members] = crowding(points[members])
    return np.lexsort((np.arange(len(points)), -alone, rank))


def choose(points: Points, count: int) -> list[int]:
    """Indices of `count` rows along the front: its ends first, then where the gap is widest; then the next front.

    Gaps are measured after taking the logarithm of the objectives, so that halving counts alike everywhere.
    """
    chosen: list[int] = []
    rank = ranks(points)
    scaled = np.log(np.maximum(points, 1e-9))
    scaled = (scaled - scaled.min(0)) / np.maximum(np.ptp(scaled, axis=0), 1e-9)
    for level in range(int(rank.max(initial=-1)) + 1):
        members = sorted(np.flatnonzero(rank == level), key=lambda i: tuple(points[i, ::-1]))
        left = [int(i) for i in members]
        if level == 0 and left:
            ends = dict.fromkeys(left[int(np.argmin(points[left, axis]))] for axis in range(points.shape[1]))
            chosen += list(ends)[: count - len(chosen)]
            left = [i for i in left if i not in chosen]
        while left and len(chosen) < count:
            gaps = [min(np.linalg.norm(scaled[i] - scaled[j]) for j in chosen) for i in left]
            chosen.append(left.pop(int(np.argmax(gaps))))
        if len(chosen) >= count:
            break
    return chosen


def hypervolume(points: Points, reference: Points) -> float:
    """Area that two-objective points dominate up to `reference`."""
    inside = points[(points < reference).all(1)]
    area, ceiling = 0.0, float(reference[1])
    for x, y in sorted(map(tuple, inside)):
        if y < ceiling:
            area += (float(reference[0]) - x) * (ceiling - y)
            ceiling = y
    return area


def volumes(points: Sequence[tuple[float, float]], ceiling: float) -> list[float]:
    """Hypervolume after each of (mm, ms) in turn: mm x decades of ms, up to `ceiling` mm and the slowest point."""
    if not points:
        return []
    reference = np.array([max(np.log10(ms) for _, ms in points) + 1e-6, ceiling])
    front: list[tuple[float, float]] = []
    grown: list[float] = []
    for mm, ms in points:
        x = float(np.log10(ms))
        if any(a <= x and b <= mm for a, b in front):
            grown.append(grown[-1] if grown else 0.0)
            continue
        front = [(a, b) for a, b in front if a < x or b < mm] + [(x, mm)]
        grown.append(hypervolume(np.array(front), reference))
    return grown
