"""`predictor`: a Gaussian process that predicts a network's error, fitted to the networks trained in full so far.

A network is trained in full only if it may improve the front. It is not trained if a finished network with no more MACs
is better than the prediction minus `confidence` standard deviations; its estimate then is the prediction.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.cost import cost
from arch.describe import describe
from arch.space import Arch
from explore.estimate import Estimate, EstimatorContext, FullEstimator, TrainedNetwork

MIN_NETWORKS = 8  # networks trained in full before predictions are used
REFIT_GROWTH = 1.25  # growth of their number after which the kernel's hyperparameters are optimised again
CATEGORICAL = ("encoder", "concat", "activation", "decoder", "decoder_conv", "upsample", "head")


@lru_cache(maxsize=4096)
def features(arch: Arch) -> dict[str, float]:
    """Return named features: log2 costs of the network's parts, and an indicator of each categorical choice.

    There are deliberately few. On 24 networks, the costs of parts ranked better than total MACs, while the widths,
    depths and expansions of all stages as separate features ranked worse.
    """
    found: dict[str, float] = dict.fromkeys(("encoder MACs", "decoder MACs", "head MACs", "encoder params"), 1.0)
    for step in describe(arch):
        part = _part(step.name)
        found[f"{part} MACs"] += step.macs
        if part == "encoder":
            found["encoder params"] += step.params
    return {name: math.log2(value) for name, value in found.items()} | {
        f"{key} {getattr(arch, key)}": 1.0 for key in CATEGORICAL
    }


def _part(step: str) -> str:
    if step == "head":
        return "head"
    return "decoder" if step.startswith(("inter", "decoder", "parts")) else "encoder"


@dataclass(frozen=True)
class ErrorModel:
    """A Gaussian process over standardised features."""

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    process: Any

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation in mm, each (N,)."""
        standardised = (feature_matrix(archs, self.names) - self.mean) / self.scale
        mean, deviation = self.process.predict(standardised, return_std=True)
        return mean, deviation


def feature_matrix(archs: Sequence[Arch], names: Sequence[str]) -> NDArray[np.float64]:
    """Return the named features (N, len(names)); 0 where a network lacks one."""
    return np.array([[features(arch).get(name, 0.0) for name in names] for arch in archs])


def fit(archs: Sequence[Arch], mm: Sequence[float], seed: int = 0, kernels: dict[int, Any] | None = None) -> ErrorModel:
    """Fit a Gaussian process with a linear, a smooth (RBF) and a noise kernel; maximise the marginal likelihood.

    kernels: optimised kernels of earlier fits by the number of networks. The fit adds to it, and optimises only when
        there are at least REFIT_GROWTH times as many networks as at the last time, because optimising dominates the run
        time.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    names = tuple(dict.fromkeys(name for arch in archs for name in features(arch)))
    matrix = feature_matrix(archs, names)
    mean, spread = matrix.mean(0), matrix.std(0)
    length = math.sqrt(max(1, int((spread > 0).sum())))
    kernel = (
        ConstantKernel(0.1, (1e-4, 10.0)) * DotProduct(1.0, "fixed")
        + ConstantKernel(0.5, (1e-3, 10.0)) * RBF(length, (length / 3, 30 * length))
        + WhiteKernel(0.1, (1e-3, 1.0))
    )
    kernels = {} if kernels is None else kernels
    optimise = not kernels or len(archs) >= REFIT_GROWTH * max(kernels)
    process = GaussianProcessRegressor(
        kernel if optimise else kernels[max(kernels)], normalize_y=True, random_state=seed,
        optimizer="fmin_l_bfgs_b" if optimise else None,
    )  # fmt: skip
    scale = np.where(spread > 0, spread, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hyperparameter at its bound is acceptable
        process.fit((matrix - mean) / scale, np.asarray(mm))
    if optimise:
        kernels[len(archs)] = process.kernel_
    return ErrorModel(names, mean, scale, process)


def may_improve_front(
    arch: Arch, mm: float, deviation: float, confidence: float, finished: Sequence[TrainedNetwork]
) -> bool:
    """Return whether no finished network with at most as many MACs has an error below `mm - confidence * deviation`."""
    macs, lower = cost(arch).macs, mm - confidence * deviation
    return not any(other.mpjpe_mm <= lower and cost(other.arch).macs <= macs for other in finished)


@dataclass(frozen=True)
class PredictorEstimator:
    context: EstimatorContext
    kernels: dict[int, Any] = field(default_factory=dict)

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        context, finished = self.context, self.context.finished()
        started = time.process_time()
        if len(finished) >= MIN_NETWORKS:
            archs, mm = [other.arch for other in finished], [other.mpjpe_mm for other in finished]
            model = fit(archs, mm, context.seed, self.kernels)
            mean, deviation = (float(value[0]) for value in model.predict([arch]))
            if not may_improve_front(arch, mean, deviation, context.options.confidence, finished):
                return Estimate(mean, deviation, time.process_time() - started, None)
        return FullEstimator(context).estimate(arch, folder)
