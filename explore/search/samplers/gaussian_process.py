"""A Gaussian process with a Matern 5/2 kernel and a linear term, fitted by maximum a posteriori."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

Array = NDArray[np.float64]

START = (0.0, 0.0, -1.0, -3.0)  # logarithms of amplitude, length scale, linear variance and noise variance
BOUNDS = ((-4.0, 4.0), (-2.0, 3.0), (-6.0, 3.0), (-8.0, 0.0))
PRIOR = (0.05, 0.05, 0.02, 0.05)  # halves of the precisions of the normal priors around START
RELEVANCE_BOUNDS, RELEVANCE_PRIOR = (-4.0, 3.0), 1.0  # of the logarithm of each parameter's relevance, around 0
JITTER = 1e-5
STEPS = 15  # of the optimizer


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process; targets are standardised inside.

    x: features (N, D), of which the columns `linear` have a linear term
    hyper: see START
    scale: factor of each feature in distances, (D,)
    noise: variance of each standardised target, (N,)
    """

    x: Array
    linear: slice
    hyper: Array
    scale: Array
    noise: Array
    mean: float
    std: float
    factor: tuple[Array, bool]
    weights: Array

    @staticmethod
    def fit(
        x: Array, y: Array, linear: slice, noise_std: float | None, extra_std: Array, owners: NDArray[np.int64]
    ) -> GaussianProcess:
        """Fit the hyperparameters to targets (N,). Each parameter has a relevance (automatic relevance determination).

        noise_std: standard deviation of all targets; None: fitted
        extra_std: further standard deviation of each target, (N,)
        owners: the parameter that each feature belongs to, from 0 on, (D,)
        """
        size, mean, std = len(x), float(y.mean()), float(y.std()) or 1.0
        z, extra = (y - mean) / std, (extra_std / std) ** 2
        fits_noise = noise_std is None
        given = 0.0 if noise_std is None else (noise_std / std) ** 2
        parameters = int(owners.max()) + 1
        squares = np.array([_squares(x[:, owners == one], x[:, owners == one]).ravel() for one in range(parameters)])
        squares *= 5 / parameters
        dot = x[:, linear] @ x[:, linear].T
        start = np.append(START, np.zeros(parameters))
        prior = np.append(PRIOR, np.full(parameters, RELEVANCE_PRIOR))
        bounds = [*BOUNDS[:3], BOUNDS[3] if fits_noise else (START[3],) * 2, *[RELEVANCE_BOUNDS] * parameters]
        diagonal = np.diag_indices(size)

        def noise_of(hyper: Array) -> Array:
            return extra + JITTER + (math.exp(hyper[3]) if fits_noise else given)

        def loss(hyper: Array) -> tuple[float, Array]:
            """Return the negative log posterior and its gradient (Rasmussen and Williams 2006, equation 5.9)."""
            relevance = np.exp(hyper[4:] - 2 * hyper[1])
            scaled = np.sqrt(relevance @ squares).reshape(size, size)
            decay = math.exp(hyper[0]) * np.exp(-scaled)
            matern, linear_term = (1 + scaled + scaled * scaled / 3) * decay, math.exp(hyper[2]) * dot
            covariance = matern + linear_term
            covariance[diagonal] += noise_of(hyper)
            factor, failure = dpotrf(covariance, lower=1)
            if failure:
                return 1e9, np.zeros(len(hyper))
            weights = cho_solve((factor, True), z, check_finite=False)
            inverse = dpotri(factor, lower=1)[0]  # its upper triangle is zero
            inverse = inverse + inverse.T
            inverse[diagonal] /= 2
            inner = inverse - np.outer(weights, weights)
            by_relevance = -relevance * (squares @ (inner * (1 + scaled) * decay).ravel()) / 12
            gradient = [
                0.5 * float((inner * matern).sum()),
                -2 * float(by_relevance.sum()),
                0.5 * float((inner * linear_term).sum()),
                0.5 * math.exp(hyper[3]) * float(np.trace(inner)) if fits_noise else 0.0,
                *by_relevance,
            ]
            offset = hyper - start
            value = 0.5 * z @ weights + np.log(np.diag(factor)).sum() + (prior * offset**2).sum()
            return float(value), np.array(gradient) + 2 * prior * offset

        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
        scale = np.exp(0.5 * found.x[4:] - found.x[1])[owners] * math.sqrt(5 / parameters)
        return _condition(x, z, linear, found.x[:4], scale, noise_of(found.x), mean, std)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation, without noise, at features (M, D)."""
        cross = _kernel(x, self.x, self.linear, self.hyper, self.scale)
        prior = math.exp(self.hyper[0]) + math.exp(self.hyper[2]) * (x[:, self.linear] ** 2).sum(1)
        variance = prior - (cross * cho_solve(self.factor, cross.T).T).sum(1)
        return self.mean + self.std * (cross @ self.weights), self.std * np.sqrt(np.maximum(variance, 1e-9))

    def believe(self, x: Array) -> GaussianProcess:
        """Return the process with its own predictions at `x` (M, D) as further targets."""
        if not len(x):
            return self
        old = _kernel(self.x, self.x, self.linear, self.hyper, self.scale) @ self.weights + self.noise * self.weights
        new = (self.predict(x)[0] - self.mean) / self.std
        noise = np.append(self.noise, np.full(len(x), float(np.median(self.noise))))
        both = np.vstack([self.x, x])
        return _condition(both, np.append(old, new), self.linear, self.hyper, self.scale, noise, self.mean, self.std)


def _condition(
    x: Array, z: Array, linear: slice, hyper: Array, scale: Array, noise: Array, mean: float, std: float
) -> GaussianProcess:
    factor = cho_factor(_kernel(x, x, linear, hyper, scale) + np.diag(noise), lower=True)
    return GaussianProcess(x, linear, hyper, scale, noise, mean, std, factor, cho_solve(factor, z))


def _kernel(a: Array, b: Array, linear: slice, hyper: Array, scale: Array) -> Array:
    """Covariance of features (N, D) and (M, D)."""
    scaled = np.sqrt(_squares(a * scale, b * scale))
    matern = math.exp(hyper[0]) * (1 + scaled + scaled * scaled / 3) * np.exp(-scaled)
    covariance: Array = matern + math.exp(hyper[2]) * a[:, linear] @ b[:, linear].T
    return covariance


def _squares(a: Array, b: Array) -> Array:
    """Squared distances of features (N, D) and (M, D)."""
    squares: Array = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    return np.maximum(squares, 0)
