"""The inference graph that converters receive: raw head output, with BatchNorm folded into the convolutions."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from arch.blocks import ConvNormAct
from arch.heads import HEADS
from arch.network import PoseNet, RawOutput
from quantize.tensors import IMAGE, RAW

OPSET = 17
MIN_WEIGHT = 1e-4  # of a channel, as a fraction of its bias, for INT8 activations from 0.15 on
MIN_WEIGHT_INT16 = 4e-3  # the same for INT16 activations from 0.5 on: their steps are 256 times as fine


def inference_module(net: PoseNet) -> RawOutput:
    """Return a copy of `net` for converters: on the CPU, in evaluation mode, with BatchNorm folded."""
    module = RawOutput(copy.deepcopy(net).cpu().float()).eval()
    for part in module.modules():
        if isinstance(part, ConvNormAct) and hasattr(part, "norm"):
            part.conv = fuse_conv_bn_eval(part.conv, part.norm)
            del part.norm
        if isinstance(part, nn.ReLU | nn.ReLU6 | nn.LeakyReLU | nn.Hardswish | nn.Hardsigmoid):
            part.inplace = False
    return module.requires_grad_(False)


def scale_depths(net: PoseNet, scale: float) -> None:
    """Multiply the depths that a 2.5D head outputs by `scale`, in place; other heads stay as they are.

    An INT8 output has a single scale: next to scores of up to 20, depths within 1 would have steps of 16 cm. Use a
    power of two, which is exact.
    """
    if not HEADS[net.arch.head].DEPTH_VALUES:
        return
    with torch.no_grad():
        for conv, rows, _ in depth_rows(net):
            for values in (conv.weight, conv.bias):
                assert values is not None
                values[rows] *= scale


def depth_rows(net: PoseNet) -> Iterator[tuple[nn.Conv2d, Tensor, Tensor]]:
    """Yield the last convolutions of a 2.5D head, with the output channels that are depths, and their joints."""
    first = 0
    for index in net.arch.plan.outputs:
        step = net.steps[net.arch.plan.nodes[index].name]
        conv = [part for part in step.modules() if isinstance(part, nn.Conv2d)][-1]
        joints = torch.arange(first, first + conv.out_channels) - net.arch.num_joints
        rows = torch.nonzero(joints >= 0)[:, 0]
        yield conv, rows, joints[rows]
        first += conv.out_channels


def round_weights(weights: Tensor, levels: float, per_channel: bool = True) -> None:
    """Round (O, ...) weights to multiples of the largest divided by `levels`, in place."""
    rows = weights.flatten(1).abs()
    scale = (rows.amax(1) if per_channel else rows.amax().expand(len(rows))).clamp_min(1e-12) / levels
    scale = scale.view(-1, *[1] * (weights.ndim - 1))
    weights.copy_((weights / scale).round() * scale)


def lift_dead_channels(module: nn.Module, min_weight: float = MIN_WEIGHT) -> None:
    """Give each channel whose weights vanish next to its bias one weight of `min_weight` times the bias, in place.

    The scale of an INT32 bias is that of the input times that of the weights: where training has driven a channel's
    weights to zero, the bias overflows. The change is far below one INT8 step of the output.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
                rows = part.weight.view(len(part.weight), -1)
                floor = part.bias.abs() * min_weight
                dead = rows.abs().amax(1) < floor
                rows[dead, rows.shape[1] // 2] = floor[dead]


def save_onnx(module: RawOutput, path: Path) -> None:
    """Write an inference module as an ONNX file with the input `image` (1, 3, S, S) and the output `raw`."""
    size = module.net.arch.input_size
    example = torch.zeros(1, 3, size, size)
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but it needs no onnxscript and names nodes after modules.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            (example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[IMAGE],
            output_names=[RAW],
        )


def save_folded_onnx(net: PoseNet, path: Path) -> None:
    """Write an ONNX file in which constants are folded, so that only standard operators on tensors remain."""
    import onnxruntime

    traced = path.with_suffix(".traced.onnx")
    save_onnx(inference_module(net), traced)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(traced), options, providers=["CPUExecutionProvider"])


def step_of(node: str) -> str:
    """Return the step of the network that a node of `save_onnx` belongs to: stage0 for /stage0/stage0.0/.../Conv."""
    return node.split("/")[1] if node.startswith("/") else ""
