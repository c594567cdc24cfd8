"""Bootstrap intervals: coverage in simulations, agreement with SciPy, units and speed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from arch.errors import InputError
from explore.data.sample import Dataset
from explore.evaluation.intervals import (
    EXACT_UNITS,
    RESAMPLES,
    Units,
    bootstrap,
    independent_units,
    paired_bootstrap,
)  # fmt: skip
from tests.explore.data.test_split import dataset, numbered


def frames(count: int) -> Units:
    return Units("frame", np.arange(count))


@pytest.mark.parametrize("count", [40, EXACT_UNITS + 1, 5000])
def test_agrees_with_scipy(count: int) -> None:
    errors = np.random.default_rng(count).gamma(2, 30, count)
    found = bootstrap(errors, frames(count))
    expected = scipy_bootstrap(
        (errors,), np.mean, n_resamples=RESAMPLES, method="percentile", batch=100, rng=1
    ).confidence_interval
    width = expected.high - expected.low
    assert found.value == pytest.approx(errors.mean())
    assert abs(found.low - expected.low) < 0.08 * width and abs(found.high - expected.high) < 0.08 * width
    assert (found.unit, found.units) == ("frame", count)
    assert bootstrap(errors, frames(count)) == found != bootstrap(errors, frames(count), seed=1)


@pytest.mark.parametrize(("units", "per_unit"), [(6, 20), (30, 10), (EXACT_UNITS + 100, 1)])
def test_covers_the_true_mean_in_95_of_100_samples(units: int, per_unit: int) -> None:
    """Frames of a unit share a component, so that intervals over frames would be too narrow."""
    rng, trials, covered, narrow = np.random.default_rng(units), 300, 0, 0
    labels = np.repeat(np.arange(units), per_unit)
    for _ in range(trials):
        errors = 60 + 10 * rng.standard_normal(units)[labels] + 10 * rng.standard_normal(len(labels))
        found = bootstrap(errors, Units("clip", labels))
        covered += found.low <= 60 <= found.high
        if per_unit > 1:
            naive = bootstrap(errors, frames(len(labels)))
            narrow += naive.low <= 60 <= naive.high
    sampling_error = 3 * np.sqrt(0.05 * 0.95 / trials)  # 3.8 points
    assert abs(covered / trials - 0.95) < sampling_error
    assert narrow < 0.75 * trials


def test_units_of_several_sizes_count_by_their_samples() -> None:
    labels = np.repeat(np.arange(8), np.arange(1, 9))
    errors = np.arange(36.0)
    found = bootstrap(errors, Units("clip", labels))
    assert found.value == pytest.approx(17.5) and found.low < 17.5 < found.high


def test_pairing_finds_small_differences() -> None:
    rng = np.random.default_rng(0)
    hard = rng.gamma(2, 30, 500)  # how hard a frame is for both models
    one, other = hard + rng.normal(0, 2, 500), hard + 1 + rng.normal(0, 2, 500)
    alone = bootstrap(one, frames(500)), bootstrap(other, frames(500))
    assert alone[0].high > alone[1].low  # intervals overlap
    difference = paired_bootstrap(one, other, frames(500))
    assert difference.high < 0 and difference.value == pytest.approx(one.mean() - other.mean())
    assert difference.excludes_zero and not paired_bootstrap(one, one, frames(500)).excludes_zero
    with pytest.raises(InputError, match="cannot be paired"):
        paired_bootstrap(one[1:], other, frames(500))


def test_predictions_that_are_not_finite_have_no_interval() -> None:
    found = bootstrap(np.array([1.0, np.nan, 2.0]), frames(3))
    assert np.isnan([found.value, found.low, found.high]).all()
    left_out = Units("frame", np.array([0, -1, 1]))
    assert bootstrap(np.array([1.0, np.nan, 2.0]), left_out).value == 1.5
    single = bootstrap(np.ones(3), Units("clip", np.zeros(3, int)))
    assert (single.low, single.high) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("data", "kind", "count"),
    [
        (dataset("custom", numbered(24), np.repeat(np.arange(1, 9), 3)), "subject", 8),
        (dataset("human36m", numbered(30), np.repeat([9, 11], 15), [f"a{n % 5}" for n in range(30)]), "clip", 10),
        (dataset("mupots", numbered(60, "TS/{}.jpg"), 0, [f"TS{n % 20}" for n in range(60)]), "clip", 20),
        (dataset("custom", numbered(30), 1, "Walking"), "frame", 30),
        (dataset("custom", [f"{n // 2}.jpg" for n in range(30)]), "frame", 15),
        (
            dataset("synthetic-easy", numbered(40), np.repeat([9, 11], 20), [f"a{n % 8}" for n in range(40)]),
            "frame",
            40,
        ),
    ],
)
def test_the_largest_independent_unit_is_resampled(data: Dataset, kind: str, count: int) -> None:
    units = independent_units(data)
    assert (units.kind, units.count) == (kind, count)


def test_takes_less_than_50_ms() -> None:
    errors, units = np.random.default_rng(0).gamma(2, 30, 5000), frames(5000)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        bootstrap(errors, units)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.05
