"""`supernet`: evaluate a subnet of one network trained for all candidates, with its own batch-norm statistics."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch
from explore.estimate import Estimate, EstimatorContext

if TYPE_CHECKING:
    from torch import Tensor

    from arch.network import PoseNet

NOISE_MM = 3.0  # measured by `python -m benchmarks estimators`


class SupernetEstimator:
    """
    Raises:
        InputError: as `open_supernet`, or the supernet has another number of joints than the data.
    """

    def __init__(self, context: EstimatorContext) -> None:
        self.context = context
        options, data = context.options, context.evaluator.train
        self.supernet = open_supernet(options.supernet, Space.named(options.space).at(context.evaluator.size))
        if self.supernet.arch.num_joints != len(data.skeleton):
            raise InputError(
                f"{options.supernet}: num_joints: {self.supernet.arch.num_joints}, but data {data.name} has "
                f"{len(data.skeleton)} joints; train a supernet on this data"
            )

    @cached_property
    def _batches(self) -> list[Tensor]:
        from explore.train.supernet import calibration_batches

        return calibration_batches(self.context.evaluator, device=self.context.device)

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        from explore.train.loop import predict
        from explore.train.provenance import trained_on
        from explore.train.supernet import recalibrated
        from quantize.checkpoint import save_network

        evaluator, weights = self.context.evaluator, folder / "weights.safetensors"
        images, batches = evaluator.evaluation.images, self._batches
        started = time.process_time()
        step = self.context.step_context
        with step():
            net = recalibrated(self.supernet, arch, batches)
        mm = evaluator.evaluate(predict(net, images, device=self.context.device, step_context=step)).mpjpe
        seconds = time.process_time() - started
        save_network(weights, net, {"float_mpjpe_mm": mm} | trained_on(evaluator))
        return Estimate(mm, NOISE_MM, seconds, weights)


def open_supernet(path: str, space: Space) -> PoseNet:
    """Load the largest network of a supernet's checkpoint.

    Raises:
        InputError: `path` is empty, no checkpoint, or one of another space; or no supernet can hold the space.
    """
    from arch.elastic import smallest_and_largest
    from explore.train.supernet import load_supernet

    smallest_and_largest(space)
    if not path:
        raise InputError(
            "estimate.supernet: none given; make one with train --supernet SPACE and pass its file to --estimate.supernet"
        )
    return load_supernet(path, space)[0]
