"""A network as plain data: what the builder builds and the cost model counts. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

SIMCC_SPLIT = 2  # bins a heatmap cell on the x and y axes of the simcc head


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
    """Channel gate: global average, 1x1 to `hidden`, ReLU, 1x1 back, `gate`, multiply."""

    channels: int
    hidden: int
    gate: str = "hardsigmoid"
    bias: bool = True
    norm: bool = False


class Ghost(NamedTuple):
    """Ghost module: a 1x1 `primary` makes half of the channels, a depthwise 3x3 `cheap` the other half."""

    primary: Conv
    cheap: Conv


class MaxPool(NamedTuple):
    kernel: int = 3
    stride: int = 2


class Upsample(NamedTuple):
    """Factor two; `mode` is half_pixel, align_corners (both bilinear) or nearest."""

    mode: str


class AxisClassifier(NamedTuple):
    """SimCC (Li et al. 2022): each joint's map of `cells` values to `bins` scores, one set of bins an axis."""

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
    """One stage of an encoder: `blocks(cin, stride)` makes it for any input width and stride."""

    name: str
    channels: int
    stride: int
    blocks: Callable[[int, int], tuple[Block, ...]]


class Node(NamedTuple):
    """One step of the network: inputs are resampled, concatenated, then go through the blocks.

    `inputs` pairs the index of an earlier node (-1: the image) with how it is resampled: "" as it is, "pool"
    (average, 3x3, stride 2) or "up" (factor two). `channels` and `size` tell the output.
    """

    name: str
    inputs: tuple[tuple[int, str], ...]
    blocks: tuple[Block, ...]
    channels: int
    size: int


class Plan(NamedTuple):
    """The whole network in order of evaluation; `outputs` are concatenated into the raw output of the head."""

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]


def signature(part: Any) -> Any:
    """The part as nested lists for hashing; values at their defaults are left out, so new fields change no hash."""
    if not isinstance(part, tuple):
        return part
    defaults: dict[str, Any] = getattr(part, "_field_defaults", {})
    names = getattr(part, "_fields", None)
    if names is None:
        return [signature(value) for value in part]
    changed = [[n, signature(v)] for n, v in zip(names, part, strict=True) if n not in defaults or defaults[n] != v]
    return [type(part).__name__, *changed]


def make_divisible(value: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor` that is not more than 10% below `value` (MobileNetV2, appendix)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
