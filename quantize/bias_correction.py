"""Bias correction of 2.5D heads (Nagel et al. 2019): removes the mean shift of depths that rounded weights cause."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from arch.heads import HEADS
from arch.network import RawOutput
from quantize.graph import depth_rows, round_weights
from quantize.recipes import Recipe
from quantize.runtimes.protocol import Array


def correct_depths(
    module: RawOutput,
    recipe: Recipe,
    options: dict[str, str],
    images: Array | None,
    levels: float,
    depthwise_levels: float,
) -> None:
    """Change the biases of depths in place, so that rounding the weights does not shift depths on the images.

    The rounding errors of the weights that give a joint's depth add up to a nearly constant shift, of up to 20 mm. Maps
    of depths differ from joint to joint and from cell to cell, so that the mean over a map, with which quantizers correct
    biases, is not the shift at the joint: as in decoding, the scores weight it.

    Heads without depth values, recipes without images, clipped weights (`octav`) and networks that were trained with
    rounded weights stay as they are.

    Args:
        module: an inference graph, without BatchNorm.
        options: those of the quantizer, see `Recipe.options`.
        images: normalised RGB (N, 3, S, S) to calibrate on.
        levels: largest weight divided by the scale of the weights.
        depthwise_levels: the same for depthwise convolutions.
    """
    arch = module.net.arch
    if images is None or not HEADS[arch.head].DEPTH_VALUES or options["weight_range"] != "minmax" or recipe.qat_samples:
        return
    rounded, float_steps = copy.deepcopy(module), recipe.float_steps(arch)
    with torch.no_grad():
        for name, step in rounded.net.steps.items():
            for layer in step.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear) and name not in float_steps:
                    depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
                    count = depthwise_levels if depthwise else levels
                    round_weights(layer.weight, count, options["weight_granularity"] == "channel")
        shift = torch.stack([_depths(rounded, image) - _depths(module, image) for image in torch.from_numpy(images)])
        for conv, rows, joints in depth_rows(module.net):
            assert conv.bias is not None
            conv.bias[rows] -= shift.mean(0)[joints]


def _depths(module: RawOutput, image: Tensor) -> Tensor:
    """Return the depths (J,) of one image in units of the output."""
    joints = module.net.arch.num_joints
    scores, depths = module(image[None])[0].flatten(1).split(joints)
    return (scores.softmax(1) * depths).sum(1)
