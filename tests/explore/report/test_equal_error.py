"""By how many times a front is faster at another's error, and what is said where it is not as accurate."""

from __future__ import annotations

import pytest

from explore.report.equal_error import Behind, Faster, Point, at_equal_error, spread

FRONT = [Point("a", 160.0, 0.1), Point("b", 140.0, 0.4), Point("beaten", 150.0, 0.5), Point("c", 130.0, 0.8)]


def test_it_is_read_along_the_front_between_its_files() -> None:
    (found,) = at_equal_error(FRONT, [Point("other", 150.0, 2.0)])
    assert isinstance(found, Faster)
    assert found.ms == pytest.approx(0.2), "halfway in mm is halfway in the logarithm of ms"
    assert found.times == pytest.approx(10.0)
    assert found.file.name == "b", "a file that is at least as accurate, not one that is beaten in both"
    assert "10.0 times as fast" in found.text


def test_at_a_files_own_error_it_is_that_file() -> None:
    for point in (FRONT[0], FRONT[1], FRONT[3]):
        (found,) = at_equal_error(FRONT, [Point("other", point.mm, 1.0)])
        assert isinstance(found, Faster)
        assert found.file == point and found.ms == pytest.approx(point.ms)


def test_one_worse_than_all_is_held_against_the_fastest() -> None:
    (found,) = at_equal_error(FRONT, [Point("other", 200.0, 0.3)])
    assert isinstance(found, Faster)
    assert found.file.name == "a" and found.times == pytest.approx(3.0)
    assert "the fastest of the front, a, is more accurate and 3.0 times as fast" in found.text


def test_one_that_nothing_reaches_is_told_as_such() -> None:
    slow, fast = Point("slow", 120.0, 3.2), Point("fast", 150.0, 0.1)
    first, second = at_equal_error(FRONT, [fast, slow])
    assert isinstance(first, Behind), "the slowest comes first"
    assert first.nearest.name == "c"
    assert "nothing found is as accurate; c is 10.0 mm behind at 4.0 times the speed" in first.text
    assert isinstance(second, Faster) and second.times == pytest.approx(0.5), "slower than what it is compared with"
    assert at_equal_error([], [slow]) == []


def test_the_latencies_intervals_bound_it() -> None:
    front = [Point("a", 160.0, 0.1, 1.02), Point("b", 140.0, 0.4, 1.01)]
    (found,) = at_equal_error(front, [Point("other", 150.0, 2.0, spread(0.98, 0.98 * 1.03**2))])
    assert isinstance(found, Faster)
    assert found.low == pytest.approx(10 / 1.02 / 1.03) and found.high == pytest.approx(10 * 1.02 * 1.03)
