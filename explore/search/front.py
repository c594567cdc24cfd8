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
    better = np.asarray((points[:, None] <= points[None]).all(2) & (points[:, None] < points[None]).any(2))
    rank = np.full(len(points), -1, np.int64)
    level = 0
    while (rank < 0).any():
        left = rank < 0
        front = left & ~better[left].any(0)
        rank[front] = level
        level += 1
    return rank


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
