"""`predictor`: a Gaussian process from a network's description to mm, fitted on the networks trained in full so far.

It spends training where the front may move: a network whose error is predicted to be behind a finished one that costs
no more MACs, by more than its own uncertainty, is taken at its prediction; all others are trained in full.
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
from explore.estimate import Estimate, Finished, Setup
from explore.estimate.full import Full

ENOUGH = 8  # finished networks before a prediction counts
GROWTH = 1.25  # of their number, after which the sizes of the process are learned anew
WORDS = ("encoder", "concat", "activation", "decoder", "decoder_conv", "upsample", "head")


def features(arch: Arch) -> dict[str, float]:
    """Named features of a network: what its parts cost, in doublings, and one for each word that names a part.

    Few on purpose. Widths, depths and expansions of every stage as features of their own made 24 networks' order
    worse than MACs alone, the costs of the parts better; both were tried on the same 24.
    """
    found: dict[str, float] = dict.fromkeys(("encoder MACs", "decoder MACs", "head MACs", "encoder params"), 1.0)
    for step in describe(arch):
        part = _part(step.name)
        found[f"{part} MACs"] += step.macs
        if part == "encoder":
            found["encoder params"] += step.params
    return {name: math.log2(value) for name, value in found.items()} | {
        f"{key} {getattr(arch, key)}": 1.0 for key in WORDS
    }


@lru_cache(maxsize=4096)
def _features(arch: Arch) -> dict[str, float]:
    return features(arch)


def _part(step: str) -> str:
    if step == "head":
        return "head"
    return "decoder" if step.startswith(("inter", "decoder", "parts")) else "encoder"


@dataclass(frozen=True)
class Predictor:
    """A fitted model; `predict` gives mean and standard deviation in mm, each (N,)."""

    names: tuple[str, ...]
    middle: NDArray[np.float64]
    scale: NDArray[np.float64]
    model: Any

    def predict(self, archs: Sequence[Arch]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean, deviation = self.model.predict((table(archs, self.names) - self.middle) / self.scale, return_std=True)
        return mean, deviation


def table(archs: Sequence[Arch], names: Sequence[str]) -> NDArray[np.float64]:
    """Features (N, len(names)), 0 where a network has none of a name."""
    described = [_features(arch) for arch in archs]
    return np.array([[found.get(name, 0.0) for name in names] for found in described])


def fit(archs: Sequence[Arch], mm: Sequence[float], seed: int = 0, learned: dict[int, Any] | None = None) -> Predictor:
    """A Gaussian process: a straight line in all features, a smooth rest, and noise; their sizes by likelihood.

    learned: sizes of earlier fits, by the number of networks; kept there, so that a search learns them anew only with
        every quarter more networks, for that is what takes the time
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    names = tuple(dict.fromkeys(name for arch in archs for name in features(arch)))
    described = table(archs, names)
    middle, spread = described.mean(0), described.std(0)
    size = math.sqrt(max(1, int((spread > 0).sum())))
    kernel = (
        ConstantKernel(0.1, (1e-4, 10.0)) * DotProduct(1.0, "fixed")
        + ConstantKernel(0.5, (1e-3, 10.0)) * RBF(size, (size / 3, 30 * size))
        + WhiteKernel(0.1, (1e-3, 1.0))
    )
    known = learned if learned is not None else {}
    due = not known or len(archs) >= GROWTH * max(known)
    model = GaussianProcessRegressor(
        kernel if due else known[max(known)], normalize_y=True, random_state=seed,
        optimizer="fmin_l_bfgs_b" if due else None,
    )  # fmt: skip
    scale = np.where(spread > 0, spread, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a size at its bound is an answer
        model.fit((described - middle) / scale, np.asarray(mm))
    if due:
        known[len(archs)] = model.kernel_
    return Predictor(names, middle, scale, model)


def leave_one_out(archs: Sequence[Arch], mm: Sequence[float]) -> NDArray[np.float64]:
    """(N,) each network's error in mm as predicted from all others."""
    found = []
    for index, arch in enumerate(archs):
        rest = [other for other in range(len(archs)) if other != index]
        found.append(float(fit([archs[i] for i in rest], [mm[i] for i in rest]).predict([arch])[0][0]))
    return np.array(found)


def may_move_front(arch: Arch, mm: float, deviation: float, trust: float, finished: Sequence[Finished]) -> bool:
    """Whether, `trust` deviations better than predicted, no finished network would be as good for no more MACs."""
    macs = cost(arch).macs
    return not any(other.mm <= mm - trust * deviation and cost(other.arch).macs <= macs for other in finished)


@dataclass(frozen=True)
class Predicted:
    setup: Setup
    learned: dict[int, Any] = field(default_factory=dict)

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        setup, finished = self.setup, self.setup.finished()
        started = time.process_time()
        if len(finished) >= ENOUGH:
            archs, mm = [other.arch for other in finished], [other.mm for other in finished]
            model = fit(archs, mm, setup.seed, self.learned)
            mean, deviation = (float(value[0]) for value in model.predict([arch]))
            if not may_move_front(arch, mean, deviation, setup.options.trust, finished):
                return Estimate(mean, deviation, time.process_time() - started, None)
        return Full(setup).estimate(arch, folder)


def make(setup: Setup) -> Predicted:
    return Predicted(setup)
