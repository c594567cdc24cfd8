"""Prediction of instruction counts from the description of a network."""

from __future__ import annotations

import random

import numpy as np
import pytest

from arch.search_space import Space
from explore.measure.emulated.prices import PRIOR, fit_instructions
from explore.measure.features import features

SPACE = Space.named("mobile").at(64)
TRUE = {"macs": 0.06, "weights": 0.02, "elements": 0.5, "calls": 9000.0}


def count(arch: object) -> float:
    sums = features(arch)  # type: ignore[arg-type]
    return sum(
        value * TRUE[name.rpartition(": ")[2]] for name, value in sums.items() if name.rpartition(": ")[2] in TRUE
    )


def test_every_feature_has_a_prior() -> None:
    rng = random.Random(1)
    units = {name.rpartition(": ")[2] for _ in range(30) for name in features(SPACE.sample(rng))}
    assert units == set(PRIOR)


@pytest.mark.parametrize(("counted", "worst"), [(1, 0.8), (5, 0.35), (40, 0.1)])
def test_error_falls_with_the_number_of_counts(counted: int, worst: float) -> None:
    rng = random.Random(0)
    archs = [SPACE.sample(rng) for _ in range(counted)]
    unseen = [SPACE.sample(rng) for _ in range(20)]
    predict = fit_instructions(archs, [count(arch) for arch in archs])
    errors = [abs(predict(arch) / count(arch) - 1) for arch in unseen]
    assert np.median(errors) < worst
    assert fit_instructions(archs, [count(arch) for arch in archs])(unseen[0]) == predict(unseen[0])


def test_without_counts_larger_networks_need_more() -> None:
    from arch.space import preset

    predict = fit_instructions([], [])
    assert (
        0
        < predict(preset("paper-XS-relu@64"))
        < predict(preset("paper-S-relu@64"))
        < predict(preset("paper-L-relu@64"))
    )
