"""Training a supernet by the sandwich rule (Yu et al. 2019), its checkpoints, and one of its subnets made ready.

A run is that of its largest network with another objective: it resumes, skips steps and keeps averages as all do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arch.elastic import SuperNet, extract, recalibrate
from arch.errors import InputError
from arch.network import PoseNet
from arch.search_space import Space, make_space
from arch.space import Arch
from explore.config import TrainConfig
from explore.data.crop import Batch
from explore.judge import Judge
from explore.train.checkpoint import load_network, save_network
from explore.train.engine import Engine
from explore.train.loop import CPU, batch_loss, to_input

CALIBRATION_IMAGES, CALIBRATION_BATCH, CALIBRATION_SEED = 512, 64, 7


@dataclass(frozen=True)
class Sandwich:
    """Loss of a step: the mean over the largest, the smallest and `subnets` random networks of the space.

    The random ones are a function of seed and step, so that a run that goes on draws what it would have drawn.
    """

    supernet: SuperNet
    config: TrainConfig
    seed: int
    subnets: int = 2
    identity: Any = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", [self.supernet.space.model_dump(mode="json"), self.subnets])

    def drawn(self, step: int) -> list[Arch]:
        """The networks of a step."""
        rng = random.Random(f"{self.seed} {step}")
        chosen = [self.supernet.space.sample(rng) for _ in range(self.subnets)]
        return [self.supernet.largest, self.supernet.smallest, *chosen]

    def __call__(self, net: PoseNet, batch: Batch, step: int, engine: Engine = CPU) -> Tensor:
        x = to_input(batch.images)
        self.supernet.whole = net
        losses = [
            batch_loss(self.supernet.forward_heatmaps(x, arch), arch, batch, self.config) for arch in self.drawn(step)
        ]
        return torch.stack(losses).mean()


def save_supernet(path: Path, net: PoseNet, space: Space, facts: dict[str, Any]) -> None:
    """Weights of a supernet's largest network, with its space."""
    save_network(path, net, {"space": space.model_dump(mode="json"), **facts})


def load_supernet(path: str | Path, space: Space) -> tuple[PoseNet, dict[str, Any]]:
    """The largest network of a checkpoint and the facts stored with it.

    Raises:
        InputError: not a supernet's checkpoint, or of another space: says what differs.
    """
    net, facts = load_network(path)
    if "space" not in facts:
        raise InputError(f"{path}: holds one network, no supernet; make one with train --supernet {space.name}")
    theirs = make_space(dict(facts["space"]), str(path))  # type: ignore[call-overload]
    difference = differs(theirs, space.fit(theirs.joints))  # which the data decide
    if difference:
        raise InputError(f"{path}: made for another space: {difference}; train one for this space, or take that space")
    return net, facts


def differs(theirs: Space, ours: Space) -> str:
    """The first thing in which two spaces differ, in words; empty where they hold the same."""
    for key in dict.fromkeys((*theirs.base, *ours.base)):
        if theirs.base.get(key) != ours.base.get(key):
            return f"base.{key} is {theirs.base.get(key)} there, {ours.base.get(key)} here"
    for key in dict.fromkeys((*theirs.dimensions, *ours.dimensions)):
        mine, other = ours.dimensions.get(key), theirs.dimensions.get(key)
        if mine != other:
            shown = [
                "not asked"
                if side is None
                else ", ".join(map(str, side.values)) + (" by conditions" if side.when else "")
                for side in (other, mine)
            ]
            return f"dimensions.{key} is {shown[0]} there, {shown[1]} here"
    return ""


def calibration(judge: Judge, images: int = CALIBRATION_IMAGES) -> list[Tensor]:
    """Unaugmented training crops, the same ones always, in batches for `recalibrate`."""
    crops = judge.calibration(images, CALIBRATION_SEED)
    return [to_input(crops[begin : begin + CALIBRATION_BATCH]) for begin in range(0, images, CALIBRATION_BATCH)]


def ready(whole: PoseNet, arch: Arch, batches: list[Tensor]) -> PoseNet:
    """The subnet `arch` with batch statistics of its own."""
    return recalibrate(extract(whole, arch), batches)
