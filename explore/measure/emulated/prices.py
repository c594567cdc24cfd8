"""Instructions of a network's inference from its description alone, fitted to networks that were counted.

Each sum over operators (`explore.measure.features`) has a non-negative price in instructions. The fit is least squares
of the relative error with a Gaussian prior around `PRIOR`, so that a few counts correct the level and many each price.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from arch.space import Arch
from explore.measure.features import features

# Instructions per unit of a feature, by the end of its name: of LiteRT INT8 files on Cortex-A76, roughly.
PRIOR = {"macs": 0.1, "weights": 0.05, "elements": 0.3, "calls": 3000.0}
DEPTHWISE = 0.6  # instructions per multiply-accumulate of a depthwise convolution
SHRINKAGE = 0.01  # variance of the relative error (5%) over that of a price relative to its prior (50%)


def fit_instructions(archs: Sequence[Arch], counts: Sequence[float]) -> Callable[[Arch], float]:
    """Return a function from a network to the number of instructions that is expected; without counts, a rough one."""
    from scipy.optimize import nnls

    if not archs:
        return lambda arch: sum(value * _prior(name) for name, value in features(arch).items())
    found, measured = [features(arch) for arch in archs], np.array(counts, float)
    names = sorted({name for one in found for name in one})
    prior = np.array([_prior(name) for name in names])
    expected = np.array([[one.get(name, 0.0) for name in names] for one in found]) * prior
    level = float(np.median(measured / expected.sum(1)))
    shares = level * expected / measured[:, None]  # of each feature in the count; a price of 1 is the prior's
    pull = np.sqrt(SHRINKAGE) * np.eye(len(names))
    rows = np.concatenate([shares, pull])
    relative, _ = nnls(rows, np.concatenate([np.ones(len(archs)), pull.sum(1)]))
    prices = {name: float(price) for name, price in zip(names, level * prior * relative, strict=True)}

    def predict(arch: Arch) -> float:
        return sum(value * prices.get(name, level * _prior(name)) for name, value in features(arch).items())

    return predict


def _prior(name: str) -> float:
    kind, _, unit = name.rpartition(": ")
    return DEPTHWISE if unit == "macs" and kind.startswith("depthwise") else PRIOR[unit]
