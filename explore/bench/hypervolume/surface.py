"""A function of networks that is known at some of them: a Gaussian process, from which whole functions are drawn.

As the surrogates of architecture benchmarks are (NAS-Bench-301: Zela et al., "Surrogate NAS Benchmarks: Going Beyond
the Limited Search Spaces of Tabular NAS Benchmarks", ICLR 2022), but with what the known networks leave open drawn anew
for every replay (Matheron's rule; Wilson et al., "Pathwise Conditioning of Gaussian Processes", JMLR 2021).
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arch.search_space import Space
from arch.space import Arch
from explore.estimate.predictor import features

Values = NDArray[np.float64]
WAVES = 512  # random features that a drawn function is made of


@dataclass(frozen=True)
class Sizes:
    """Variances, in those of the known values: of a straight line's slopes, of the smooth rest, of a network's own part."""

    linear: float
    smooth: float
    length: float  # of the smooth rest, in standard deviations of a description
    own: float


@dataclass(frozen=True)
class Surface:
    """What is known of `values` (N,) at networks described by `table` (N, K); both with mean 0 and deviation 1.

    noise: variance of each known value around the network's own, in those of the values
    """

    space: Space
    middle: Values
    scale: Values
    table: Values
    mean: float
    deviation: float
    values: Values
    noise: Values
    sizes: Sizes

    def describe(self, archs: Sequence[Arch]) -> Values:
        """(N, K)"""
        return (_table(self.space, archs) - self.middle) / self.scale

    def predict(self, archs: Sequence[Arch]) -> tuple[Values, Values]:
        """Mean and standard deviation of each network's value, (N,)."""
        x = self.describe(archs)
        across, solved = _kernel(self.sizes, x, self.table), np.linalg.inv(self._known())
        mean = across @ solved @ self.values
        left = 1 + (x**2).sum(1)  # of the straight line
        variance = self.sizes.linear * left + self.sizes.smooth - np.einsum("ij,jk,ik->i", across, solved, across)
        return self.mean + self.deviation * mean, self.deviation * np.sqrt(np.maximum(variance, 0) + self.sizes.own)

    def draw(self, seed: int, what: str) -> Callable[[Arch], float]:
        """A function that the known values allow; the same for the same seed and name."""
        rng = np.random.default_rng([seed, *what.encode()])
        sizes, keys = self.sizes, self.table.shape[1]
        slopes = math.sqrt(sizes.linear) * rng.normal(size=keys + 1)
        waves, phases = rng.normal(size=(keys, WAVES)) / sizes.length, rng.uniform(0, 2 * math.pi, WAVES)
        heights = math.sqrt(2 * sizes.smooth / WAVES) * rng.normal(size=WAVES)

        def prior(x: Values) -> Values:
            return np.asarray(slopes[0] + x @ slopes[1:] + np.cos(x @ waves + phases) @ heights)

        seen = prior(self.table) + np.sqrt(sizes.own + self.noise) * rng.normal(size=len(self.values))
        weights = np.linalg.solve(self._known(), self.values - seen)

        def value(arch: Arch) -> float:
            x = self.describe([arch])
            own = math.sqrt(sizes.own) * random.Random(f"{seed} {what} {arch.id}").gauss(0, 1)
            found = float(prior(x)[0] + (_kernel(sizes, x, self.table) @ weights)[0]) + own
            return self.mean + self.deviation * found

        return value

    def _known(self) -> Values:
        """Covariance of the known values."""
        return _kernel(self.sizes, self.table, self.table) + np.diag(self.noise + self.sizes.own)


def fit_surface(space: Space, archs: Sequence[Arch], values: Values, noise: Values) -> Surface:
    """Sizes by likelihood; `noise` (N,) is the variance of each value around the network's own, which is not fitted."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    described = _table(space, archs)
    middle, spread = described.mean(0), described.std(0)
    scale = np.where(spread > 0, spread, 1.0)
    table = (described - middle) / scale
    mean, deviation = float(values.mean()), float(values.std())
    size = math.sqrt(max(1, int((spread > 0).sum())))
    kernel = (
        ConstantKernel(0.1, (1e-5, 10.0)) * DotProduct(1.0, "fixed")
        + ConstantKernel(0.3, (1e-3, 10.0)) * RBF(size, (size / 3, 30 * size))
        + WhiteKernel(0.05, (1e-4, 1.0))
    )
    model = GaussianProcessRegressor(kernel, alpha=noise / deviation**2 + 1e-9, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a size at its bound is an answer
        model.fit(table, (values - mean) / deviation)
    found = model.kernel_.get_params()
    sizes = Sizes(
        linear=float(found["k1__k1__k1__constant_value"]),
        smooth=float(found["k1__k2__k1__constant_value"]),
        length=float(found["k1__k2__k2__length_scale"]),
        own=float(found["k2__noise_level"]),
    )
    standard = (values - mean) / deviation
    return Surface(space, middle, scale, table, mean, deviation, standard, noise / deviation**2, sizes)


def _kernel(sizes: Sizes, one: Values, other: Values) -> Values:
    squares = ((one[:, None] - other[None]) ** 2).sum(2)
    smooth = sizes.smooth * np.exp(-0.5 * squares / sizes.length**2)
    return np.asarray(sizes.linear * (1 + one @ other.T) + smooth)


def _table(space: Space, archs: Sequence[Arch]) -> Values:
    """What the parts of each network cost and what the space chose for it, in doublings: (N, K).

    Wider than what the `predictor` estimator is given, so that it is not asked for a function of its own kind.
    """
    rows = []
    for arch in archs:
        chosen = space.parameters(arch)
        costs = [value for name, value in features(arch).items() if name.endswith(("MACs", "params"))]
        rows.append([*costs, *(math.log2(float(chosen[key])) for key in space.dimensions)])
    return np.array(rows)
