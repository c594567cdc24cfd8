"""Intervals over rounds: coverage in a simulation of the protocol, and a number of rounds that only the pilot determines."""

from __future__ import annotations

import math

import numpy as np
import pytest

from explore.measure.probe import protocol
from explore.measure.probe.protocol import (
    Block,
    ProtocolSettings,
    TimedCall,
    converged,
    median_interval,
    needed_rounds,
    summarise,
    time_rounds,
)

ROUNDS, MAX_ROUNDS, CI_WIDTH, RATIO, CALLS = 12, 40, 0.03, 3.0, 3


def residuals(rng: np.random.Generator, count: int, correlation: float, spread: float) -> np.ndarray:
    """Return factors with median 1, (count,): an autoregressive process with a longer tail of slow rounds."""
    values = np.empty(count)
    value = rng.normal()
    for index in range(count):
        values[index] = value
        value = correlation * value + math.sqrt(1 - correlation**2) * rng.normal()
    return np.exp(spread * np.where(values > 0, values + 0.6 * values**2, 0.7 * values))


def simulated(
    rng: np.random.Generator, count: int, correlation: float, spread: float
) -> tuple[list[Block], list[Block]]:
    """Return the rounds of a model and of its reference, which share the drift of the machine's speed."""
    drift = residuals(rng, count, 0.9, 0.03)
    own = RATIO * drift * residuals(rng, count, correlation, spread)
    calls = np.exp(0.01 * rng.exponential(size=(2, count, CALLS)))
    return (
        [Block(ms * jitter, 1.0, None) for ms, jitter in zip(own, calls[0], strict=True)],
        [Block(ms * jitter, 1.0, None) for ms, jitter in zip(drift, calls[1], strict=True)],
    )


def coverage(correlation: float, spread: float, repeats: int) -> tuple[float, float]:
    """Return how often the reported interval contains the true ratio, and the mean number of rounds."""
    rng = np.random.default_rng(0)
    covered, rounds = 0, 0
    for _ in range(repeats):
        own, reference = simulated(rng, MAX_ROUNDS, correlation, spread)
        count = min(MAX_ROUNDS, needed_rounds([own], reference, ROUNDS, CI_WIDTH))
        row = summarise(own[:count], reference[:count], 0, CI_WIDTH)
        covered += row["ratio_low"] <= RATIO <= row["ratio_high"]
        rounds += count
    return covered / repeats, rounds / repeats


@pytest.mark.parametrize(
    ("correlation", "spread"),
    [(0.0, 0.003), (0.2, 0.012), (0.0, 0.025)],  # quiet: hardly any further round; noisy: up to the limit of time
)
def test_interval_covers_the_ratio_at_its_nominal_level(correlation: float, spread: float) -> None:
    repeats = 400
    error = math.sqrt(0.95 * 0.05 / repeats)
    found, rounds = coverage(correlation, spread, repeats)
    assert abs(found - 0.95) <= 3 * error
    assert (rounds < 1.25 * ROUNDS) == (spread == 0.003)


def test_strong_autocorrelation_is_mostly_covered() -> None:
    assert coverage(0.4, 0.012, 200)[0] > 0.87


def test_calls_of_a_round_are_not_counted_as_independent() -> None:
    rng = np.random.default_rng(0)
    own, reference = simulated(rng, ROUNDS, 0.0, 0.01)
    repeated = [[Block(np.repeat(block.ms, 100), 1.0, None) for block in blocks] for blocks in (own, reference)]
    few, many = summarise(own, reference, 0, CI_WIDTH), summarise(*repeated, 0, CI_WIDTH)
    keys = ("median_ms", "low_ms", "high_ms", "ratio", "ratio_low", "ratio_high")
    assert [few[key] for key in keys] == pytest.approx([many[key] for key in keys])
    assert few["low_ms"] <= few["median_ms"] <= few["high_ms"]


def test_only_the_pilot_determines_the_number_of_rounds() -> None:
    rng = np.random.default_rng(0)
    own, reference = simulated(rng, MAX_ROUNDS, 0.0, 0.03)
    planned = needed_rounds([own], reference, ROUNDS, CI_WIDTH)
    assert planned > ROUNDS
    assert needed_rounds([own[:ROUNDS]], reference[:ROUNDS], ROUNDS, CI_WIDTH) == planned
    assert needed_rounds([own[:5]], reference[:5], ROUNDS, CI_WIDTH) == ROUNDS


@pytest.mark.parametrize("spread", [0.001, 0.02])
def test_protocol_measures_the_planned_rounds(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    own, reference = simulated(rng, 300, 0.0, spread)
    blocks = {"own": iter(own), "reference": iter(reference)}
    monkeypatch.setattr(protocol, "_time_block", lambda entry, calls: next(blocks[entry.call()]))
    timed = {name: TimedCall(lambda name=name: name, CALLS) for name in blocks}  # type: ignore[misc]
    settings = ProtocolSettings(ROUNDS, CALLS, 0.05, 60.0, max_background_load=math.inf)
    kept, dropped = time_rounds(timed, "reference", settings)
    planned = needed_rounds([own, reference], reference, ROUNDS, 0.05)
    assert len(kept["own"]) == len(kept["reference"]) == planned and dropped == 0
    monkeypatch.undo()
    assert converged([kept["own"]], kept["own"], 1.0)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 12, 60])
def test_interval_is_positive_and_contains_the_median(count: int) -> None:
    values = np.random.default_rng(count).lognormal(0, 1, count)
    low, high = median_interval(values)
    assert 0 < low <= np.median(values) * (1 + 1e-12) and high >= np.median(values) * (1 - 1e-12)
    assert median_interval(np.full(count, 2.0)) == pytest.approx((2.0, 2.0))
    assert median_interval(3 * values) == pytest.approx((3 * low, 3 * high))
