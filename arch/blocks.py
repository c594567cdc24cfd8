"""Torch modules of the operations and blocks in `arch.spec`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arch.spec import AxisClassifier, Block, Conv, Ghost, MaxPool, Op, SqueezeExcite, Upsample


def activation(name: str, channels: int) -> nn.Module:
    """Return an activation by name; `prelu` has one slope per channel, `prelu_shared` a single one (initially 0.25)."""
    match name:
        case "relu":
            return nn.ReLU(inplace=True)
        case "relu6":
            return nn.ReLU6(inplace=True)
        case "leaky_relu":
            return nn.LeakyReLU(0.1, inplace=True)
        case "prelu":
            return nn.PReLU(channels)
        case "prelu_shared":
            return nn.PReLU()
        case "hardswish":
            return nn.Hardswish(inplace=True)
        case "hardsigmoid":
            return nn.Hardsigmoid(inplace=True)
    raise ValueError(f"unknown activation {name!r}")


class ConvNormAct(nn.Sequential):
    """Convolution with same padding, then BatchNorm and activation if the spec has them."""

    def __init__(self, spec: Conv) -> None:
        super().__init__()
        padding = (spec.kernel - 1) // 2
        self.conv = nn.Conv2d(
            spec.cin, spec.cout, spec.kernel, spec.stride, padding, groups=spec.groups, bias=spec.bias
        )
        if spec.norm:
            self.norm = nn.BatchNorm2d(spec.cout)
        if spec.act:
            self.act = activation(spec.act, spec.cout)


class SqueezeExciteGate(nn.Module):
    """Multiply (B, C, H, W) by a gate in [0, 1] per channel (Hu et al. 2018)."""

    def __init__(self, spec: SqueezeExcite) -> None:
        super().__init__()
        self.reduce, self.expand = map(ConvNormAct, spec.convolutions())

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.expand(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * gate


class GhostModule(nn.Module):
    """Half of the channels by a convolution, the other half by a depthwise one on the first half (Han et al. 2020)."""

    def __init__(self, spec: Ghost) -> None:
        super().__init__()
        self.primary = ConvNormAct(spec.primary)
        self.cheap = ConvNormAct(spec.cheap)

    def forward(self, x: Tensor) -> Tensor:
        first = self.primary(x)
        return torch.cat([first, self.cheap(first)], 1)


def upsample(x: Tensor, mode: str) -> Tensor:
    """Upsample (B, C, H, W) to (B, C, 2H, 2W); for `mode` see `arch.spec.Upsample`."""
    if mode == "nearest":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=mode == "align_corners")


class UpsampleTwo(nn.Module):
    """Module of `upsample`."""

    def __init__(self, spec: Upsample) -> None:
        super().__init__()
        self.mode = spec.mode

    def forward(self, x: Tensor) -> Tensor:
        return upsample(x, self.mode)


class AxisScores(nn.Module):
    """Scores (B, J, bins) of maps (B, J, H, W), by one linear layer that all joints share."""

    def __init__(self, spec: AxisClassifier) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.cells, spec.bins)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.linear(x.flatten(2))
        return scores


def make_op(op: Op) -> nn.Module:
    """Return the module of an operation."""
    match op:
        case Conv():
            return ConvNormAct(op)
        case SqueezeExcite():
            return SqueezeExciteGate(op)
        case Ghost():
            return GhostModule(op)
        case MaxPool():
            return nn.MaxPool2d(3, op.stride, 1)
        case Upsample():
            return UpsampleTwo(op)
        case AxisClassifier():
            return AxisScores(op)


class ShortcutBlock(nn.Module):
    """main(x) + shortcut(x), then the activation if the spec has one."""

    def __init__(self, spec: Block, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(*(make_op(op) for op in spec.main))
        self.shortcut = nn.Sequential(*(make_op(op) for op in spec.shortcut or ()))
        self.act = activation(spec.act, channels) if spec.act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.shortcut(x) + self.main(x))
        return result


def make_block(spec: Block, channels: int) -> nn.Module:
    """Return the module of a block with `channels` output channels."""
    if spec.shortcut is None and not spec.act:
        return nn.Sequential(*(make_op(op) for op in spec.main))
    if spec.shortcut is None:
        return nn.Sequential(*(make_op(op) for op in spec.main), activation(spec.act, channels))
    return ShortcutBlock(spec, channels)
