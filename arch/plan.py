"""From an Arch to the list of steps that is its network: the one place where wiring is decided."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from arch.decoder import MAX_MIDDLE, Tap, decoder_block, parts_branch
from arch.encoders import ENCODERS
from arch.errors import InputError
from arch.heads import HEADS
from arch.spec import Block, Conv, Node, Plan, Stage

if TYPE_CHECKING:
    from arch.space import Arch


def encoder_rows(arch: Arch) -> tuple[Any, ...]:
    """The encoder's table with the Arch's own depths, expansions, kernels and squeeze-excite in it."""
    rows = ENCODERS[arch.encoder].rows
    for column, values in (("n", arch.depths), ("t", arch.expansions), ("k", arch.kernels)):
        if values:
            rows = tuple(r._replace(**{column: v}) if v else r for r, v in zip(rows, values, strict=True))
    if arch.squeeze_excite is not None:
        rows = tuple(r._replace(se=arch.squeeze_excite) for r in rows)
    return rows


def encoder_stages(arch: Arch, rows: tuple[Any, ...] | None = None) -> tuple[Stage, ...]:
    """The encoder's stages by the table of `arch`, or by other rows."""
    encoder = ENCODERS[arch.encoder]
    rows = encoder_rows(arch) if rows is None else rows
    return encoder.stages(rows, encoder.stem, arch.width, arch.early_stride, arch.activation)


@lru_cache(maxsize=256)
def natural_stride(encoder: str, early_stride: int) -> int:
    """Total stride of an encoder when no stride is taken back."""
    total = 1
    table = ENCODERS[encoder]
    for stage in table.stages(table.rows, table.stem, 1.0, early_stride, "relu"):
        total *= stage.stride
    return total


def stage_strides(stages: tuple[Stage, ...], total: int) -> list[int]:
    """Strides of the stages with the last ones made one until their product is `total`."""
    strides = [stage.stride for stage in stages]
    product = 1
    for stride in strides:
        product *= stride
    for index in reversed(range(len(strides))):
        while product > total and strides[index] > 1:
            strides[index] //= 2
            product //= 2
    return strides


def make_plan(arch: Arch) -> Plan:
    """All steps of the network of `arch`, stem to head.

    Raises:
        InputError: the heatmap asks for an encoder map that does not exist.
    """
    stages = encoder_stages(arch)
    total = arch.input * 2**arch.decoder_stages // arch.heatmap
    strides = stage_strides(stages, total)
    residual = arch.concat == "residual"
    head = HEADS[arch.head]
    channels = head.channels(arch)
    nodes: list[Node] = []

    def inputs() -> tuple[tuple[int, str], ...]:
        """The previous step; with residual concat also the one before it, resampled to the same size."""
        last = len(nodes) - 1
        if not residual or last < 1:
            return ((last, ""),)
        before, after = nodes[last - 1].size, nodes[last].size
        how = "" if before == after else ("pool" if before > after else "up")
        return ((last - 1, how), (last, ""))

    def add(name: str, made: tuple[Block, ...], channels: int, size: int, wires: tuple[tuple[int, str], ...]) -> int:
        nodes.append(Node(name, wires, made, channels, size))
        return len(nodes) - 1

    def width_of(wires: tuple[tuple[int, str], ...]) -> int:
        return sum(3 if node < 0 else nodes[node].channels for node, _ in wires)

    size = arch.input
    stride = 1
    taps: dict[int, Tap] = {}
    for index, (stage, step) in enumerate(zip(stages, strides, strict=True)):
        size //= step
        stride *= step
        wires = inputs()
        node = add(stage.name, stage.blocks(width_of(wires), step), stage.channels, size, wires)
        if index < len(stages) - 1 or stride not in taps:
            taps[stride] = Tap(node, stage.channels, stride)
    if arch.inter:
        wires = inputs()
        made = (Block((Conv(width_of(wires), arch.inter, act=arch.activation),)),)
        add("inter", made, arch.inter, size, wires)

    if arch.decoder == "parts":
        trunk = ((len(nodes) - 1, ""),)
        cin = nodes[-1].channels
        small = channels // 4
        branches = [
            add("parts0", parts_branch(cin, 64, small, arch.upsample), small, arch.heatmap, trunk),
            add(
                "parts1",
                parts_branch(cin, 192, channels - small, arch.upsample),
                channels - small,
                arch.heatmap,
                trunk,
            ),
        ]
        return Plan(tuple(nodes), tuple(branches))

    for index in range(arch.decoder_stages):
        tap = taps.get(stride)
        if tap is None:
            raise InputError(
                f"heatmap: {arch.heatmap} needs an encoder map of stride {stride}, which {arch.encoder} with "
                f"early_stride {arch.early_stride} does not have; take a smaller heatmap or decoder_stages"
            )
        wires = inputs()
        if arch.concat == "skip":
            wires = ((tap.node, ""), *wires)
        middle = arch.decoder_width if residual else min(tap.channels, MAX_MIDDLE)
        size *= 2
        stride //= 2
        made = (
            decoder_block(
                width_of(wires), middle, arch.decoder_width, arch.decoder_conv, arch.activation, arch.upsample
            ),
        )
        add(f"decoder{index}", made, arch.decoder_width, size, wires)
    last = ((len(nodes) - 1, ""),)
    readout = Block((Conv(width_of(last), channels, bias=True, norm=False), *head.readout(arch)))
    output = add("head", (readout,), channels, size, last)
    return Plan(tuple(nodes), (output,))
