"""The state of a search in one line: number of candidates, ends of their front, and growth of its hypervolume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explore.pareto import hypervolume_history
from explore.search.costs.quantities import Quantity

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 24  # maximum number of bars


class StatusLine:
    """The state of a search, updated candidate by candidate.

    Only candidates that were on the front when they finished are kept, so that ten thousand take little memory. The
    ends of the front and the hypervolume are those of the error and the first other objective.
    """

    def __init__(self, mean_pose_mm: float, objectives: Sequence[Quantity]) -> None:
        """objectives: the error first"""
        self.mean_pose_mm, self.objectives = mean_pose_mm, objectives
        self.count = self.unmeasured = 0
        self.front: list[list[float]] = []
        self.moves: list[tuple[float, float]] = []

    def add(self, values: Sequence[float], is_measured: bool = True) -> None:
        """Take in the objectives' values of a candidate. is_measured: all of its latencies"""
        self.count += 1
        self.unmeasured += not is_measured
        new = list(values)
        if any(all(a <= b for a, b in zip(old, new, strict=True)) for old in self.front):
            return
        self.front = sorted([old for old in self.front if any(a < b for a, b in zip(old, new, strict=True))] + [new])
        self.moves.append((new[0], new[1]))

    @property
    def line(self) -> str:
        """The text, such as `front 5 of 12: 147.2 mm, 2.100 ms to 179.0 mm, 0.050 ms  ▁▃▅▆▇`."""
        if not self.front:
            return ""
        best, cheapest = self._text(self.front[0]), self._text(min(self.front, key=lambda values: values[1]))
        ends = best if best == cheapest else f"{best} to {cheapest}"
        bars = sparkline(hypervolume_history(self.moves, self.mean_pose_mm))
        predicted = f"; latency of {self.unmeasured} predicted" if self.unmeasured else ""
        return f"front {len(self.front)} of {self.count}: {ends}{predicted}  {bars}"

    def _text(self, values: Sequence[float]) -> str:
        return ", ".join(one.text(value) for one, value in zip(self.objectives[:2], values[:2], strict=True))


def sparkline(values: list[float]) -> str:
    """Return bars for values that never fall, from 0 to the largest; at most WIDTH bars, ending with the last."""
    if not values or max(values) <= 0:
        return ""
    places = np.unique(np.linspace(0, len(values) - 1, min(WIDTH, len(values))).round().astype(int))
    top = max(values)
    return "".join(BARS[min(int(values[place] / top * len(BARS)), len(BARS) - 1)] for place in places)
