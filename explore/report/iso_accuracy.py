"""Iso-accuracy speed-up: how many times faster than another network the search's fastest file is that is at least as
accurate.

A file is at least as accurate where the 95% interval of the paired difference of the errors does not exceed 0. Nothing
is interpolated between files. Networks that learned next to nothing are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from explore.evaluation.intervals import Interval
from explore.report.rows import with_interval

LEARNED = 0.5  # least share of the best improvement over the mean-pose baseline of a network to compare with

Verdict = Literal["at least as accurate", "not distinguishable", "less accurate", "not tested", "learned too little"]


@dataclass(frozen=True)
class Point:
    """A file: error in mm with its interval, and latency in ms, whose interval is ms / spread to ms * spread.

    key: identity of the file
    """

    name: str
    mm: float
    ms: float
    spread: float = 1.0
    mm_low: float = math.nan
    mm_high: float = math.nan
    key: str = ""

    @property
    def figures(self) -> str:
        return f"{with_interval(self.mm, self.mm_low, self.mm_high)} mm, {self.ms:.2f} ms"


Difference = Callable[[Point, Point], Interval | None]


@dataclass(frozen=True)
class IsoAccuracy:
    """Comparison of the search's files with `other`.

    verdict: "at least as accurate" and "less accurate" are supported by the interval of the paired difference;
        "not tested": there are no intervals, and the files were compared by point estimates
    file: the fastest file that is at least as accurate; else the fastest that is not distinguishable; else the one
        with the lowest error; None for networks that learned too little
    difference: error of `file` minus that of `other`, mm
    times: ratio of the latencies, other.ms / file.ms
    low, high: interval of `times` from the latencies, at least 95%. With "at least as accurate", `high` includes the
        uncertainty of the errors: it is that of `rival`, the fastest file that is not distinguishable, if that is faster
    reason: why `other` was not compared
    """

    other: Point
    verdict: Verdict
    file: Point | None = None
    difference: Interval | None = None
    times: float = math.nan
    low: float = math.nan
    high: float = math.nan
    rival: Point | None = None
    reason: str = ""

    @property
    def text(self) -> str:
        about, file = f"{self.other.name}, {self.other.figures}", self.file
        if file is None:
            return f"{about}: not compared, since {self.reason}."
        named = f"{file.name}, {file.figures},"
        if self.difference is None:
            words = (
                f"{named} has a lower error by point estimate and {self._speed}"
                if file.mm <= self.other.mm
                else f"no file has a lower error by point estimate; {named} comes closest and {self._speed}"
            )
            return f"{about}: {words}; not tested, since there are no intervals of the errors."
        shift = self.difference
        difference = f"difference {shift.value:+.1f} mm, {shift.low:+.1f} to {shift.high:+.1f}"
        if self.verdict == "at least as accurate":
            rival = (
                f"; the bound is that of {self.rival.name}, whose error is not distinguishable" if self.rival else ""
            )
            return f"{about}: {named} is at least as accurate ({difference}) and {self._speed}{rival}."
        if self.verdict == "not distinguishable":
            return f"{about}: the error of {named} is not distinguishable ({difference}); it {self._speed}."
        return (
            f"{about}: no file of the search is as accurate; {named} is less accurate ({difference}) and {self._speed}."
        )

    @property
    def _speed(self) -> str:
        if self.times >= 1:
            return f"is {self.times:.1f} times as fast ({self.low:.2f} to {self.high:.2f})"
        return f"takes {1 / self.times:.1f} times as long ({1 / self.high:.2f} to {1 / self.low:.2f})"


def at_iso_accuracy(
    own: Sequence[Point],
    others: Sequence[Point],
    mean_pose_mm: float | None,
    difference: Difference = lambda a, b: None,
) -> list[IsoAccuracy]:
    """Compare the files `own` with each of `others`, the slowest first; empty if `own` is empty.

    mean_pose_mm: error of the mean-pose baseline on the same frames
    difference: returns the error of the first file minus that of the second, None if they were not compared
    """
    best_mm = min((point.mm for point in (*own, *others)), default=math.nan)
    found = []
    for other in sorted(others, key=lambda point: -point.ms) if own else []:
        reason = learned_too_little(other, best_mm, mean_pose_mm)
        found.append(
            IsoAccuracy(other, "learned too little", reason=reason) if reason else _compare(own, other, difference)
        )
    return found


def learned_too_little(point: Point, best_mm: float, mean_pose_mm: float | None) -> str:
    """Return why a network is no standard of comparison, or an empty string.

    best_mm: lowest error of all networks of the study
    """
    if mean_pose_mm is None:
        return "the error of the mean-pose baseline is unknown"
    gain, best_gain = mean_pose_mm - point.mm, mean_pose_mm - best_mm
    if gain <= 0 or point.mm_high >= mean_pose_mm:
        return f"its error is not clearly below the mean-pose baseline ({mean_pose_mm:.1f} mm)"
    if gain < LEARNED * best_gain:
        return (
            f"it learned too little: {gain:.1f} mm below the mean-pose baseline, less than half of the best network's "
            f"{best_gain:.1f} mm"
        )
    return ""


def spread(low: float, high: float) -> float:
    """Return the spread of a point from the interval of its latency, or of a ratio to it."""
    return math.sqrt(high / low)


def _compare(own: Sequence[Point], other: Point, difference: Difference) -> IsoAccuracy:
    differences = {file: found for file in own if (found := difference(file, other)) is not None}
    if not differences:
        lower = [file for file in own if file.mm <= other.mm]
        return _with_speed(other, "not tested", _fastest(lower) if lower else min(own, key=lambda file: file.mm), None)
    accurate = [file for file, found in differences.items() if found.high <= 0]
    same = [file for file, found in differences.items() if found.low <= 0 < found.high]
    if accurate:
        file = _fastest(accurate)
        rival = _fastest(same) if same and _fastest(same).ms < file.ms else None
        return _with_speed(other, "at least as accurate", file, differences[file], rival)
    if same:
        return _with_speed(other, "not distinguishable", _fastest(same), differences[_fastest(same)])
    file = min(differences, key=lambda file: file.mm)
    return _with_speed(other, "less accurate", file, differences[file])


def _fastest(files: Sequence[Point]) -> Point:
    return min(files, key=lambda file: (file.ms, file.mm))


def _with_speed(
    other: Point, verdict: Verdict, file: Point, difference: Interval | None, rival: Point | None = None
) -> IsoAccuracy:
    def bound(point: Point, side: int) -> float:
        return other.ms / point.ms * (other.spread * point.spread) ** side

    return IsoAccuracy(
        other, verdict, file, difference, bound(file, 0), bound(file, -1), bound(rival or file, 1), rival
    )
