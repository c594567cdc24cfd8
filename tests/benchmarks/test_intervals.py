"""Coverage and width of the intervals of benchmarks."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import Claim
from benchmarks.intervals import mean_interval, proportion_interval


def test_coverage_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    found = [mean_interval(rng.normal(3.0, 1.0, 60)) for _ in range(200)]
    assert 0.89 <= np.mean([low <= 3.0 <= high for low, high in found]) <= 0.99
    few, many = mean_interval(rng.normal(0, 1, 20)), mean_interval(rng.normal(0, 1, 2000))
    assert many[1] - many[0] < 0.3 * (few[1] - few[0])


def test_wilson_interval() -> None:
    assert proportion_interval(40, 40) == (pytest.approx(0.9124, abs=1e-3), 1.0)
    assert proportion_interval(20, 40) == (pytest.approx(0.352, abs=1e-3), pytest.approx(0.648, abs=1e-3))


def test_interval_of_a_claim() -> None:
    plain = Claim(name="x", target="2", measured="1", passed=False)
    assert plain.interval == ""
    assert plain.model_copy(update={"low": 0.91236, "high": 1.0}).interval == "0.912 to 1 (95%)"
