"""MobileNeXt (Zhou et al. 2020, Table 3): sandglass blocks, with the shortcut between their wide ends."""

from __future__ import annotations

from functools import lru_cache, partial
from math import ceil
from typing import NamedTuple

from arch.encoders.inverted import stem_and_rows
from arch.spec import Block, Conv, Op, Stage, make_divisible


class Row(NamedTuple):
    """Reduction, channels, repeats, stride; `spatial`: the first block has both depthwise layers and no shortcut."""

    t: float
    c: int
    n: int
    s: int
    spatial: bool = False


STEM = 32
ORIGINAL = (
    Row(2, 96, 1, 2, True), Row(6, 144, 1, 1, True), Row(6, 192, 3, 2), Row(6, 288, 3, 2), Row(6, 384, 4, 1),
    Row(6, 576, 4, 2), Row(6, 960, 3, 1), Row(6, 1280, 1, 1, True),
)  # fmt: skip

# Truncated, with a narrower last stage: reproduces MobileHumanPose's Table 2.
SHORT = (*ORIGINAL[:5], Row(6, 512, 1, 2))


@lru_cache(maxsize=1 << 14)
def sandglass(cin: int, cout: int, stride: int, t: float, spatial: bool, downsamples: bool, act: str) -> Block:
    """Depthwise 3x3, reduce 1x1 without activation, expand 1x1, depthwise 3x3 without activation.

    A block that changes channels has no depthwise layers, except the last one if it `downsamples`.
    """
    hidden = int(cin // t)
    if hidden < cout / 6:
        hidden = make_divisible(ceil(cout / 6), 16)
    same = cin == cout and stride == 1
    main: list[Op] = []
    if same or spatial:
        main.append(Conv(cin, cin, 3, groups=cin, act=act))
    main += [Conv(cin, hidden), Conv(hidden, cout, act=act)]
    if same or spatial or downsamples:
        main.append(Conv(cout, cout, 3, stride, groups=cout))
    return Block(tuple(main), () if same and not spatial else None)


def row_stage(index: int, row: Row, width: float, act: str) -> Stage:
    """A stage of `row.n` sandglass blocks; the first one changes channels and stride."""
    channels = make_divisible(row.c * width)

    def blocks(cin: int, stride: int) -> tuple[Block, ...]:
        first = sandglass(cin, channels, stride, row.t, row.spatial, row.s > 1, act)
        return (first, *(sandglass(channels, channels, 1, row.t, False, False, act) for _ in range(row.n - 1)))

    return Stage(f"stage{index}", channels, row.s, blocks)


stages = partial(stem_and_rows, row_stage)
