"""Estimators: what a network's error would be after full training, for less than full training. No torch at import.

All are interchangeable behind one Protocol and measured on the same networks by `bench estimators`. A search is free to
use any of them to choose what it tries; what it ships is trained in full and measured, whatever chose it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from arch.space import Arch
from explore.config import EstimateConfig, TrainConfig
from explore.judge import Judge

Name = Literal["full", "short", "supernet", "inherit", "predictor"]

ESTIMATORS: dict[str, str] = {
    "full": "explore.estimate.full",
    "short": "explore.estimate.short",
    "supernet": "explore.estimate.supernet",
    "inherit": "explore.estimate.inherit",
    "predictor": "explore.estimate.predictor",
}


@dataclass(frozen=True)
class Estimate:
    """What an estimator says of a network.

    mm:          error of the float network on the test part, MPJPE in mm, on the estimator's own scale
    noise_mm:    standard deviation of `mm` around what puts the networks in their true order
    cpu_seconds: spent on this network, what was spent once for all left out
    weights:     checkpoint that `mm` was measured with; None where it was not measured
    in_full:     whether the network was trained in full after all
    """

    mm: float
    noise_mm: float
    cpu_seconds: float
    weights: Path | None
    in_full: bool = False


@dataclass(frozen=True)
class Finished:
    """A network trained in full: its error in mm and its checkpoint."""

    arch: Arch
    mm: float
    weights: Path


@dataclass(frozen=True)
class Setup:
    """What estimators work with.

    training: of a candidate in full
    finished: the networks trained in full so far
    step_context, progress: as in explore.train.loop.train
    """

    judge: Judge
    training: TrainConfig
    options: EstimateConfig
    seed: int
    finished: Callable[[], list[Finished]] = list
    step_context: Callable[[], AbstractContextManager[None]] = nullcontext
    progress: Callable[[int, int], None] = lambda done, total: None


class Estimator(Protocol):
    """One way to say how good a network is."""

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        """The estimate of `arch`; files of it go to `folder`, from which a stopped estimate goes on.

        Raises:
            Diverged, InputError: as training does.
        """
        ...


def make(name: str, setup: Setup) -> Estimator:
    """The estimator of that name.

    Raises:
        InputError: it cannot work with what it is given, a supernet of another space say.
    """
    return importlib.import_module(ESTIMATORS[name]).make(setup)  # type: ignore[no-any-return]
