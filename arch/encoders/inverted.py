"""Inverted residuals (Sandler et al. 2018), the block of MobileNetV2 and V3, MnasNet and EfficientNet-Lite."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

from arch.spec import Block, Conv, Op, SqueezeExcite, Stage, make_divisible

T = TypeVar("T", float, bool)
MakeBlock = Callable[[int, int, int, float, int, str, bool], Block]


class Row(NamedTuple):
    """One row of an encoder's table: expansion, channels, repeats, stride, kernel, squeeze-excite.

    If the blocks of a row differ, `t` or `se` lists one value per block; further blocks repeat the last.
    """

    t: float | tuple[float, ...]
    c: int
    n: int
    s: int
    k: int = 3
    se: bool | tuple[bool, ...] = False


def _of_block(values: T | tuple[T, ...], index: int) -> T:
    return values[min(index, len(values) - 1)] if isinstance(values, tuple) else values


@lru_cache(maxsize=1 << 14)
def inverted_residual(cin: int, cout: int, stride: int, expansion: float, kernel: int, act: str, se: bool) -> Block:
    """Expand 1x1, depthwise, optional gate, project 1x1 without activation; a shortcut if the shapes are equal."""
    hidden = make_divisible(cin * expansion)
    main: list[Op] = [] if expansion == 1 else [Conv(cin, hidden, act=act)]
    main.append(Conv(hidden, hidden, kernel, stride, groups=hidden, act=act))
    if se:
        main.append(SqueezeExcite(hidden, make_divisible(hidden / 4)))
    main.append(Conv(hidden, cout))
    return Block(tuple(main), () if stride == 1 and cin == cout else None)


def row_stage(
    index: int, row: Row, width: float, act: str, block: MakeBlock = inverted_residual, divisor: int = 8
) -> Stage:
    """A stage of `row.n` blocks; the first one changes channels and stride."""
    channels = make_divisible(row.c * width, divisor)

    def blocks(cin: int, stride: int) -> tuple[Block, ...]:
        made = []
        for repeat in range(row.n):
            t, se = _of_block(row.t, repeat), _of_block(row.se, repeat)
            made.append(block(cin, channels, stride if repeat == 0 else 1, t, row.k, act, se))
            cin = channels
        return tuple(made)

    return Stage(f"stage{index}", channels, row.s, blocks)


def stem(channels: int, stride: int, act: str, kernel: int = 3) -> Stage:
    """The first convolution."""
    return Stage("stem", channels, stride, lambda cin, s: (Block((Conv(cin, channels, kernel, s, act=act),)),))


def stem_and_rows(
    make_stage: Callable[[int, Any, float, str], Stage],
    rows: tuple[Any, ...],
    stem_channels: int,
    width: float,
    stem_stride: int,
    act: str,
    divisor: int = 8,
) -> tuple[Stage, ...]:
    """The stem and one stage per row; widths are rounded to a multiple of `divisor`."""
    first = stem(make_divisible(stem_channels * width, divisor), stem_stride, act)
    return (first, *(make_stage(index, row, width, act) for index, row in enumerate(rows)))


stages = partial(stem_and_rows, row_stage)
