"""The benchmark of estimators: rank correlation, regret, and the recorded reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from benchmarks.estimators import estimates, ranking, reference
from tests.helpers import ROOT


def test_tau_is_that_of_scipy_and_bins_count_only_pairs_within_them() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 20).astype(float), rng.integers(0, 9, 20).astype(float)
    assert ranking.tau(a, b) == pytest.approx(kendalltau(a, b).statistic)
    bins = [0] * 3 + [1] * 3
    order = np.array([1.0, 2, 3, 7, 8, 9])
    shuffled = np.array([7.0, 8, 9, 3, 2, 1])
    assert ranking.tau(order, shuffled, bins) == 0.0
    assert ranking.tau(order, order[::-1].copy(), bins) == -1.0
    assert ranking.regret(shuffled, order, bins) == pytest.approx(1.0)
    assert ranking.seed_deviation(np.array([1.0, 3.0]), np.array([3.0, 1.0])) == pytest.approx(math.sqrt(2))
    assert ranking.ceiling(order, 0.0) == 1.0 and ranking.ceiling(order, 5.0) < 0.8


def test_the_recorded_reference_has_the_networks_of_the_code() -> None:
    """Rows of other networks could not be compared with a new estimator's."""
    recorded = reference.read_rows(ROOT / reference.ROWS)
    ids = {arch.id for arch in reference.networks()}
    assert len(ids) == 24 and recorded and {row["arch_id"] for row in recorded} <= ids
    rows = reference.read_rows(ROOT / estimates.ROWS)
    assert {row["arch_id"] for row in rows} <= ids
