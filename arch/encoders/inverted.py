"""Inverted residuals (Sandler et al. 2018), the block of MobileNetV2 and V3, MnasNet and EfficientNet-Lite."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TypeVar

from arch.spec import Block, Conv, Op, SqueezeExcite, Stage, make_divisible

T = TypeVar("T", float, bool)


class Row(NamedTuple):
    """One line of a family's table: expansion, channels, repeats, stride; then kernel and squeeze-excite.

    Where the blocks of a line differ, `t` or `se` lists one value a block; more blocks repeat the last.
    """

    t: float | tuple[float, ...]
    c: int
    n: int
    s: int
    k: int = 3
    se: bool | tuple[bool, ...] = False


def of_block(values: T | tuple[T, ...], index: int) -> T:
    """The value of one block of a row."""
    return values[min(index, len(values) - 1)] if isinstance(values, tuple) else values


@lru_cache(maxsize=1 << 14)
def inverted_residual(
    cin: int, cout: int, stride: int, expansion: float, kernel: int, act: str, se: SqueezeExcite | None = None
) -> Block:
    """Expand 1x1, depthwise, optional gate, project 1x1 without activation; a shortcut where shapes agree."""
    hidden = make_divisible(cin * expansion)
    main: list[Op] = [] if expansion == 1 else [Conv(cin, hidden, act=act)]
    main.append(Conv(hidden, hidden, kernel, stride, groups=hidden, act=act))
    if se:
        main.append(se)
    main.append(Conv(hidden, cout))
    return Block(tuple(main), () if stride == 1 and cin == cout else None)


def row_stage(index: int, row: Row, width: float, act: str) -> Stage:
    """A stage of `row.n` inverted residual blocks, the first of which changes channels and stride."""
    channels = make_divisible(row.c * width)

    def blocks(cin: int, stride: int) -> tuple[Block, ...]:
        made = []
        for repeat in range(row.n):
            t = of_block(row.t, repeat)
            hidden = make_divisible(cin * t)
            se = SqueezeExcite(hidden, make_divisible(hidden / 4)) if of_block(row.se, repeat) else None
            made.append(inverted_residual(cin, channels, stride if repeat == 0 else 1, t, row.k, act, se))
            cin = channels
        return tuple(made)

    return Stage(f"stage{index}", channels, row.s, blocks)


def stem(channels: int, stride: int, act: str, kernel: int = 3) -> Stage:
    """The first convolution."""
    return Stage("stem", channels, stride, lambda cin, s: (Block((Conv(cin, channels, kernel, s, act=act),)),))


def stages(rows: tuple[Row, ...], stem_channels: int, width: float, early_stride: int, act: str) -> tuple[Stage, ...]:
    """Stem and stages, each width rounded to a multiple of eight."""
    first = stem(make_divisible(stem_channels * width), early_stride, act)
    return (first, *(row_stage(i, row, width, act) for i, row in enumerate(rows)))
