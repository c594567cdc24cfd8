"""The latency protocol within this process, as the search uses it; `explore.measure.probe` says how it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from explore.config import MeasureConfig
from explore.measure.probe import Disturbed, Entry, Rules, bootstrap_median, summary, time_rounds

__all__ = ["Disturbed", "Latency", "bootstrap_median", "measure"]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call; `low` and `high` bound the median's 95% interval, `ratio` is to the reference.

    `cpu_over_wall` is the share of threads x wall that the process had, `waiting` the share that its threads were
    runnable without a processor (None where the kernel does not say).
    """

    median_ms: float
    p90_ms: float
    low_ms: float
    high_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    calls: int
    rounds: int
    dropped_rounds: int
    cpu_over_wall: float
    waiting: float | None
    threads: int
    settled: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(calls: dict[str, Callable[[], None]], config: MeasureConfig, reference: str) -> dict[str, Latency]:
    """Time each of `calls` (a function that runs one model once) in interleaved rounds.

    Rounds go on until every interval is within `config.width` or `config.budget` seconds are spent (then `settled`
    is false). `reference` names the entry that ratios are taken to.

    Raises:
        Disturbed: fewer than half of the rounds were quiet.
    """
    entries = {name: Entry(call, config.calls, config.threads) for name, call in calls.items()}
    rules = Rules(config.rounds, config.calls, config.width, config.budget)
    kept, dropped = time_rounds(entries, reference, rules)
    return {
        name: Latency(**summary(own, kept[reference], dropped, config.width), threads=config.threads)
        for name, own in kept.items()
    }
