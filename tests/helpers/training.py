"""A small network, small rendered data and comparisons of weights, for tests that train."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from arch.space import Arch, preset
from explore.data import open_dataset
from explore.data.synthetic.config import SyntheticConfig
from explore.evaluation.evaluator import Evaluator
from explore.train.config import TrainConfig
from explore.train.engine import Engine
from explore.train.loop import Batch, PoseObjective


def tiny_arch(**changes: object) -> Arch:
    """Return paper-XS at 64 px with a quarter of the width and one block per stage, with `changes`."""
    return preset("paper-XS-relu@64").replace(
        **{"width": 0.25, "intermediate_channels": 64, "decoder_width": 32, "depths": (1,) * 7} | changes
    )


def rendered_evaluator(cache: Path, train: int = 64, test: int = 16) -> Evaluator:
    """Render so many frames of 96 px and open them at an input size of 64 px."""
    config = SyntheticConfig(level="easy", size=96, train_frames=train, test_frames=test)
    parts = [open_dataset("synthetic:easy", split, config, cache=cache) for split in ("train", "test")]
    return Evaluator(parts[0], parts[1], 64)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@dataclass(frozen=True)
class FaultyObjective:
    """The pose loss, but in some steps and one process it or its gradient is not finite.

    bad_loss:     steps whose loss is not a number
    bad_gradient: steps with a finite loss, whose gradient is not a number in one tensor
    huge_gradient: steps with a finite loss and gradient, whose square overflows
    """

    config: TrainConfig
    bad_loss: Collection[int] = ()
    bad_gradient: Collection[int] = ()
    huge_gradient: Collection[int] = ()
    rank: int = 0
    identity: str = "faulty"

    def __call__(self, net: Any, batch: Batch, step: int, engine: Engine) -> torch.Tensor:
        loss = PoseObjective(self.config)(net, batch, step, engine)
        weights = next(net.parameters())
        if engine.rank != self.rank:
            return loss
        if step in self.bad_loss:
            return loss * math.nan
        if step in self.bad_gradient:
            return loss + (weights - weights).abs().sqrt().sum()  # 0, with the gradient 0 * inf
        if step in self.huge_gradient:
            return loss + 1e30 * (weights - weights.detach()).sum()  # 0, with the gradient 1e30
        return loss
