"""Iso-accuracy speed-ups are those of real files, supported by the interval of the paired difference."""

from __future__ import annotations

import pytest

from explore.evaluation.intervals import Interval
from explore.report.iso_accuracy import IsoAccuracy, Point, at_iso_accuracy, spread

MEAN_POSE_MM = 222.4
FILES = [Point("a", 160.0, 0.1), Point("b", 140.0, 0.4), Point("dominated", 150.0, 0.5), Point("c", 130.0, 0.8)]


def compare(other: Point, half_width: float | None = 2.0, files: list[Point] = FILES) -> IsoAccuracy:
    """Compare with intervals of +- half_width mm; None: without intervals."""

    def difference(a: Point, b: Point) -> Interval | None:
        mm = a.mm - b.mm
        return Interval(mm, mm - half_width, mm + half_width, "frame", 500) if half_width is not None else None

    (found,) = at_iso_accuracy(files, [other], MEAN_POSE_MM, difference)
    return found


def test_a_slower_file_is_not_called_faster() -> None:
    """Interpolation between a and b would say 1.3 times as fast; the file that is as accurate is slower."""
    found = compare(Point("other", 155.0, 0.16))
    assert found.verdict == "at least as accurate" and found.file == FILES[1] and found.times == pytest.approx(0.4)
    assert "b, 140.0 mm, 0.40 ms, is at least as accurate (difference -15.0 mm, -17.0 to -13.0)" in found.text
    assert "takes 2.5 times as long" in found.text and "as fast" not in found.text


def test_the_fastest_real_file_that_is_at_least_as_accurate() -> None:
    found = compare(Point("other", 150.0, 2.0))
    assert found.file == FILES[1] and found.times == pytest.approx(5.0) and "is 5.0 times as fast" in found.text
    same = compare(FILES[1], half_width=0.0)
    assert same.file == FILES[1] and same.times == pytest.approx(1.0), "equal predictions are as accurate"


def test_the_interval_includes_the_uncertainty_of_the_error() -> None:
    found = compare(Point("other", 159.5, 2.0))
    assert found.file == FILES[1] and found.rival == FILES[0] and found.times == pytest.approx(5.0)
    assert (found.low, found.high) == (pytest.approx(5.0), pytest.approx(20.0)), "a may be as accurate"
    assert "the bound is that of a, whose error is not distinguishable" in found.text


def test_a_file_that_is_not_distinguishable_is_not_at_least_as_accurate() -> None:
    found = compare(Point("other", 130.5, 3.2))
    assert found.verdict == "not distinguishable" and found.file == FILES[3]
    assert "the error of c, 130.0 mm, 0.80 ms, is not distinguishable" in found.text and "at least" not in found.text


def test_a_more_accurate_network_is_compared_with_the_file_of_the_lowest_error() -> None:
    found = compare(Point("other", 120.0, 3.2))
    assert found.verdict == "less accurate" and found.file == FILES[3]
    assert "no file of the search is as accurate; c, 130.0 mm, 0.80 ms, is less accurate" in found.text
    assert "difference +10.0 mm, +8.0 to +12.0" in found.text and "4.0 times as fast" in found.text


def test_without_intervals_nothing_is_claimed() -> None:
    for mm, file in ((150.0, "b"), (120.0, "c")):
        found = compare(Point("other", mm, 2.0), half_width=None)
        assert found.verdict == "not tested" and found.file is not None and found.file.name == file
        assert "lower error by point estimate" in found.text or mm < 130
        assert "not tested, since there are no intervals of the errors" in found.text
        assert "accurate" not in found.text


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (
            Point("other", 188.6, 3.4),
            "33.8 mm below the mean-pose baseline, less than half of the best network's 92.4 mm",
        ),
        (Point("other", 230.0, 3.4), "not clearly below the mean-pose baseline"),
        (Point("other", 150.0, 3.4, mm_low=70.0, mm_high=230.0), "not clearly below the mean-pose baseline"),
    ],
)
def test_networks_that_learned_next_to_nothing_are_not_compared(other: Point, reason: str) -> None:
    found = compare(other)
    assert found.verdict == "learned too little" and reason in found.text and "times" not in found.text


def test_nothing_is_compared_where_no_network_learned() -> None:
    files = [Point("a", 221.0, 0.1, mm_low=215.0, mm_high=227.0)]
    assert compare(Point("other", 221.5, 0.4, mm_low=216.0, mm_high=227.0), files=files).file is None
    assert at_iso_accuracy(FILES, [Point("other", 150.0, 2.0)], None)[0].reason.endswith("is unknown")
    assert at_iso_accuracy([], [Point("other", 150.0, 2.0)], MEAN_POSE_MM) == []


def test_the_slowest_comes_first_and_latencies_have_intervals() -> None:
    others = [Point("fast", 165.0, 0.2), Point("slow", 165.0, 2.0, spread(0.98, 0.98 * 1.03**2))]
    files = [Point("a", 160.0, 0.1, 1.02)]
    first, second = at_iso_accuracy(files, others, MEAN_POSE_MM)
    assert (first.other.name, second.other.name) == ("slow", "fast")
    assert first.low == pytest.approx(20 / 1.02 / 1.03) and first.high == pytest.approx(20 * 1.02 * 1.03)
