"""A running search in one line: how many candidates, the ends of their front, and how its volume grew."""

from __future__ import annotations

import numpy as np

from explore.search.front import volumes

Point = tuple[float, float]

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 24  # bars at most


class Glance:
    """Takes in candidates one by one; `line` says where the search stands.

    Only those that were on the front when they came are kept, so that ten thousand cost no more than a hundred.
    """

    def __init__(self, mean_pose_mm: float) -> None:
        self.mean_pose_mm = mean_pose_mm
        self.count = 0
        self.front: list[Point] = []
        self.moves: list[Point] = []

    def add(self, mpjpe_mm: float, latency_ms: float) -> None:
        self.count += 1
        if any(mm <= mpjpe_mm and ms <= latency_ms for mm, ms in self.front):
            return
        new = (mpjpe_mm, latency_ms)
        self.front = sorted([(mm, ms) for mm, ms in self.front if mm < mpjpe_mm or ms < latency_ms] + [new])
        self.moves.append(new)

    @property
    def line(self) -> str:
        """For a terminal: `front 5 of 12: 147.2 mm in 2.10 ms to 179.0 mm in 0.05 ms  ▁▃▅▆▇`."""
        if not self.front:
            return ""
        best, fastest = (f"{mm:.1f} mm in {ms:.3g} ms" for mm, ms in (self.front[0], self.front[-1]))
        ends = best if best == fastest else f"{best} to {fastest}"
        return f"front {len(self.front)} of {self.count}: {ends}  {sparkline(volumes(self.moves, self.mean_pose_mm))}"


def sparkline(values: list[float]) -> str:
    """Bars from 0 to the largest of values that never fall; at most WIDTH of them, the last always there."""
    if not values or max(values) <= 0:
        return ""
    places = np.unique(np.linspace(0, len(values) - 1, min(WIDTH, len(values))).round().astype(int))
    top = max(values)
    return "".join(BARS[min(int(values[place] / top * len(BARS)), len(BARS) - 1)] for place in places)
