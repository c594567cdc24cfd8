"""MobileNetV4-Conv-Small (Qin et al. 2024, appendix, Table 11): universal inverted bottlenecks."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

from arch.encoders.inverted import stem_and_rows
from arch.spec import Block, Conv, Op, Stage, make_divisible


class Uib(NamedTuple):
    """Universal inverted bottleneck: kernels of the depthwise layers before and after the expansion (0: no layer).

    Both layers: ExtraDW; only the second: inverted residual; only the first: ConvNext-like.
    """

    start: int
    middle: int
    t: float


class Row(NamedTuple):
    """Channels, stride and blocks of a stage; without blocks, a 3x3 convolution and a 1x1 convolution to `narrow`."""

    c: int
    s: int
    blocks: tuple[Uib, ...] = ()
    narrow: int = 0


STEM = 32
CONV_SMALL = (
    Row(32, 2, narrow=32),
    Row(96, 2, narrow=64),
    Row(96, 2, (Uib(5, 5, 3), *[Uib(0, 3, 2)] * 4, Uib(3, 0, 4))),
    Row(128, 2, (Uib(3, 3, 6), Uib(5, 5, 4), Uib(0, 5, 4), Uib(0, 5, 3), Uib(0, 3, 4), Uib(0, 3, 4))),
)


@lru_cache(maxsize=1 << 14)
def bottleneck(cin: int, cout: int, stride: int, uib: Uib, act: str) -> Block:
    """Depthwise, expand 1x1, depthwise, project 1x1; activations after the expansion and the second depthwise."""
    hidden = make_divisible(cin * uib.t)
    main: list[Op] = []
    if uib.start:
        main.append(Conv(cin, cin, uib.start, 1 if uib.middle else stride, groups=cin))
    main.append(Conv(cin, hidden, act=act))
    if uib.middle:
        main.append(Conv(hidden, hidden, uib.middle, stride, groups=hidden, act=act))
    main.append(Conv(hidden, cout))
    return Block(tuple(main), () if stride == 1 and cin == cout else None)


def row_stage(index: int, row: Row, width: float, act: str) -> Stage:
    """A stage; its first block or convolution changes channels and stride."""
    wide, narrow = make_divisible(row.c * width), make_divisible(row.narrow * width)

    def convolutions(cin: int, stride: int) -> tuple[Block, ...]:
        return (Block((Conv(cin, wide, 3, stride, act=act), Conv(wide, narrow, act=act))),)

    def blocks(cin: int, stride: int) -> tuple[Block, ...]:
        first, *others = row.blocks
        return (bottleneck(cin, wide, stride, first, act), *(bottleneck(wide, wide, 1, uib, act) for uib in others))

    if row.blocks:
        return Stage(f"stage{index}", wide, row.s, blocks)
    return Stage(f"stage{index}", narrow, row.s, convolutions)


stages = partial(stem_and_rows, row_stage)
