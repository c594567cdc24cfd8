"""ResNet-18 and ResNet-50 (He et al. 2016, Table 1), with the stride of a bottleneck in its 3x3 convolution."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

from arch.encoders.inverted import stem
from arch.spec import Block, Conv, MaxPool, Op, Stage, make_divisible


class Row(NamedTuple):
    """Channels inside a block, repeats, stride."""

    c: int
    n: int
    s: int


STEM = 64
RESNET18 = (Row(64, 2, 1), Row(128, 2, 2), Row(256, 2, 2), Row(512, 2, 2))
RESNET50 = (Row(64, 3, 1), Row(128, 4, 2), Row(256, 6, 2), Row(512, 3, 2))


@lru_cache(maxsize=1 << 14)
def residual(cin: int, inside: int, cout: int, stride: int, act: str) -> Block:
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1 if the output is wider; the activation follows the addition."""
    main: tuple[Op, ...]
    if inside == cout:
        main = (Conv(cin, cout, 3, stride, act=act), Conv(cout, cout, 3))
    else:
        main = (Conv(cin, inside, act=act), Conv(inside, inside, 3, stride, act=act), Conv(inside, cout))
    shortcut = () if stride == 1 and cin == cout else (Conv(cin, cout, 1, stride),)
    return Block(main, shortcut, act)


def row_stage(index: int, row: Row, width: float, act: str, expansion: int) -> Stage:
    """A stage of `row.n` blocks, `expansion` times wider than their inside; the first changes channels and stride."""
    inside = make_divisible(row.c * width)
    channels = inside * expansion

    def blocks(cin: int, stride: int) -> tuple[Block, ...]:
        first = residual(cin, inside, channels, stride, act)
        return (first, *(residual(channels, inside, channels, 1, act) for _ in range(row.n - 1)))

    return Stage(f"stage{index}", channels, row.s, blocks)


def stages(
    expansion: int, rows: tuple[Row, ...], stem_channels: int, width: float, stem_stride: int, act: str
) -> tuple[Stage, ...]:
    """A 7x7 stem, max pooling and one stage per row; widths are rounded to a multiple of eight."""
    channels = make_divisible(stem_channels * width)
    pool = Stage("pool", channels, 2, lambda cin, s: (Block((MaxPool(s),)),))
    parts = (row_stage(i, row, width, act, expansion) for i, row in enumerate(rows))
    return (stem(channels, stem_stride, act, kernel=7), pool, *parts)


basic_stages, bottleneck_stages = partial(stages, 1), partial(stages, 4)
