"""Which steps of a network pay most for 8 bits, in millimetres: each alone in simulated INT8, the rest in float."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from arch.decode import to_normalised
from arch.network import PoseNet
from quantize.graph import inference_module
from quantize.parity import crop_mm
from quantize.runtimes import Array

LEVELS = 255


def step_costs(net: PoseNet, pictures: Array) -> dict[str, float]:
    """Mean mm by which the joints move when one step's weights and inputs have 8 bits, the costliest step first.

    Weights are symmetric and per channel, inputs per tensor with the ranges of the same `pictures`, normalised RGB
    (N, 3, S, S). A crop's side is taken as 2 m. It ranks steps for every runtime; files have more errors than these.
    """
    module = inference_module(net)
    x = torch.from_numpy(pictures)
    layers = {name: _layers(step) for name, step in module.net.steps.items()}
    with torch.inference_mode():
        ranges: dict[nn.Module, tuple[float, float]] = {}
        with ExitStack() as stack:
            for layer in (layer for step in layers.values() for layer in step):
                stack.enter_context(_before(layer, partial(_note, ranges, layer)))
            reference = _mm(module.net, x)
        costs = {}
        for name, step in layers.items():
            with ExitStack() as stack:
                for layer in step:
                    stack.enter_context(_before(layer, partial(_rounded, *ranges[layer])))
                    stack.enter_context(_eight_bit_weights(layer))
                costs[name] = float(np.linalg.norm(_mm(module.net, x) - reference, axis=2).mean())
    return dict(sorted(costs.items(), key=lambda entry: -entry[1]))


def _layers(step: nn.Module) -> list[Any]:
    return [part for part in step.modules() if isinstance(part, nn.Conv2d | nn.Linear)]


def _mm(net: PoseNet, x: Tensor) -> Any:
    return crop_mm(to_normalised(net(x).numpy(), net.arch))


def _note(ranges: dict[nn.Module, tuple[float, float]], layer: nn.Module, x: Tensor) -> Tensor:
    ranges[layer] = min(0.0, float(x.min())), max(0.0, float(x.max()))
    return x


def _rounded(low: float, high: float, x: Tensor) -> Tensor:
    scale = max(high - low, 1e-9) / LEVELS
    zero = round(-low / scale)
    return ((x / scale + zero).round().clamp(0, LEVELS) - zero) * scale


@contextmanager
def _before(layer: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    hook = layer.register_forward_pre_hook(lambda _, inputs: (change(inputs[0]), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _eight_bit_weights(layer: Any) -> Iterator[None]:
    whole = layer.weight.clone()
    rows = whole.flatten(1)
    scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    layer.weight.copy_(((rows / scale).round() * scale).view_as(whole))
    try:
        yield
    finally:
        layer.weight.copy_(whole)
