"""By how many times a front is faster than other networks at their own error, from the figures of the very files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A file: error in mm, latency in ms; spread: factor by which the latency's 95% interval lies to both sides."""

    name: str
    mm: float
    ms: float
    spread: float = 1.0


@dataclass(frozen=True)
class Faster:
    """How a front stands to `other`.

    file: the fastest of the front that is at least as accurate
    ms: of the front at the other's error, read between its files along a line in mm and the logarithm of ms
    times: how many times faster that is, with the bounds `low` and `high` that the latencies' intervals give
    """

    other: Point
    file: Point
    ms: float
    times: float
    low: float
    high: float

    @property
    def text(self) -> str:
        if self.ms == self.file.ms and self.file.mm < self.other.mm:  # worse than all: nothing to read between
            return (
                f"{_said(self.other)}: the fastest of the front, {self.file.name}, is more accurate and "
                f"{self.times:.1f} times as fast ({self.low:.2f} to {self.high:.2f}; {_said_figures(self.file)})."
            )
        return (
            f"{_said(self.other)}: at its error the front is {self.times:.1f} times as fast ({self.low:.2f} to "
            f"{self.high:.2f}); {self.file.name} is at least as accurate ({_said_figures(self.file)})."
        )


@dataclass(frozen=True)
class Behind:
    """No file of the front is as accurate as `other`; `nearest` is its most accurate."""

    other: Point
    nearest: Point

    @property
    def text(self) -> str:
        mm, times = self.nearest.mm - self.other.mm, self.other.ms / self.nearest.ms
        return (
            f"{_said(self.other)}: nothing found is as accurate; {self.nearest.name} is {mm:.1f} mm behind at "
            f"{times:.1f} times the speed ({_said_figures(self.nearest)})."
        )


def at_equal_error(own: Sequence[Point], others: Sequence[Point]) -> list[Faster | Behind]:
    """How the front of `own` stands to each of `others`, the slowest first; empty where nothing is ours."""
    front = _front(own)
    return [_against(front, other) for other in sorted(others, key=lambda p: -p.ms)] if front else []


def spread(low: float, high: float) -> float:
    """Of an interval of ratios, low to high."""
    return math.sqrt(high / low)


def _front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in both, the fastest first; errors fall along it."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.ms, p.mm)):
        if not kept or point.mm < kept[-1].mm:
            kept.append(point)
    return kept


def _against(front: list[Point], other: Point) -> Faster | Behind:
    place = next((index for index, point in enumerate(front) if point.mm <= other.mm), None)
    if place is None:
        return Behind(other, front[-1])
    file = front[place]
    before = front[max(0, place - 1)]  # the fastest of all may already be more accurate: nothing to read between
    share = (before.mm - other.mm) / (before.mm - file.mm) if place else 1.0
    ms = before.ms ** (1 - share) * file.ms**share
    unsure = other.spread * max(before.spread, file.spread)
    return Faster(other, file, ms, other.ms / ms, other.ms / ms / unsure, other.ms / ms * unsure)


def _said(point: Point) -> str:
    return f"{point.name} ({_said_figures(point)})"


def _said_figures(point: Point) -> str:
    return f"{point.mm:.1f} mm, {point.ms:.2f} ms"
