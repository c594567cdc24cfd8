"""Intervals of benches: they hold what they should as often as they say, and narrow with what is known."""

from __future__ import annotations

import numpy as np
import pytest

from explore.bench import Claim
from explore.bench.intervals import of_mean, of_share


def test_the_mean_lies_within_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    found = [of_mean(rng.normal(3.0, 1.0, 60)) for _ in range(200)]
    assert 0.89 <= np.mean([low <= 3.0 <= high for low, high in found]) <= 0.99
    few, many = of_mean(rng.normal(0, 1, 20)), of_mean(rng.normal(0, 1, 2000))
    assert many[1] - many[0] < 0.3 * (few[1] - few[0])


def test_a_share_of_all_is_not_certain() -> None:
    assert of_share(40, 40) == (pytest.approx(0.9124, abs=1e-3), 1.0)
    assert of_share(20, 40) == (pytest.approx(0.352, abs=1e-3), pytest.approx(0.648, abs=1e-3))


def test_a_claim_says_its_interval_or_nothing() -> None:
    plain = Claim(name="x", asked="2", measured="1", holds=False)
    assert plain.interval == ""
    assert plain.model_copy(update={"low": 0.91236, "high": 1.0}).interval == "0.912 to 1 (95%)"
