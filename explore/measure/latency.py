"""Latency of model files in this process, and the retrying of disturbed measurements."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from explore.measure.config import MeasureConfig
from explore.measure.probe.protocol import Disturbed, ProtocolSettings, TimedCall, summarise, time_rounds

__all__ = ["Disturbed", "Latency", "measure", "retry_disturbed"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Latency:
    """Latency of one model, ms per call.

    Attributes:
        median_ms: median over the rounds of the median of a round's calls.
        p90_ms: 90th percentile of all calls.
        low_ms, high_ms: 95% interval of `median_ms` over rounds.
        ratio: median ratio to the reference model, with its 95% interval `ratio_low` to `ratio_high`.
        cpu_over_wall: CPU time / (threads x wall time).
        waiting: time that threads were runnable without a CPU / (threads x wall time); None where the kernel does
            not report it.
        converged: whether the interval of `ratio` is within `MeasureConfig.ci_width`.
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
    converged: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(calls: dict[str, Callable[[], None]], config: MeasureConfig, reference: str) -> dict[str, Latency]:
    """Time each of `calls` in interleaved rounds (see `explore.measure.probe.protocol`).

    Args:
        calls: functions that run one model once, by name.
        config: `max_seconds` covers all models together.
        reference: name of the model that ratios refer to.

    Raises:
        Disturbed: other processes disturbed the measurement.
    """
    timed = {name: TimedCall(call, config.calls, config.threads) for name, call in calls.items()}
    settings = ProtocolSettings(config.rounds, config.calls, config.ci_width, config.max_seconds)
    blocks, dropped = time_rounds(timed, reference, settings)
    return {
        name: Latency(**summarise(own, blocks[reference], dropped, config.ci_width), threads=config.threads)
        for name, own in blocks.items()
    }


def retry_disturbed(
    call: Callable[[], Result],
    attempts: int = 3,
    pause_s: float = 0.0,
    max_pause_s: float = math.inf,
    errors: tuple[type[Exception], ...] = (Disturbed,),
    waiting: Callable[[int, int], None] = lambda attempt, attempts: None,
) -> Result:
    """Return the result of `call`, which is repeated while it raises one of `errors`.

    waiting: called before each pause with the number of attempts so far and the largest one

    The pauses between attempts are `pause_s`, 2 `pause_s`, 3 `pause_s`, ..., at most `max_pause_s`.

    Raises:
        Disturbed: all attempts failed; the error of the last one.
    """
    for attempt in range(1, attempts):
        try:
            return call()
        except errors:
            waiting(attempt, attempts)
            time.sleep(min(attempt * pause_s, max_pause_s))
    return call()
