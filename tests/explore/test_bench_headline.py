"""The bench of the headline: what it claims of a study, and when that counts as fallen short."""

from __future__ import annotations

from typing import Any

import pytest

from explore.bench import headline
from explore.measure.protocol import Latency
from explore.report.gather import Row


def row(name: str, mm: float, ms: float, paper: bool = False) -> Row:
    return Row("shipped", paper, {"name": name}, {"mpjpe_mm": mm, "latency_ms": ms})


def latency(ms: float) -> Latency:
    plain: dict[str, Any] = dict.fromkeys(Latency.__dataclass_fields__, 1.0)
    return Latency(**plain | {"median_ms": ms, "low_ms": ms / 1.01, "high_ms": ms * 1.01})


ROWS = [row("a", 160.0, 0.1), row("b", 140.0, 0.4), row("xs", 150.0, 0.6, True), row("l", 120.0, 3.0, True)]


@pytest.mark.parametrize(("factor", "holds"), [(1.0, True), (1.05, True), (1.3, False)])
def test_times_faster_are_compared_with_the_studys(factor: float, holds: bool) -> None:
    again = {r.texts["name"]: latency(float(r.numbers["latency_ms"] or 0)) for r in ROWS} | {
        "xs": latency(0.6 * factor)
    }
    slowest, other = headline._faster(ROWS, again)
    assert slowest.name == "a file as accurate as l" and not slowest.holds
    assert slowest.measured == "the nearest is 20.0 mm behind"
    assert other.name == "times faster than xs at its error" and other.asked == "3.00, within 10%"
    assert float(other.measured) == pytest.approx(3.0 * factor, abs=0.01) and other.holds == holds
    assert other.low is not None and other.high is not None and other.low < float(other.measured) < other.high


def test_an_error_that_moved_falls_short() -> None:
    first, second = headline._errors(ROWS, {"a": 160.05, "b": 140.3})
    assert first.holds and first.asked == "160.0 mm, within 0.1"
    assert not second.holds and second.measured == "140.3 mm"
