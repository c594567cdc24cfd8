"""From the fields of a network to its steps, from stem to head. All wiring is decided here."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from arch.encoders import ENCODERS
from arch.errors import InputError
from arch.fields import ArchFields
from arch.heads import HEADS
from arch.spec import Block, Conv, Node, Op, Plan, Stage, Upsample

MAX_MIDDLE = 256  # channels of a decoder block's first convolution at most
PARTS_BRANCH_WIDTHS = (64, 192)

Wires = tuple[tuple[int, str], ...]  # see `arch.spec.Node.inputs`


class Tap(NamedTuple):
    """An encoder feature map for the skip concatenation: its node and channels."""

    node: int
    channels: int


def encoder_rows(arch: ArchFields) -> tuple[Any, ...]:
    """The encoder's table with the depths, expansions, kernels and squeeze-and-excitation of `arch`."""
    rows = ENCODERS[arch.encoder].rows
    for column, values in (("n", arch.depths), ("t", arch.expansions), ("k", arch.kernels)):
        if values:
            rows = tuple(r._replace(**{column: v}) if v else r for r, v in zip(rows, values, strict=True))
    if arch.squeeze_excite is not None:
        rows = tuple(r._replace(se=arch.squeeze_excite) for r in rows)
    return rows


def encoder_stages(arch: ArchFields, rows: tuple[Any, ...] | None = None) -> tuple[Stage, ...]:
    """The encoder's stages, by default from the rows of `arch`."""
    encoder = ENCODERS[arch.encoder]
    rows = encoder_rows(arch) if rows is None else rows
    return encoder.stages(rows, encoder.stem, arch.width, arch.stem_stride, arch.activation)


@lru_cache(maxsize=256)
def natural_stride(encoder: str, stem_stride: int) -> int:
    """Total stride of an encoder before `stage_strides` reduces it."""
    table = ENCODERS[encoder]
    return prod(stage.stride for stage in table.stages(table.rows, table.stem, 1.0, stem_stride, "relu"))


def encoder_stride(arch: ArchFields) -> int:
    """Total stride of the encoder that leads from the input size to the heatmap size with the decoder's stages."""
    return arch.input_size * 2**arch.decoder_stages // arch.heatmap_size


def stage_strides(stages: tuple[Stage, ...], total: int) -> list[int]:
    """Strides of the stages; the last ones are reduced to 1 until the product is `total`."""
    strides = [stage.stride for stage in stages]
    for index in reversed(range(len(strides))):
        while prod(strides) > total and strides[index] > 1:
            strides[index] //= 2
    return strides


class _Wiring:
    """The steps added so far. With residual concatenation, each step reads the previous two."""

    def __init__(self, residual: bool) -> None:
        self.residual = residual
        self.nodes: list[Node] = []

    def add(self, name: str, blocks: tuple[Block, ...], channels: int, size: int, wires: Wires) -> int:
        self.nodes.append(Node(name, wires, blocks, channels, size))
        return len(self.nodes) - 1

    def last(self) -> Wires:
        return ((len(self.nodes) - 1, ""),)

    def previous(self) -> Wires:
        """The last step; with residual concatenation also the one before it, resampled to the same size."""
        last = len(self.nodes) - 1
        if not self.residual or last < 1:
            return self.last()
        before, after = self.nodes[last - 1].size, self.nodes[last].size
        how = "" if before == after else "pool" if before > after else "up"
        return ((last - 1, how), (last, ""))

    def channels(self, wires: Wires) -> int:
        """Channels of the concatenation of `wires`."""
        return sum(3 if node < 0 else self.nodes[node].channels for node, _ in wires)


def make_plan(arch: ArchFields) -> Plan:
    """Return all steps of a network, from stem to head.

    Raises:
        InputError: the heatmap size requires an encoder feature map that does not exist.
    """
    wiring = _Wiring(arch.concat == "residual")
    head, spec = HEADS[arch.head], arch.head_spec
    size, stride = arch.input_size, 1
    taps: dict[int, Tap] = {}  # by stride

    stages = encoder_stages(arch)
    strides = stage_strides(stages, encoder_stride(arch))
    for index, (stage, step) in enumerate(zip(stages, strides, strict=True)):
        size //= step
        stride *= step
        wires = wiring.previous()
        blocks = stage.blocks(wiring.channels(wires), step)
        node = wiring.add(stage.name, blocks, stage.channels, size, wires)
        if index < len(stages) - 1 or stride not in taps:
            taps[stride] = Tap(node, stage.channels)
    if arch.intermediate_channels:
        wires = wiring.previous()
        conv = Conv(wiring.channels(wires), arch.intermediate_channels, act=arch.activation)
        wiring.add("inter", (Block((conv,)),), arch.intermediate_channels, size, wires)

    if arch.decoder == "parts":
        trunk, cin = wiring.last(), wiring.nodes[-1].channels
        first = head.channels(spec) // 4
        outputs = []
        for index, cout in enumerate((first, head.channels(spec) - first)):
            blocks = parts_branch(cin, PARTS_BRANCH_WIDTHS[index], cout, arch.upsample)
            outputs.append(wiring.add(f"parts{index}", blocks, cout, arch.heatmap_size, trunk))
        return Plan(tuple(wiring.nodes), tuple(outputs))

    for index in range(arch.decoder_stages):
        tap = taps.get(stride)
        if tap is None:
            raise InputError(
                f"heatmap_size: {arch.heatmap_size} cells require an encoder feature map of stride {stride}, which "
                f"{arch.encoder} with stem_stride {arch.stem_stride} lacks; use a smaller heatmap_size or decoder_stages"
            )
        wires = wiring.previous()
        if arch.concat == "skip":
            wires = ((tap.node, ""), *wires)
        middle = arch.decoder_width if wiring.residual else min(tap.channels, MAX_MIDDLE)
        size *= 2
        stride //= 2
        block = decoder_block(wiring.channels(wires), middle, arch)
        wiring.add(f"decoder{index}", (block,), arch.decoder_width, size, wires)

    wires, channels = wiring.last(), head.channels(spec)
    readout = Block((Conv(wiring.channels(wires), channels, bias=True, norm=False), *head.readout(spec)))
    output = wiring.add("head", (readout,), channels, size, wires)
    return Plan(tuple(wiring.nodes), (output,))


def decoder_block(cin: int, middle: int, arch: ArchFields) -> Block:
    """1x1 convolution to `middle` channels, dense or separable 3x3, upsampling by two (the reference's DeConv)."""
    act, cout = arch.activation, arch.decoder_width
    main: list[Op] = [Conv(cin, middle, bias=True, act=act)]
    if arch.decoder_conv == "dense":
        main.append(Conv(middle, cout, 3, bias=True, act=act))
    else:
        main += [Conv(middle, middle, 3, groups=middle, act=act), Conv(middle, cout, act=act)]
    return Block((*main, Upsample(arch.upsample)))


def parts_branch(cin: int, width: int, cout: int, upsample: str) -> tuple[Block, ...]:
    """One branch of the decoder of the paper's Tables 2 and 3: upsampling by eight with 3x3 convolutions, then 1x1."""
    up = Upsample(upsample)
    return (
        Block((up, Conv(cin, width, 3, act="relu"))),
        *[Block((up, Conv(width, width, 3, groups=width, act="relu")))] * 2,
        Block((Conv(width, cout, bias=True, norm=False),)),
    )
