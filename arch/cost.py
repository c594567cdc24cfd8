"""Cost of a network in closed form from its plan: thousands of networks per second. No torch.

- `params`: as torch counts them, with BatchNorm and PReLU.
- `macs`: multiply-accumulates of convolutions and linear layers, with squeeze-and-excitation; half of the count of
  `torch.utils.flop_counter`.
- `paper_gflops`: the FLOPs column of the paper, by the convention of ptflops 0.6.9: MACs, one per bias and activation
  element, two per BatchNorm element, one per input element of a pooling. Upsampling, concatenation, addition, hardswish
  and sigmoid are not counted.
- `peak_activation_bytes_*`: maximum of the activations alive at the same time when the plan runs in order. An operation
  holds its inputs and its output; BatchNorm and activation are fused into the preceding convolution; concatenation,
  addition and resampling create a new map; a map lives until its last use. 4 bytes per element in float, 1 in INT8,
  input image and raw output included.
- `weight_bytes_*`: weights of the exported file, with BatchNorm folded. INT8: 1 byte per weight, and for each output
  channel 4 bytes of bias and 4 of scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from arch.space import Arch
from arch.spec import AxisClassifier, Block, Conv, Ghost, MaxPool, Node, Op, SqueezeExcite, Upsample

COUNTED_ACTIVATIONS = ("relu", "relu6", "leaky_relu", "prelu", "prelu_shared")  # in ptflops 0.6.9


class Tally(NamedTuple):
    """Summands of one part of a network; `extra` are the operations of paper_gflops that are not MACs."""

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
    """Counts of one part; `peak` is the maximum number of elements alive while it runs, its input included."""

    tally: Tally
    peak: int
    output: Shape


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass for one image; the module defines each number."""

    params: int
    macs: int
    paper_gflops: float
    peak_activation_bytes_float: int
    peak_activation_bytes_int8: int
    weight_bytes_float: int
    weight_bytes_int8: int


NOTHING = Tally(0, 0, 0, 0, 0, 0)


def cost(arch: Arch) -> Cost:
    """Return the cost of `arch` for one image up to the raw output of its head; decoding is not counted."""
    steps = step_counts(arch)
    return make_cost([tally for tallies, _ in steps for tally in tallies], max(peak for _, peak in steps))


def make_cost(tallies: list[Tally], peak: int) -> Cost:
    """Sum the tallies of some parts; `peak` elements are alive at the same time."""
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
    """Return for each step of the plan the tallies of its parts, and the most elements alive while it runs."""
    plan = arch.plan
    last_use = {source: index for index, node in enumerate(plan.nodes) for source, _ in node.inputs}
    last_use |= dict.fromkeys(plan.outputs, len(plan.nodes))
    shapes = {-1: Shape(3, arch.input_size)}
    alive = {-1: shapes[-1].elements}
    counts = []
    for index, node in enumerate(plan.nodes):
        flow, tallies, resampled = _inputs(node, shapes)
        later = sum(elements for source, elements in alive.items() if last_use[source] > index)
        is_new = resampled or len(node.inputs) > 1
        peak = sum(alive.values()) + resampled + (flow.elements if len(node.inputs) > 1 else 0)
        # A map that later nodes read as well stays alive through the first block, which counts it.
        kept = not is_new and last_use[node.inputs[0][0]] > index
        others = later - flow.elements if kept else later
        for block in node.blocks:
            counted = count_block(block, flow, kept)
            tallies.append(counted.tally)
            peak = max(peak, others + counted.peak)
            flow, others, kept = counted.output, later, False
        shapes[index] = flow
        alive = {source: elements for source, elements in alive.items() if last_use[source] > index}
        alive[index] = flow.elements
        counts.append((tallies, peak))
    if len(plan.outputs) > 1:  # concatenated into one raw output
        joined = 2 * sum(shapes[index].elements for index in plan.outputs)
        counts[-1] = (counts[-1][0], max(counts[-1][1], joined))
    return counts


def _inputs(node: Node, shapes: dict[int, Shape]) -> tuple[Shape, list[Tally], int]:
    """Shape of the concatenated inputs of a step, tallies of their resampling, and elements that it creates."""
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
def count_block(block: Block, flow: Shape, keeps_input: bool = False) -> Counted:
    """Count a block for an input of shape `flow`. keeps_input: the input map stays alive after the block"""
    after, peak, tallies = flow, 0, []
    held = flow.elements if keeps_input else 0
    others = 0  # the peak of the first operation includes the block's input
    for op in block.main:
        counted = count_op(op, after)
        tallies.append(counted.tally)
        peak = max(peak, others + counted.peak)
        after, others = counted.output, flow.elements if block.shortcut is not None else held
    if block.shortcut is not None:
        side, others = flow, 0
        for op in block.shortcut:
            counted = count_op(op, side)
            tallies.append(counted.tally)
            peak = max(peak, others + after.elements + counted.peak)
            side, others = counted.output, held
        peak = max(peak, others + side.elements + 2 * after.elements)
    if block.act:
        slopes = _slopes(block.act, after.channels)
        extra = after.elements if block.act in COUNTED_ACTIVATIONS else 0
        tallies.append(Tally(slopes, 0, extra, 0, 0, slopes))
    return Counted(_sum(*tallies), peak, after)


@lru_cache(maxsize=1 << 16)
def count_op(op: Op, flow: Shape) -> Counted:
    """Count an operation for an input of shape `flow`; its peak is input, output and intermediate maps."""
    match op:
        case Conv():
            return _count_conv(op, flow)
        case Ghost():
            first = _count_conv(op.primary, flow)
            second = _count_conv(op.cheap, first.output)
            after = Shape(first.output.channels + second.output.channels, second.output.size)
            return Counted(_sum(first.tally, second.tally), max(first.peak, 2 * after.elements), after)
        case SqueezeExcite():
            reduce, expand = op.convolutions()
            down = _count_conv(reduce, Shape(op.channels, 1))
            up = _count_conv(expand, down.output)
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
    size = (flow.size - 1) // op.stride + 1  # same padding, odd kernel
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
