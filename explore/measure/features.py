"""Features of a network for the prediction of its latency: sums over its operators by kind, without torch.

Kinds are, for example, depthwise 5x5 with stride 2, 1x1 and addition. Each has the number of calls and of elements read
and written; convolutions also have MACs, with channels rounded up to the vector width of kernels, and weights.
"""

from __future__ import annotations

from collections import defaultdict

from arch.cost import Shape
from arch.space import Arch
from arch.spec import AxisClassifier, Block, Conv, Ghost, MaxPool, Op, SqueezeExcite, Upsample

VECTOR = 16  # output channels that a kernel computes at once
TILE = 8  # pixels that a kernel computes at once

Sums = defaultdict[str, float]


def features(arch: Arch) -> dict[str, float]:
    """Return the sums over the operators of a network by name; missing names are zero."""
    sums: Sums = defaultdict(float)
    shapes = {-1: Shape(3, arch.input_size)}
    _add(sums, "edge in", shapes[-1].elements)
    for index, node in enumerate(arch.plan.nodes):
        channels = size = 0
        for source, resize in node.inputs:
            shape = shapes[source]
            channels, size = channels + shape.channels, shape.size
            if resize:
                size = (size - 1) // 2 + 1 if resize == "pool" else 2 * size
                _add(sums, resize, shape.channels * (shape.size**2 + size**2))
        flow = Shape(channels, size)
        if len(node.inputs) > 1:
            _add(sums, "concat", flow.elements)
        for block in node.blocks:
            flow = _block(sums, block, flow)
        shapes[index] = flow
    for index in arch.plan.outputs:
        _add(sums, "edge out", shapes[index].elements)
    return dict(sums)


def _add(sums: Sums, kind: str, elements: float, macs: float = 0, weights: float = 0) -> None:
    sums[f"{kind}: calls"] += 1
    sums[f"{kind}: elements"] += elements
    if macs:
        sums[f"{kind}: macs"] += macs
        sums[f"{kind}: weights"] += weights


def _block(sums: Sums, block: Block, flow: Shape) -> Shape:
    after = flow
    for op in block.main:
        after = _op(sums, op, after)
    if block.shortcut is not None:
        shortcut = flow
        for op in block.shortcut:
            shortcut = _op(sums, op, shortcut)
        _add(sums, "add", 3 * after.elements)
    return after


def _op(sums: Sums, op: Op, flow: Shape) -> Shape:
    """Add one operator to the sums and return its output shape."""
    match op:
        case Conv():
            return _conv(sums, op, flow)
        case Ghost():
            first = _conv(sums, op.primary, flow)
            second = _conv(sums, op.cheap, first)
            after = Shape(first.channels + second.channels, second.size)
            _add(sums, "concat", after.elements)
        case SqueezeExcite():
            _add(sums, "gate", 2 * flow.elements, macs=2 * op.channels * op.hidden, weights=2 * op.channels * op.hidden)
            after = flow
        case MaxPool():
            after = Shape(flow.channels, (flow.size - 1) // op.stride + 1)
            _add(sums, "pool", flow.elements + after.elements)
        case Upsample():
            after = Shape(flow.channels, flow.size * 2)
            _add(sums, f"up {op.mode}", flow.elements + after.elements)
        case AxisClassifier():
            after = Shape(op.joints * op.bins, 1)
            weights = op.cells * op.bins
            _add(sums, "classifier", flow.elements + after.elements, macs=op.joints * weights, weights=weights)
    return after


def _conv(sums: Sums, op: Conv, flow: Shape) -> Shape:
    after = Shape(op.cout, (flow.size - 1) // op.stride + 1)
    elements, pixels = flow.elements + after.elements, after.size**2
    if op.groups == op.cin and op.groups > 1:
        width = _round_up(op.cout, VECTOR)
        macs = width * op.kernel**2 * pixels
        _add(sums, f"depthwise {op.kernel} stride {op.stride}", elements, macs, width * op.kernel**2)
        return after
    weights = _round_up(op.cout, VECTOR) * op.cin // op.groups * op.kernel**2
    kind = "stem" if op.cin == 3 else f"dense {min(op.kernel, 3)}"
    _add(sums, kind, elements, weights * _round_up(pixels, TILE), weights)
    return after


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
