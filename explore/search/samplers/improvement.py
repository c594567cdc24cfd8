"""Expected hypervolume improvement of points whose costs are known and whose error is normally distributed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
MAX_CELLS = 50_000  # of the grid over the costs; a front that needs more is thinned
CHUNK = 50  # candidates at a time


def expected_improvement(
    mean: Array, std: Array, costs: Array, front: Array, front_costs: Array, reference: Array
) -> Array:
    """Return the expected hypervolume improvement of each candidate; all objectives are minimised.

    The costs of the front cut the space of costs into cells, in each of which the lowest error of the front is a
    constant e. A candidate improves a cell by max(0, e - error) times the part of the cell that its costs dominate.
    The expectation is therefore the sum of the one-dimensional expected improvements below e over the cells. It is
    exact unless the front is thinned to keep the number of cells below MAX_CELLS.

    mean, std: predicted error of the candidates, (N,)
    costs: known costs of the candidates, (N, M); M may be 0
    front, front_costs: errors (K,) and costs (K, M) of the points to improve on, dominated ones allowed
    reference: reference point (1 + M,)
    """
    dimensions = costs.shape[1]
    if dimensions:
        most = max(2, int(MAX_CELLS ** (1 / dimensions)) - 1)
        if len(front) > most:
            kept = np.argsort(front, kind="stable")[np.linspace(0, len(front) - 1, most).round().astype(int)]
            front, front_costs = front[kept], front_costs[kept]
    cuts = [np.unique(np.minimum(front_costs[:, axis], reference[1 + axis])) for axis in range(dimensions)]
    lowest = np.full([len(cut) + 1 for cut in cuts], reference[0])
    for error, place in zip(front, front_costs, strict=True):
        first = [int(np.searchsorted(cut, value)) + 1 for cut, value in zip(cuts, place, strict=True)]
        cells = np.atleast_1d(lowest)[tuple(slice(index, None) for index in first) or slice(None)]
        np.minimum(cells, error, out=cells)
    levels, level_of = np.unique(lowest.ravel(), return_inverse=True)
    total = np.zeros(len(mean))
    for begin in range(0, len(mean), CHUNK):
        part = slice(begin, begin + CHUNK)
        volumes = _volumes(costs[part], cuts, reference[1:])
        z = (levels - mean[part, None]) / std[part, None]
        gains = std[part, None] * (z * ndtr(z) + np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))
        total[part] = (volumes * gains[:, level_of]).sum(1)
    return total


def _volumes(costs: Array, cuts: list[Array], reference: Array) -> Array:
    """Return the volume of each cell that costs (N, M) dominate, (N, cells)."""
    volumes = np.ones((len(costs), 1))
    for axis, cut in enumerate(cuts):
        low = np.maximum(np.append(-np.inf, cut), costs[:, [axis]])
        widths = np.maximum(np.append(cut, reference[axis]) - low, 0.0)
        volumes = (volumes[:, :, None] * widths[:, None, :]).reshape(len(costs), -1)
    return volumes
