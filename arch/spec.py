"""Building blocks of a network as plain data, shared by the builder (`arch.network`) and the cost model. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

SIMCC_SPLIT = 2  # SimCC bins per heatmap cell along x and y


class HeadSpec(NamedTuple):
    """Everything a head depends on; see `arch.heads`. `heatmap_size` and `depth_bins` are in cells."""

    name: str
    num_joints: int
    heatmap_size: int
    depth_bins: int


class Conv(NamedTuple):
    """Convolution, then BatchNorm if `norm`, then the activation named by `act` ("" for none)."""

    cin: int
    cout: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bias: bool = False
    norm: bool = True
    act: str = ""


class SqueezeExcite(NamedTuple):
    """Channel gate: global average pooling, 1x1 to `hidden`, ReLU, 1x1 back, hard sigmoid, multiply."""

    channels: int
    hidden: int

    def convolutions(self) -> tuple[Conv, Conv]:
        """The two 1x1 convolutions: reduce and expand."""
        return (
            Conv(self.channels, self.hidden, bias=True, norm=False, act="relu"),
            Conv(self.hidden, self.channels, bias=True, norm=False, act="hardsigmoid"),
        )


class Ghost(NamedTuple):
    """Ghost module: a 1x1 `primary` makes half of the channels, a depthwise 3x3 `cheap` the other half."""

    primary: Conv
    cheap: Conv


class MaxPool(NamedTuple):
    """Max pooling, 3x3, with same padding."""

    stride: int = 2


class Upsample(NamedTuple):
    """Upsampling by two; `mode` is half_pixel, align_corners (both bilinear) or nearest."""

    mode: str


class AxisClassifier(NamedTuple):
    """SimCC (Li et al. 2022): a linear layer from each joint's map of `cells` values to `bins` scores."""

    joints: int
    cells: int
    bins: int


Op = Conv | SqueezeExcite | Ghost | MaxPool | Upsample | AxisClassifier


class Block(NamedTuple):
    """`main(x)`, plus `shortcut(x)` unless it is None (an empty shortcut is the identity), then `act`."""

    main: tuple[Op, ...]
    shortcut: tuple[Op, ...] | None = None
    act: str = ""


class Stage(NamedTuple):
    """One stage of an encoder; `blocks(cin, stride)` returns its blocks for any input width and stride."""

    name: str
    channels: int
    stride: int
    blocks: Callable[[int, int], tuple[Block, ...]]


class Node(NamedTuple):
    """One step of the network: its inputs are resampled and concatenated, then go through the blocks.

    `inputs` pairs the index of an earlier node (-1: the image) with its resampling: "" for none, "pool" (average
    pooling, 3x3, stride 2) or "up" (upsampling by two). `channels` and `size` describe the output.
    """

    name: str
    inputs: tuple[tuple[int, str], ...]
    blocks: tuple[Block, ...]
    channels: int
    size: int


class Plan(NamedTuple):
    """The whole network in order of execution; `outputs` are concatenated into the raw output of the head."""

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]


def signature(part: Any) -> Any:
    """Convert `part` to nested lists for hashing.

    Fields at their default values are omitted, so that a new field with a default changes no hash.
    """
    if not isinstance(part, tuple):
        return part
    defaults: dict[str, Any] = getattr(part, "_field_defaults", {})
    names = getattr(part, "_fields", None)
    if names is None:
        return [signature(value) for value in part]
    changed = [[n, signature(v)] for n, v in zip(names, part, strict=True) if n not in defaults or defaults[n] != v]
    return [type(part).__name__, *changed]


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round to the nearest multiple of `divisor`, but never more than 10% below `value` (MobileNetV2, appendix)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
