"""Non-dominated sorting, crowding distance and hypervolume of points (N, objectives); every objective is minimised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def non_dominated_rank(points: Points) -> NDArray[np.int64]:
    """Non-domination rank of each point: 0 is the Pareto front, 1 the front of the remaining points, and so on."""
    distinct, place = np.unique(points, axis=0, return_inverse=True)  # sorted: no point dominates an earlier one
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


def crowding_distance(points: Points) -> Points:
    """Crowding distance of each point of one front (Deb et al. 2002, NSGA-II) in log space; infinite at the ends."""
    distance = np.zeros(len(points))
    scaled = np.log(np.maximum(points, 1e-9))
    for column in scaled.T:
        order = np.argsort(column, kind="stable")
        spread = float(np.ptp(column)) or 1.0
        distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
        distance[order[[0, -1]]] = np.inf
    return distance


def crowding_sort(points: Points) -> NDArray[np.int64]:
    """Indices by non-dominated rank, then by descending crowding distance, then by position."""
    rank = non_dominated_rank(points)
    distance = np.zeros(len(points))
    for level in range(int(rank.max()) + 1):
        members = np.flatnonzero(rank == level)
        distance[members] = crowding_distance(points[members])
    return np.lexsort((np.arange(len(points)), -distance, rank))


def select_along_front(points: Points, count: int) -> list[int]:
    """Indices of `count` points spread along the front, then along the next front.

    The best point of each objective comes first, then repeatedly the point farthest from all chosen ones. Distances are
    taken between logarithms, so that a factor of two counts the same everywhere.
    """
    chosen: list[int] = []
    rank = non_dominated_rank(points)
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
    """Volume between the points and `reference` (objectives,); points that are not better than it count nothing.

    Two objectives are swept; more are cut into slices along the last objective, which takes exponential time in the
    number of objectives and is meant for two to four.
    """
    inside = points[(points < reference).all(1)]
    if not len(inside):
        return 0.0
    if inside.shape[1] == 1:
        return float(reference[0] - inside.min())
    if inside.shape[1] == 2:
        order = inside[np.lexsort((inside[:, 1], inside[:, 0]))]
        heights = np.minimum.accumulate(np.append(float(reference[1]), order[:, 1]))
        return float(((reference[0] - order[:, 0]) * (heights[:-1] - heights[1:])).sum())
    cuts = np.unique(inside[:, -1])
    return sum(
        float(top - bottom) * hypervolume(inside[inside[:, -1] <= bottom, :-1], reference[:-1])
        for bottom, top in zip(cuts, np.append(cuts[1:], reference[-1]), strict=True)
    )


def hypervolume_history(points: Sequence[tuple[float, float]], max_error_mm: float) -> list[float]:
    """Hypervolume after each point (error in mm, cost > 0), in mm x decades of the cost.

    The reference point is `max_error_mm` and the highest cost of all points.
    """
    if not points:
        return []
    reference = np.array([max(np.log10(ms) for _, ms in points) + 1e-6, max_error_mm])
    front = np.empty((0, 2))
    history: list[float] = []
    for mm, ms in points:
        point = np.array([np.log10(ms), mm])
        if (front <= point).all(1).any():
            history.append(history[-1] if history else 0.0)
            continue
        front = np.vstack([front[(front < point).any(1)], point])
        history.append(hypervolume(front, reference))
    return history
