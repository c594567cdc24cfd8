"""`supernet`: a slice of one network that was trained for all, its batch statistics taken anew, judged."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch
from explore.estimate import Estimate, Setup

if TYPE_CHECKING:
    from torch import Tensor

    from arch.network import PoseNet

NOISE_MM = 3.0  # around full training, by `bench estimators`


@dataclass(frozen=True)
class Slices:
    setup: Setup
    whole: PoseNet

    @cached_property
    def batches(self) -> list[Tensor]:
        from explore.train.supernet import calibration

        return calibration(self.setup.judge)

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        from explore.train.checkpoint import save_network
        from explore.train.loop import predict
        from explore.train.supernet import ready

        weights, images, batches = folder / "weights.safetensors", self.setup.judge.evaluation.images, self.batches
        started = time.process_time()
        with self.setup.step_context():
            net = ready(self.whole, arch, batches)
            mm = self.setup.judge.score(predict(net, images)).mpjpe
        spent = time.process_time() - started
        save_network(weights, net, {"float_mpjpe_mm": mm})
        return Estimate(mm, NOISE_MM, spent, weights)


def open_supernet(path: str, space: Space) -> PoseNet:
    """The largest network of a supernet's checkpoint.

    Raises:
        InputError: no checkpoint, or one of another space, or a space that no supernet can hold.
    """
    from arch.elastic import ends
    from explore.train.supernet import load_supernet

    ends(space)
    if not path:
        raise InputError(
            "estimate.supernet: none given; make one with train --supernet SPACE and name its file in --estimate.supernet"
        )
    return load_supernet(path, space)[0]


def make(setup: Setup) -> Slices:
    """
    Raises:
        InputError: as `open_supernet`.
    """
    options = setup.options
    whole, data = open_supernet(options.supernet, Space.named(options.space).at(setup.judge.size)), setup.judge.train
    if whole.arch.joints != len(data.skeleton):
        raise InputError(
            f"{options.supernet}: has {whole.arch.joints} joints, data {data.name} {len(data.skeleton)}; train one on it"
        )
    return Slices(setup, whole)
