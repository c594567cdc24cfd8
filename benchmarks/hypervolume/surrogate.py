"""Gaussian process over networks, with samples of whole functions from its posterior.

A surrogate benchmark as in NAS-Bench-301 (Zela et al., "Surrogate NAS Benchmarks: Going Beyond the Limited Search
Spaces of Tabular NAS Benchmarks", ICLR 2022). Each simulation uses a new posterior sample (Matheron's rule; Wilson et
al., "Pathwise Conditioning of Gaussian Processes", JMLR 2021).
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
FEATURES = 512  # random Fourier features of a sample


@dataclass(frozen=True)
class Hyperparameters:
    """Variances of the linear kernel, the RBF kernel and the white noise kernel, for standardised values."""

    linear: float
    smooth: float
    length: float  # length scale of the RBF kernel, in standard deviations of the features
    own: float


@dataclass(frozen=True)
class Surrogate:
    """A Gaussian process fitted to standardised `values` (N,) at networks with standardised features `table` (N, K).

    noise: variance of each value (N,)
    """

    space: Space
    middle: Values
    scale: Values
    table: Values
    mean: float
    deviation: float
    values: Values
    noise: Values
    sizes: Hyperparameters

    def describe(self, archs: Sequence[Arch]) -> Values:
        """Return the standardised features (N, K)."""
        return (_table(self.space, archs) - self.middle) / self.scale

    def predict(self, archs: Sequence[Arch]) -> tuple[Values, Values]:
        """Return the posterior mean and standard deviation of each network's value (N,)."""
        x = self.describe(archs)
        across, solved = _kernel(self.sizes, x, self.table), np.linalg.inv(self._known())
        mean = across @ solved @ self.values
        linear = 1 + (x**2).sum(1)
        variance = self.sizes.linear * linear + self.sizes.smooth - np.einsum("ij,jk,ik->i", across, solved, across)
        return self.mean + self.deviation * mean, self.deviation * np.sqrt(np.maximum(variance, 0) + self.sizes.own)

    def sample(self, seed: int, name: str) -> Callable[[Arch], float]:
        """Return a function sampled from the posterior, deterministic in `seed` and `name`."""
        rng = np.random.default_rng([seed, *name.encode()])
        sizes, keys = self.sizes, self.table.shape[1]
        slopes = math.sqrt(sizes.linear) * rng.normal(size=keys + 1)
        frequencies, phases = rng.normal(size=(keys, FEATURES)) / sizes.length, rng.uniform(0, 2 * math.pi, FEATURES)
        amplitudes = math.sqrt(2 * sizes.smooth / FEATURES) * rng.normal(size=FEATURES)

        def prior(x: Values) -> Values:
            return np.asarray(slopes[0] + x @ slopes[1:] + np.cos(x @ frequencies + phases) @ amplitudes)

        drawn = prior(self.table) + np.sqrt(sizes.own + self.noise) * rng.normal(size=len(self.values))
        weights = np.linalg.solve(self._known(), self.values - drawn)

        def value(arch: Arch) -> float:
            x = self.describe([arch])
            own = math.sqrt(sizes.own) * random.Random(f"{seed} {name} {arch.id}").gauss(0, 1)
            found = float(prior(x)[0] + (_kernel(sizes, x, self.table) @ weights)[0]) + own
            return self.mean + self.deviation * found

        return value

    def _known(self) -> Values:
        """Return the covariance of the values."""
        return _kernel(self.sizes, self.table, self.table) + np.diag(self.noise + self.sizes.own)


def fit_surrogate(space: Space, archs: Sequence[Arch], values: Values, noise: Values) -> Surrogate:
    """Hyperparameters by likelihood. noise: (N,), variance of each value around the network's own; not fitted."""
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
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hyperparameter at its bound is valid
        model.fit(table, (values - mean) / deviation)
    found = model.kernel_.get_params()
    sizes = Hyperparameters(
        linear=float(found["k1__k1__k1__constant_value"]),
        smooth=float(found["k1__k2__k1__constant_value"]),
        length=float(found["k1__k2__k2__length_scale"]),
        own=float(found["k2__noise_level"]),
    )
    standard = (values - mean) / deviation
    return Surrogate(space, middle, scale, table, mean, deviation, standard, noise / deviation**2, sizes)


def _kernel(sizes: Hyperparameters, one: Values, other: Values) -> Values:
    squares = ((one[:, None] - other[None]) ** 2).sum(2)
    smooth = sizes.smooth * np.exp(-0.5 * squares / sizes.length**2)
    return np.asarray(sizes.linear * (1 + one @ other.T) + smooth)


def _table(space: Space, archs: Sequence[Arch]) -> Values:
    """Return log2 of the costs of each network's parts and of its parameters in the space (N, K).

    More features than those of the estimator `predictor`, so that the surrogate is not of its own model class.
    """
    rows = []
    for arch in archs:
        chosen = space.parameters(arch)
        costs = [value for name, value in features(arch).items() if name.endswith(("MACs", "params"))]
        rows.append([*costs, *(math.log2(float(chosen[key])) for key in space.dimensions)])
    return np.array(rows)
