"""The latency protocol: interleaved rounds against a reference, disturbed rounds dropped, intervals by bootstrap.

A machine's speed drifts by several percent within minutes. Models timed in turns within one round share that drift,
so ratios to a reference network of the same call are steady where lone times are not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explore.config import MeasureConfig

CPU_SHARE = 0.95  # process-CPU time below this share of threads x wall: something else had the core


class Disturbed(RuntimeError):
    """Too many rounds were disturbed by other processes: there is no figure to report."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call; `low` and `high` bound the median's 95% interval, `ratio` is to the reference."""

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
    threads: int
    settled: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(calls: dict[str, Callable[[], None]], config: MeasureConfig, reference: str) -> dict[str, Latency]:
    """Time each of `calls` (a function that runs one model once) in interleaved rounds.

    Rounds go on until every ratio's interval is within `config.width` or `config.budget` seconds are spent (then
    `settled` is false). `reference` names the entry that ratios are taken to.

    Raises:
        Disturbed: fewer than half of the rounds were quiet.
    """
    for call in calls.values():
        for _ in range(3):
            call()
    times: dict[str, list[NDArray[np.float64]]] = {name: [] for name in calls}
    shares: dict[str, list[float]] = {name: [] for name in calls}
    dropped = 0
    started = time.monotonic()
    while True:
        round_times, round_shares = {}, {}
        for name, call in calls.items():
            call()
            round_times[name], round_shares[name] = _timed(call, config.calls, config.threads)
        if min(round_shares.values()) < CPU_SHARE:
            dropped += 1
        else:
            for name in calls:
                times[name].append(round_times[name])
                shares[name].append(round_shares[name])
        kept = len(times[reference])
        spent = time.monotonic() - started
        if kept >= config.rounds and _settled(times, reference, config.width):
            break
        if spent > config.budget and (kept >= config.rounds or spent > 2 * config.budget):
            break
    if kept < max(3, config.rounds // 2) or kept < dropped:
        raise Disturbed(
            f"{dropped} of {kept + dropped} rounds were disturbed by other processes; free the processor and measure again"
        )
    return {name: _summary(times[name], times[reference], shares[name], dropped, config) for name in calls}


def _timed(call: Callable[[], None], count: int, threads: int) -> tuple[NDArray[np.float64], float]:
    """Milliseconds of `count` calls, and the share of threads x wall that this process had."""
    walls = np.empty(count)
    cpu = time.process_time()
    start = previous = time.perf_counter()
    for index in range(count):
        call()
        now = time.perf_counter()
        walls[index] = now - previous
        previous = now
    share = (time.process_time() - cpu) / max(1e-9, (previous - start) * threads)
    return walls * 1e3, share


def _ratios(own: list[NDArray[np.float64]], reference: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.array([np.median(a) / np.median(b) for a, b in zip(own, reference, strict=True)])


def bootstrap_median(values: NDArray[np.float64], draws: int = 500, seed: int = 0) -> tuple[float, float]:
    """95% interval of the median."""
    rng = np.random.default_rng(seed)
    medians = np.median(rng.choice(values, (draws, len(values))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def _settled(times: dict[str, list[NDArray[np.float64]]], reference: str, width: float) -> bool:
    for name, own in times.items():
        if name != reference:
            ratios = _ratios(own, times[reference])
            low, high = bootstrap_median(ratios)
            if high - low > width * float(np.median(ratios)):
                return False
    return True


def _summary(
    own: list[NDArray[np.float64]],
    reference: list[NDArray[np.float64]],
    shares: list[float],
    dropped: int,
    config: MeasureConfig,
) -> Latency:
    everything = np.concatenate(own)
    medians = np.array([np.median(x) for x in own])
    ratios = _ratios(own, reference)
    low, high = bootstrap_median(medians)
    ratio_low, ratio_high = bootstrap_median(ratios)
    return Latency(
        median_ms=float(np.median(everything)),
        p90_ms=float(np.percentile(everything, 90)),
        low_ms=low,
        high_ms=high,
        ratio=float(np.median(ratios)),
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        calls=len(everything),
        rounds=len(own),
        dropped_rounds=dropped,
        cpu_over_wall=float(np.mean(shares)),
        threads=config.threads,
        settled=ratio_high - ratio_low <= config.width * float(np.median(ratios)),
    )
