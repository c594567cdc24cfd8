"""Sensitivity of each step of a network to quantization, simulated in torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from arch.decode import to_crop_mm, to_normalised
from arch.network import PoseNet
from quantize.graph import inference_module, round_weights
from quantize.runtimes import Array

LEVELS = {"int8": 2**8 - 1, "int16": 2**16 - 1}  # of activations; float ones are not rounded


def step_costs(net: PoseNet, images: Array, activations: str = "int8") -> dict[str, float]:
    """Return the mean displacement of joints in mm when one step alone is quantized, the costliest step first.

    Weights are quantized symmetrically per channel to INT8, inputs to `activations` per tensor, within their ranges on
    the same `images`, normalised RGB (N, 3, S, S). Use the values to rank the steps: the errors of real files are
    larger.
    """
    module = inference_module(net)
    x = torch.from_numpy(images)
    layers = {name: _layers(step) for name, step in module.net.steps.items()}
    with torch.inference_mode():
        ranges: dict[nn.Module, tuple[float, float]] = {}
        with ExitStack() as stack:
            for layer in (layer for step in layers.values() for layer in step):
                stack.enter_context(_on_input(layer, partial(_record_range, ranges, layer)))
            reference = _joints_mm(module.net, x)
        costs = {}
        for name, step in layers.items():
            with ExitStack() as stack:
                for layer in step:
                    if levels := LEVELS.get(activations):
                        stack.enter_context(_on_input(layer, partial(_quantize, levels, *ranges[layer])))
                    stack.enter_context(_quantized_weights(layer))
                costs[name] = float(np.linalg.norm(_joints_mm(module.net, x) - reference, axis=2).mean())
    return dict(sorted(costs.items(), key=lambda entry: -entry[1]))


def _layers(step: nn.Module) -> list[Any]:
    return [part for part in step.modules() if isinstance(part, nn.Conv2d | nn.Linear)]


def _joints_mm(net: PoseNet, x: Tensor) -> Any:
    return to_crop_mm(to_normalised(net(x).numpy(), net.arch))


def _record_range(ranges: dict[nn.Module, tuple[float, float]], layer: nn.Module, x: Tensor) -> Tensor:
    ranges[layer] = min(0.0, float(x.min())), max(0.0, float(x.max()))
    return x


def _quantize(levels: int, low: float, high: float, x: Tensor) -> Tensor:
    scale = max(high - low, 1e-9) / levels
    zero = round(-low / scale)
    return ((x / scale + zero).round().clamp(0, levels) - zero) * scale


@contextmanager
def _on_input(layer: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Apply `change` to the input of `layer`."""
    hook = layer.register_forward_pre_hook(lambda _, inputs: (change(inputs[0]), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _quantized_weights(layer: Any) -> Iterator[None]:
    original = layer.weight.clone()
    round_weights(layer.weight, 127)
    try:
        yield
    finally:
        layer.weight.copy_(original)
