"""The module that converters see: the raw head output alone, BatchNorm folded into the convolutions."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from arch.blocks import ConvNormAct
from arch.heads import HEADS
from arch.network import PoseNet

OPSET = 17
LEAST_WEIGHT = 1e-4  # of a channel, as a share of its bias


class RawOutput(nn.Module):
    """`forward` is the network's `forward_heatmaps`."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.forward_heatmaps(x)


def inference_module(net: PoseNet) -> RawOutput:
    """A copy of `net` on the CPU, in evaluation mode, for converters: a third less to trace with BatchNorm folded."""
    module = RawOutput(copy.deepcopy(net).cpu().float()).eval()
    for part in module.modules():
        if isinstance(part, ConvNormAct) and hasattr(part, "norm"):
            part.conv = fuse_conv_bn_eval(part.conv, part.norm)
            del part.norm
        if isinstance(part, nn.ReLU | nn.ReLU6 | nn.LeakyReLU | nn.Hardswish | nn.Hardsigmoid):
            part.inplace = False
    return module.requires_grad_(False)


def widen_depths(net: PoseNet, gain: float) -> None:
    """Multiply the depths that the head puts out, in place; nothing where it has only scores.

    INT8 gives an output one scale: beside scores up to 20, depths within 1 have steps of 16 cm. A power of two is exact.
    """
    if not HEADS[net.arch.head].DEPTH_VALUES:
        return
    first = 0
    with torch.no_grad():
        for index in net.arch.plan.outputs:
            step = net.steps[net.arch.plan.nodes[index].name]
            conv = [part for part in step.modules() if isinstance(part, nn.Conv2d)][-1]
            depths = torch.arange(first, first + conv.out_channels) >= net.arch.joints
            for values in (conv.weight, conv.bias):
                assert values is not None
                values[depths] *= gain
            first += conv.out_channels


def lift_dead_channels(module: nn.Module) -> None:
    """Give channels whose weights vanish beside their bias one weight of a ten-thousandth of it, in place.

    INT8 stores a bias in 32 bits by the scale of input times weights: where a channel's weights have died, as they do
    in training, the scale dies too and the bias overflows. The change is far below an INT8 step of the output.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
                rows = part.weight.view(len(part.weight), -1)
                floor = part.bias.abs() * LEAST_WEIGHT
                dead = rows.abs().amax(1) < floor
                rows[dead, rows.shape[1] // 2] = floor[dead]


def save_onnx(net: PoseNet, path: Path, depth_gain: float = 1.0) -> None:
    """`inference_module(net)` as an ONNX file: input `image` (1, 3, S, S), output `raw`."""
    example = torch.zeros(1, 3, net.arch.input, net.arch.input)
    module = inference_module(net)
    widen_depths(module.net, depth_gain)
    with warnings.catch_warnings():
        # The tracing exporter is called legacy but needs no onnxscript and names nodes after modules.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            (example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["raw"],
        )


def save_folded_onnx(net: PoseNet, path: Path) -> None:
    """`save_onnx` with everything that is constant computed: no shapes, no scatters, standard operators alone."""
    import onnxruntime

    traced = path.with_suffix(".traced.onnx")
    save_onnx(net, traced)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(traced), options, providers=["CPUExecutionProvider"])


def step_of(node: str) -> str:
    """The step of the network that a node of `save_onnx` belongs to: /stage0/stage0.0/.../Conv is of stage0."""
    return node.split("/")[1] if node.startswith("/") else ""
