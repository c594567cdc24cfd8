"""The latency protocol: interleaved rounds, discarded where other processes disturb them, with 95% intervals.

A machine's speed drifts by several percent within minutes. Every round times all models in random order, so that they
share this drift: ratios to a reference model are steadier than absolute times.

The calls within a round are not independent, so the round is the unit of every interval: each model has one median per
round. The first rounds are a pilot, and only they determine how many rounds follow (see `needed_rounds`). Stopping as
soon as the reported interval is narrow would select intervals that are narrow by chance.
"""

from __future__ import annotations

import glob
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arch.errors import InputError, WorkError
from explore.measure.probe.machine import read_text

MIN_CPU_SHARE = 0.95
CONFIDENCE = 0.95
STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5% quantile for a mean of so many values
MAX_AUTOCORRELATION = 0.7
PLAN_FACTOR = 0.8  # of the requested width that further rounds aim at; the final width varies by chance
BACKGROUND_LOAD = "EDGEPOSE_BACKGROUND_LOAD"  # environment variable with a fraction of all cores
OLD_BACKGROUND_LOAD = "EDGEPOSE_NEIGHBOURS"  # its name in version 0.1
QUIET = 0.25  # the fraction of all cores that is accepted without it
ANY = 1.0  # the fraction from which on every disturbance is accepted
ACCEPT = f"stop them and measure again, or set {BACKGROUND_LOAD}=1 to accept and mark such figures"


class Disturbed(WorkError):
    """Other processes disturbed too many rounds, or used too much of the machine: there is no result."""


def allowed_background_load() -> float:
    """Return the fraction of all cores that other processes may use during a measurement.

    They share caches, memory bandwidth and clock frequency with it. From 1 on, no round is discarded.

    Raises:
        InputError: the environment variable is not a number.
    """
    for name in (BACKGROUND_LOAD, OLD_BACKGROUND_LOAD):
        if text := os.environ.get(name):
            try:
                load = float(text)
            except ValueError:
                load = math.nan
            if not load >= 0:
                raise InputError(f"{name}: '{text[:40]}' is not a fraction of all cores; set 0.25, or 1 for any load")
            return load
    return QUIET


@dataclass(frozen=True)
class ProtocolSettings:
    """Settings of a measurement.

    Attributes:
        rounds: least number of rounds; these are the pilot.
        calls: timed calls of a model in a round.
        ci_width: requested width of the 95% interval of every ratio, relative to the ratio.
        max_seconds: time after which no further round starts.
        min_cpu_share: CPU time / (threads x wall time) below which a round counts as disturbed.
        max_background_load: fraction of all cores that other processes may use; from 1 on, no round is dropped.
    """

    rounds: int = 12
    calls: int = 30
    ci_width: float = 0.03
    max_seconds: float = 6.0
    min_cpu_share: float = MIN_CPU_SHARE
    max_background_load: float = field(default_factory=allowed_background_load)


@dataclass(frozen=True)
class TimedCall:
    """A function to time, the number of calls in a round and the threads that it keeps busy.

    Only `decisive` functions determine the number of rounds.
    """

    call: Callable[[], Any]
    calls: int
    threads: int = 1
    decisive: bool = True


@dataclass(frozen=True)
class Block:
    """The calls of one function in one round: ms of each, and shares of threads x wall time (see `summarise`)."""

    ms: np.ndarray
    cpu_over_wall: float
    waiting: float | None

    def disturbed(self, threads: int, min_cpu_share: float) -> bool:
        """Return whether other processes took CPU time from this block.

        A single thread is always running unless it waits for a CPU. Several threads also wait for each other, so for
        them only the time counts that they were runnable without a CPU.
        """
        if threads > 1 and self.waiting is not None:
            return self.waiting > 1 - min_cpu_share
        return self.cpu_over_wall < min_cpu_share


def time_rounds(
    timed: dict[str, TimedCall],
    reference: str,
    settings: ProtocolSettings,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> tuple[dict[str, list[Block]], int]:
    """Time functions in interleaved rounds: as many as the pilot determines (`needed_rounds`), or until the time is up.

    Returns:
        The blocks of the undisturbed rounds by name, and the number of dropped rounds.

    Raises:
        Disturbed: more than half of the rounds were disturbed, or other processes used too much of the machine.
    """
    counts = _calls_per_round(timed, settings)
    kept: dict[str, list[Block]] = {name: [] for name in timed}
    decisive = [name for name, entry in timed.items() if entry.decisive]
    names, order = list(timed), np.random.default_rng(0)
    count = dropped = 0
    started, background = time.monotonic(), background_cpu_s()
    while True:
        order.shuffle(names)
        blocks = {name: _time_block(timed[name], counts[name]) for name in names}
        disturbed = any(block.disturbed(timed[name].threads, settings.min_cpu_share) for name, block in blocks.items())
        if disturbed and settings.max_background_load < ANY:
            dropped += 1
        else:
            count += 1
            for name, block in blocks.items():
                kept[name].append(block)
        spent = time.monotonic() - started
        share = min(1.0, max(spent / settings.max_seconds, 0.5 * count / settings.rounds))
        progress(share, f"{count} rounds, {dropped} dropped")
        if count >= needed_rounds([kept[n] for n in decisive], kept[reference], settings.rounds, settings.ci_width):
            break
        if time_is_up(spent, count, dropped, settings.rounds, settings.max_seconds):
            break
    if count < max(least_rounds(settings.rounds), dropped):
        raise Disturbed(f"other processes disturbed {dropped} of {count + dropped} rounds; {ACCEPT}")
    after = background_cpu_s()
    if background is not None and after is not None:
        load = (after - background) / (time.monotonic() - started) / (os.cpu_count() or 1)
        if load > settings.max_background_load and settings.max_background_load < ANY:
            raise Disturbed(
                f"other processes used {load:.0%} of the machine's cores, and share caches, memory and clock with the "
                f"models; {ACCEPT}"
            )
    return kept, dropped


def least_rounds(pilot: int) -> int:
    """Return the number of rounds below which there is no result."""
    return max(3, pilot // 2)


def time_is_up(spent_s: float, count: int, dropped: int, pilot: int, max_seconds: float) -> bool:
    """Return whether no further round starts: after `max_seconds` and the pilot; after twice the time, half of it."""
    enough = count >= pilot or (spent_s > 2 * max_seconds and count + dropped >= least_rounds(pilot))
    return spent_s > max_seconds and enough


def _calls_per_round(timed: dict[str, TimedCall], settings: ProtocolSettings) -> dict[str, int]:
    """Warm up, and reduce the calls in a round where the least number of rounds would exceed the time."""
    seconds = {}
    for name, entry in timed.items():
        for _ in range(3):
            began = time.perf_counter()
            entry.call()
            seconds[name] = time.perf_counter() - began
    needed = settings.rounds * sum(entry.calls * seconds[name] for name, entry in timed.items())
    share = min(1.0, settings.max_seconds / max(1e-9, needed))
    return {name: max(min(3, entry.calls), int(entry.calls * share)) for name, entry in timed.items()}


def _time_block(entry: TimedCall, calls: int) -> Block:
    entry.call()
    seconds = np.empty(calls)
    waited = run_delay_s()
    cpu = time.process_time()
    start = previous = time.perf_counter()
    for index in range(calls):
        entry.call()
        now = time.perf_counter()
        seconds[index] = now - previous
        previous = now
    wall = max(1e-9, (previous - start) * entry.threads)
    cpu_over_wall = (time.process_time() - cpu) / wall
    after = run_delay_s()
    return Block(seconds * 1e3, cpu_over_wall, None if waited is None or after is None else (after - waited) / wall)


def run_delay_s() -> float | None:
    """Return how long this process's threads waited for a CPU, s; None where the kernel does not report it."""
    total, found = 0, False
    for path in glob.glob("/proc/self/task/*/schedstat"):
        try:
            total += int(read_text(path).split()[1])
        except (IndexError, ValueError):  # the thread has ended
            continue
        found = True
    return total * 1e-9 if found else None


def background_cpu_s() -> float | None:
    """Return the CPU time of all other processes so far, s; None where the kernel does not report it."""
    fields = read_text("/proc/stat").split("\n", 1)[0].split()
    if len(fields) < 8:
        return None
    user, nice, system, _, _, interrupts, soft = (int(field) for field in fields[1:8])
    used = (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return used - own.user - own.system


def round_medians(own: list[Block]) -> np.ndarray:
    """Return the median of each round, ms."""
    return np.array([np.median(block.ms) for block in own])


def round_ratios(own: list[Block], reference: list[Block]) -> np.ndarray:
    """Return the ratio of the medians of each round."""
    return round_medians(own) / round_medians(reference)


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the median of positive values in the order of measurement, one value per round.

    Its bounds are order statistics, interpolated (Hettmansperger and Sheather, 1986), or Student's interval of the mean
    logarithm for fewer than six values. Positive autocorrelation of consecutive values widens the interval.
    """
    count, middle = len(values), math.log(float(np.median(values)))
    if count == 1:
        return float(values[0]), float(values[0])
    ordered = np.sort(np.log(values))
    if count in STUDENT_T:
        half = STUDENT_T[count] * float(ordered.std(ddof=1)) / math.sqrt(count)
        low, high = middle - half, middle + half
    else:
        low, high = _order_statistics(ordered)
    correlation = _autocorrelation(values)
    widened = math.sqrt((1 + correlation) / (1 - correlation))
    return math.exp(middle - (middle - low) * widened), math.exp(middle + (high - middle) * widened)


def _order_statistics(ordered: np.ndarray) -> tuple[float, float]:
    """Return the interpolated order statistics that contain the median with probability CONFIDENCE."""
    count = len(ordered)

    def confidence(rank: int) -> float:
        return 1 - 2 * sum(math.comb(count, index) for index in range(rank)) / 2**count

    rank = max(index for index in range(1, count // 2 + 1) if confidence(index) >= CONFIDENCE)
    outer, inner = confidence(rank), confidence(rank + 1)
    part = (outer - CONFIDENCE) / (outer - inner)
    weight = (count - rank) * part / (rank + (count - 2 * rank) * part)
    low = (1 - weight) * ordered[rank - 1] + weight * ordered[rank]
    high = (1 - weight) * ordered[count - rank] + weight * ordered[count - rank - 1]
    return float(low), float(high)


def _autocorrelation(values: np.ndarray) -> float:
    """Return the lag-1 rank autocorrelation, from 0 to MAX_AUTOCORRELATION.

    The estimate from few values is too low by about (1 + 3 r) / n; (3 + 3 r) / n is added, so that the interval holds
    its level where the correlation is weak. Fewer than six values are too few for an estimate.
    """
    count = len(values)
    if count < 6 or np.ptp(values) == 0:
        return 0.0
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable") - (count - 1) / 2
    found = float((ranks[1:] * ranks[:-1]).sum() / (ranks**2).sum())
    return min(max(found + (3 + 3 * found) / count, 0.0), MAX_AUTOCORRELATION)


def _width(own: list[Block], reference: list[Block]) -> float:
    """Return the width of the interval of a ratio, or of the reference's median, relative to the value."""
    values = round_medians(own) if own is reference else round_ratios(own, reference)
    low, high = median_interval(values)
    return (high - low) / float(np.median(values))


def needed_rounds(everything: list[list[Block]], reference: list[Block], pilot: int, ci_width: float) -> int:
    """Return the number of rounds to measure, at least `pilot`; only the first `pilot` rounds determine it.

    Where the pilot's widest interval exceeds `ci_width`, the width is expected to fall with the square root of the
    number of rounds.
    """
    if len(reference) < pilot:
        return pilot
    first = reference[:pilot]
    width = max(_width(first if own is reference else own[:pilot], first) for own in everything)
    return pilot if width <= ci_width else math.ceil(pilot * (width / (PLAN_FACTOR * ci_width)) ** 2)


def converged(everything: list[list[Block]], reference: list[Block], ci_width: float) -> bool:
    """Return whether the interval of every ratio, and of the reference's median, is at most `ci_width` wide."""
    return all(_width(own, reference) <= ci_width for own in everything)


def summarise(own: list[Block], reference: list[Block], dropped: int, ci_width: float) -> dict[str, Any]:
    """Return the statistics of one function's blocks (see `explore.measure.latency.Latency`)."""
    everything = np.concatenate([block.ms for block in own])
    medians, ratios = round_medians(own), round_ratios(own, reference)
    low, high = median_interval(medians)
    ratio_low, ratio_high = median_interval(ratios)
    waiting = [block.waiting for block in own if block.waiting is not None]
    return {
        "median_ms": float(np.median(medians)),
        "p90_ms": float(np.percentile(everything, 90)),
        "low_ms": low,
        "high_ms": high,
        "ratio": float(np.median(ratios)),
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
        "calls": len(everything),
        "rounds": len(own),
        "dropped_rounds": dropped,
        "cpu_over_wall": float(np.mean([block.cpu_over_wall for block in own])),
        "waiting": float(np.mean(waiting)) if waiting else None,
        "converged": converged([own], reference, ci_width),
    }
