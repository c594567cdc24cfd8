"""Claims of the benchmark `headline`."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import headline
from explore.measure.latency import Latency
from explore.report.rows import ExportedRow


def row(name: str, mm: float, ms: float, baseline: bool = False) -> ExportedRow:
    return ExportedRow(name=name, baseline=baseline, mpjpe_mm=mm, latency_ms=ms)


def latency(ms: float) -> Latency:
    plain: dict[str, Any] = dict.fromkeys(Latency.__dataclass_fields__, 1.0)
    return Latency(**plain | {"median_ms": ms, "low_ms": ms / 1.01, "high_ms": ms * 1.01})


ROWS = [row("a", 160.0, 0.1), row("b", 140.0, 0.4), row("xs", 150.0, 0.6, True), row("l", 120.0, 3.0, True)]


@pytest.mark.parametrize(("factor", "passed"), [(1.0, True), (1.05, True), (1.3, False)])
def test_speed_ups_are_compared_with_the_study(factor: float, passed: bool) -> None:
    again = {r.name: latency(r.latency_ms) for r in ROWS} | {"xs": latency(0.6 * factor)}
    slowest, other = headline._faster(ROWS, again, 222.4)
    assert slowest.name == "a file as accurate as l" and not slowest.passed
    assert slowest.measured == "the nearest is 20.0 mm behind"
    assert other.name == "times faster than xs: b, with no more error" and other.target == "1.50, within 10%"
    assert float(other.measured) == pytest.approx(1.5 * factor, abs=0.01) and other.passed == passed
    assert other.low is not None and other.high is not None and other.low < float(other.measured) < other.high


def test_changed_error_fails() -> None:
    first, second = headline._errors(ROWS, {"a": 160.05, "b": 140.3})
    assert first.passed and first.target == "160.0 mm, within 0.1"
    assert not second.passed and second.measured == "140.3 mm"
