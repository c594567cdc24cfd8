"""Estimators: predict a network's error after full training at a fraction of the cost. Importing is cheap.

All implement `Estimator` and are compared on the same networks by `python -m benchmarks estimators`. A search uses
estimates only to choose candidates; finalists are always trained in full and measured.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from explore.estimate.config import EstimateConfig
from explore.train.config import TrainConfig

if TYPE_CHECKING:
    import torch

    from arch.space import Arch
    from explore.evaluation.evaluator import Evaluator
    from explore.train.engine import Engine
    from explore.train.loop import FloatResult

ESTIMATORS: dict[str, str] = {
    "full": "explore.estimate:FullEstimator",
    "short": "explore.estimate.short:ShortEstimator",
    "supernet": "explore.estimate.supernet:SupernetEstimator",
    "inherit": "explore.estimate.inherit:InheritEstimator",
    "predictor": "explore.estimate.predictor:PredictorEstimator",
}
FULL_NOISE_MM = 1.5  # between two seeds of full training, measured by `python -m benchmarks estimators`


@dataclass(frozen=True)
class Estimate:
    """Estimated error of a network.

    mpjpe_mm:    MPJPE of the float network on the evaluated part, in mm, on the estimator's own scale
    noise_mm:    standard deviation of `mpjpe_mm` around the values that rank networks correctly
    cpu_seconds: CPU time spent on this network, without costs shared by all networks
    weights:     checkpoint with which `mpjpe_mm` was measured; None if it was only predicted
    in_full:     whether the network was trained in full
    """

    mpjpe_mm: float
    noise_mm: float
    cpu_seconds: float
    weights: Path | None
    in_full: bool = False


@dataclass(frozen=True)
class TrainedNetwork:
    """A network trained in full, with its error in mm and its checkpoint."""

    arch: Arch
    mpjpe_mm: float
    weights: Path


@dataclass(frozen=True)
class EstimatorContext:
    """Data and settings of an estimator.

    training: settings of full training
    finished: returns the networks trained in full so far
    step_context, progress: as in `explore.train.loop.train`
    engine: where networks are trained and evaluated; None: on the CPU
    """

    evaluator: Evaluator
    training: TrainConfig
    options: EstimateConfig
    seed: int
    finished: Callable[[], list[TrainedNetwork]] = list
    step_context: Callable[[], AbstractContextManager[None]] = nullcontext
    progress: Callable[[int, int], None] = lambda done, total: None
    engine: Engine | None = None

    @property
    def device(self) -> torch.device:
        from explore.train.loop import CPU

        return (self.engine or CPU).device

    def train(
        self, arch: Arch, weights: Path, samples: int, init_from: Path | None = None, part: int = 0
    ) -> FloatResult:
        """Train and evaluate `arch` with the settings of full training, but on `samples` samples.

        part: of a training in several parts, which draw different batches
        """
        from explore.train.distill import make_objective
        from explore.train.loop import CPU, train_and_evaluate

        config, engine = self.training.model_copy(update={"samples": samples}), self.engine or CPU
        seed = self.seed + part
        return train_and_evaluate(
            arch,
            self.evaluator,
            config,
            seed,
            weights,
            init_from,
            self.step_context,
            self.progress,
            engine,
            make_objective(config, self.evaluator.train, seed, engine),
        )


class Estimator(Protocol):
    """A method of estimating a network's error, constructed from an `EstimatorContext`."""

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        """Estimate the error of `arch`. Files go to `folder`; a stopped estimate resumes from them.

        Raises:
            Diverged, InputError: as `explore.train.loop.train`.
        """
        ...


@dataclass(frozen=True)
class FullEstimator:
    """`full`: train every network in full. The reference for all other estimators."""

    context: EstimatorContext

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        weights = folder / "weights.safetensors"
        result = self.context.train(arch, weights, self.context.training.samples)
        return Estimate(result.mpjpe_mm, FULL_NOISE_MM, result.cpu_seconds, weights, in_full=True)


def make(name: str, context: EstimatorContext) -> Estimator:
    """Return the estimator of that name.

    Raises:
        InputError: its options do not fit the context, such as a supernet of another space.
    """
    module, _, attribute = ESTIMATORS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)(context)  # type: ignore[no-any-return]
