"""Rounding of weights that keeps the outputs of a layer on calibration images, instead of each weight, closest."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from arch.network import RawOutput
from quantize.recipes import Recipe
from quantize.runtimes.protocol import Array

DAMPING = 0.01  # added to the diagonal of the second moments, as a fraction of their mean


def round_weights(
    module: RawOutput,
    recipe: Recipe,
    options: dict[str, str],
    levels: int,
    images: Array | None,
    depthwise_levels: int | None = None,
) -> None:
    """Round the weights of convolutions in place, if `weight_rounding` is compensated.

    GPTQ (Frantar et al. 2023): the error that the rounding of one weight causes is compensated by the next weights of
    the same output channel, by the second moments of the layer's inputs on the calibration images. Rounded to the
    nearest level, the errors of a channel add up to a nearly constant shift of its output, such as a joint's depth in a
    2.5D head. The quantizer derives the same scales again, because the largest weights stay as they are.

    Args:
        module: an inference graph, without BatchNorm.
        options: those of the quantizer, see `Recipe.options`.
        levels: of a weight on each side of zero.
        images: normalised RGB (N, 3, S, S); None for a recipe without calibration.
        depthwise_levels: of the weights of depthwise convolutions; None: `levels`
    """
    if options.get("weight_rounding") != "compensated":
        return
    assert images is not None
    moments: dict[nn.Conv2d, Tensor] = {}

    def add(conv: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(conv, nn.Conv2d) and isinstance(conv.padding, tuple)
        patches = unfold(inputs[0], conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        rows = patches[0].view(conv.groups, -1, patches.shape[-1])
        moments[conv] = moments.get(conv, torch.zeros(())) + rows @ rows.mT / rows.shape[-1]

    float_steps = recipe.float_steps(module.net.arch)
    quantized = [step for name, step in module.net.steps.items() if name not in float_steps]
    convs = [part for step in quantized for part in step.modules() if isinstance(part, nn.Conv2d)]
    hooks = [conv.register_forward_pre_hook(add) for conv in convs]
    with torch.no_grad():
        for image in torch.from_numpy(images):
            module(image[None])
        for hook in hooks:
            hook.remove()
        for conv, moment in moments.items():
            weights = conv.weight.view(conv.groups, conv.out_channels // conv.groups, -1)
            largest = weights.abs().amax(2, keepdim=True)
            if options["weight_granularity"] == "tensor":
                largest = largest.amax().expand_as(largest)
            count = depthwise_levels if depthwise_levels and conv.groups > 1 else levels
            found = _rounded(weights.double(), largest.double().clamp_min(1e-12) / count, count, moment.double())
            conv.weight.copy_(found.view_as(conv.weight))


def _rounded(weights: Tensor, scales: Tensor, levels: int, moment: Tensor) -> Tensor:
    """Return the weights (G, O, I) of G groups as multiples of `scales` (G, O, 1).

    moment: second moments of the inputs (G, I, I)
    """
    damping = DAMPING * moment.diagonal(dim1=1, dim2=2).mean(1) + 1e-9
    damped = moment + damping[:, None, None] * torch.eye(moment.shape[-1])
    order = damped.diagonal(dim1=1, dim2=2).argsort(descending=True)
    damped = damped.gather(1, order[:, :, None].expand_as(damped)).gather(2, order[:, None].expand_as(damped))
    factor = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    columns = order[:, None].expand_as(weights)
    given = weights.gather(2, columns)
    left, scales = given.clone(), scales[:, :, 0]
    for i in range(given.shape[2]):
        value = (left[:, :, i] / scales).round().clamp(-levels, levels) * scales
        value = torch.where((given[:, :, i] / scales).abs().round() == levels, given[:, :, i], value)
        error = (left[:, :, i] - value) / factor[:, i, i, None]
        left[:, :, i + 1 :] -= error[:, :, None] * factor[:, None, i, i + 1 :]
        left[:, :, i] = value
    return left.scatter(2, columns, left.clone())
