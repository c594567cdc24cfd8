"""What a network costs, in closed form from its plan alone: thousands of networks a second. No torch.

- `params`: as torch counts them, BatchNorm and PReLU included.
- `macs`: multiplications of convolutions and linear layers, squeeze-excite included; half of what
  `torch.utils.flop_counter` reports.
- `paper_gflops`: the paper's FLOPS column. ptflops 0.6.9's convention: MACs, one for each bias and activation element,
  two for each BatchNorm element, one for each input element of a pooling; upsampling, concat, addition, hardswish and
  sigmoid are free.
- `peak_activation_bytes_*`: the most that is alive at once when the plan runs in order. An operation holds its inputs
  and its output together; BatchNorm and activation are fused into the convolution before them; concat, addition and
  resampling make a new map; a map lives until its last use. Float: 4 bytes an element, INT8: 1, image and raw output
  included.
- `weight_bytes_*`: weights as shipped, BatchNorm folded. INT8: 1 byte a weight, 4 for each output channel's bias and
  4 for its scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from arch.space import Arch
from arch.spec import AxisClassifier, Block, Conv, Ghost, MaxPool, Node, Op, SqueezeExcite, Upsample

COUNTED_ACTIVATIONS = ("relu", "relu6", "leaky_relu", "prelu", "prelu_shared")  # by ptflops 0.6.9


class Tally(NamedTuple):
    """What a part of a network adds to the sums; `extra` is what paper_gflops counts beside MACs."""

    params: int
    macs: int
    extra: int
    weights: int
    biases: int
    slopes: int


class Shape(NamedTuple):
    channels: int
    size: int

    @property
    def elements(self) -> int:
        return self.channels * self.size * self.size


class Counted(NamedTuple):
    """A part's tally, the most elements alive in it with its input, and the shape of its output."""

    tally: Tally
    peak: int
    after: Shape


@dataclass(frozen=True)
class Cost:
    """The cost of one image through one network; see the module for what each number counts."""

    params: int
    macs: int
    paper_gflops: float
    peak_activation_bytes_float: int
    peak_activation_bytes_int8: int
    weight_bytes_float: int
    weight_bytes_int8: int


NOTHING = Tally(0, 0, 0, 0, 0, 0)


def cost(arch: Arch) -> Cost:
    """The cost of `arch` up to the raw output of its head, for one image; decoding is not counted."""
    steps = step_counts(arch)
    return make_cost([tally for tallies, _ in steps for tally in tallies], max(peak for _, peak in steps))


def make_cost(tallies: list[Tally], peak: int) -> Cost:
    """The sum of some parts, `peak` elements alive at once."""
    params, macs, extra, weights, biases, slopes = map(sum, zip(NOTHING, *tallies, strict=True))
    return Cost(
        params=params,
        macs=macs,
        paper_gflops=(macs + extra) / 1e9,
        peak_activation_bytes_float=4 * peak,
        peak_activation_bytes_int8=peak,
        weight_bytes_float=4 * (weights + biases + slopes),
        weight_bytes_int8=weights + 8 * biases + slopes,
    )


def step_counts(arch: Arch) -> list[tuple[list[Tally], int]]:
    """For each step of the plan the tallies of its parts, and the elements alive at once while it runs."""
    plan = arch.plan
    last_use = {source: index for index, node in enumerate(plan.nodes) for source, _ in node.inputs}
    last_use |= dict.fromkeys(plan.outputs, len(plan.nodes))
    shapes = {-1: Shape(3, arch.input)}
    alive = {-1: shapes[-1].elements}
    counts = []
    for index, node in enumerate(plan.nodes):
        flow, tallies, resampled = _inputs(node, shapes)
        kept = sum(elements for source, elements in alive.items() if last_use[source] > index)
        is_new = resampled or len(node.inputs) > 1
        peak = sum(alive.values()) + resampled + (flow.elements if len(node.inputs) > 1 else 0)
        # A map that goes on into the blocks as it is counts as theirs while the first one runs.
        beside = kept if is_new or last_use[node.inputs[0][0]] == index else kept - flow.elements
        for block in node.blocks:
            counted = count_block(block, flow)
            tallies.append(counted.tally)
            peak = max(peak, beside + counted.peak)
            flow, beside = counted.after, kept
        shapes[index] = flow
        alive = {source: elements for source, elements in alive.items() if last_use[source] > index}
        alive[index] = flow.elements
        counts.append((tallies, peak))
    if len(plan.outputs) > 1:  # joined into one raw output
        joined = 2 * sum(shapes[index].elements for index in plan.outputs)
        counts[-1] = (counts[-1][0], max(counts[-1][1], joined))
    return counts


def _inputs(node: Node, shapes: dict[int, Shape]) -> tuple[Shape, list[Tally], int]:
    """What goes into a step's blocks, what bringing it to one size costs, and the elements newly made for that."""
    channels = size = resampled = 0
    tallies = []
    for source, how in node.inputs:
        shape = shapes[source]
        channels, size = channels + shape.channels, shape.size
        if how == "pool":
            size //= 2
            tallies.append(NOTHING._replace(extra=shape.elements))
        elif how == "up":
            size *= 2
        if how:
            resampled += shape.channels * size * size
    return Shape(channels, size), tallies, resampled


@lru_cache(maxsize=1 << 16)
def count_block(block: Block, flow: Shape) -> Counted:
    """A block whose input has that shape."""
    after, peak, tallies = flow, 0, []
    beside = 0  # the block's input is in the first operation's own peak
    for op in block.main:
        counted = count_op(op, after)
        tallies.append(counted.tally)
        peak = max(peak, beside + counted.peak)
        after, beside = counted.after, flow.elements if block.shortcut is not None else 0
    if block.shortcut is not None:
        side = flow
        for op in block.shortcut:
            counted = count_op(op, side)
            tallies.append(counted.tally)
            peak = max(peak, after.elements + counted.peak)
            side = counted.after
        peak = max(peak, side.elements + 2 * after.elements)
    if block.act:
        slopes = _slopes(block.act, after.channels)
        extra = after.elements if block.act in COUNTED_ACTIVATIONS else 0
        tallies.append(Tally(slopes, 0, extra, 0, 0, slopes))
    return Counted(_sum(*tallies), peak, after)


@lru_cache(maxsize=1 << 16)
def count_op(op: Op, flow: Shape) -> Counted:
    """An operation whose input has that shape; its peak is input and output, and what it makes in between."""
    match op:
        case Conv():
            return _count_conv(op, flow)
        case Ghost():
            first = _count_conv(op.primary, flow)
            second = _count_conv(op.cheap, first.after)
            after = Shape(first.after.channels + second.after.channels, second.after.size)
            return Counted(_sum(first.tally, second.tally), max(first.peak, 2 * after.elements), after)
        case SqueezeExcite():
            down = _count_conv(
                Conv(op.channels, op.hidden, bias=op.bias, norm=op.norm, act="relu"), Shape(op.channels, 1)
            )
            up = _count_conv(Conv(op.hidden, op.channels, bias=op.bias, norm=False, act=op.gate), down.after)
            pooling = NOTHING._replace(extra=flow.elements)
            return Counted(_sum(pooling, down.tally, up.tally), 2 * flow.elements + op.channels, flow)
        case MaxPool():
            after = Shape(flow.channels, (flow.size - 1) // op.stride + 1)
            return Counted(NOTHING._replace(extra=flow.elements), flow.elements + after.elements, after)
        case Upsample():
            after = Shape(flow.channels, flow.size * 2)
            return Counted(NOTHING, flow.elements + after.elements, after)
        case AxisClassifier():
            weights, after = op.cells * op.bins, Shape(op.joints * op.bins, 1)
            tally = Tally(weights + op.bins, op.joints * weights, op.bins, weights, op.bins, 0)
            return Counted(tally, flow.elements + after.elements, after)


def _count_conv(op: Conv, flow: Shape) -> Counted:
    size = (flow.size - 1) // op.stride + 1  # same padding of an odd kernel
    outputs = op.cout * size * size
    weights = op.cout * (op.cin // op.groups) * op.kernel * op.kernel
    slopes = _slopes(op.act, op.cout)
    tally = Tally(
        params=weights + op.cout * (op.bias + 2 * op.norm) + slopes,
        macs=weights * size * size,
        extra=outputs * (op.bias + 2 * op.norm + (op.act in COUNTED_ACTIVATIONS)),
        weights=weights,
        biases=op.cout if op.bias or op.norm else 0,
        slopes=slopes,
    )
    return Counted(tally, flow.elements + outputs, Shape(op.cout, size))


def _slopes(act: str, channels: int) -> int:
    return {"prelu": channels, "prelu_shared": 1}.get(act, 0)


def _sum(*tallies: Tally) -> Tally:
    return Tally(*map(sum, zip(*tallies, strict=True)))
