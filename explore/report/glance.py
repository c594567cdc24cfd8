"""A running search in one line: how many candidates, the ends of their front, and how its volume grew."""

from __future__ import annotations

import numpy as np

from explore.search.front import ranks, volumes

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 24  # bars at most


class Glance:
    """Takes in candidates one by one; `line` says where the search stands."""

    def __init__(self, mean_pose_mm: float) -> None:
        self.mean_pose_mm = mean_pose_mm
        self.points: list[tuple[float, float]] = []

    def add(self, mpjpe_mm: float, latency_ms: float) -> None:
        self.points.append((mpjpe_mm, latency_ms))

    @property
    def line(self) -> str:
        """For a terminal: `front 5 of 12: 147.2 mm in 2.10 ms to 179.0 mm in 0.05 ms  ▁▃▅▆▇`."""
        if not self.points:
            return ""
        front = sorted(p for p, rank in zip(self.points, ranks(np.array(self.points)), strict=True) if rank == 0)
        best, fastest = (f"{mm:.1f} mm in {ms:.3g} ms" for mm, ms in (front[0], front[-1]))
        ends = best if best == fastest else f"{best} to {fastest}"
        return f"front {len(front)} of {len(self.points)}: {ends}  {sparkline(volumes(self.points, self.mean_pose_mm))}"


def sparkline(values: list[float]) -> str:
    """Bars from 0 to the largest of values that never fall; at most WIDTH of them, the last always there."""
    if not values or max(values) <= 0:
        return ""
    places = np.unique(np.linspace(0, len(values) - 1, min(WIDTH, len(values))).round().astype(int))
    top = max(values)
    return "".join(BARS[min(int(values[place] / top * len(BARS)), len(BARS) - 1)] for place in places)
