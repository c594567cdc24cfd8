"""MobileNetV2 (Sandler et al. 2018, Table 2) and MobileHumanPose's change of its early channels (Section 3)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from arch.spec import Block, Conv, Op, SqueezeExcite, Stage, make_divisible


class Row(NamedTuple):
    """One line of the paper's table: expansion, channels, repeats, stride; then kernel and squeeze-excite."""

    t: float
    c: int
    n: int
    s: int
    k: int = 3
    se: bool = False


ORIGINAL = (
    Row(1, 16, 1, 1),
    Row(6, 24, 2, 2),
    Row(6, 32, 3, 2),
    Row(6, 64, 4, 2),
    Row(6, 96, 3, 1),
    Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)

# The first four blocks are wider and, with a stem of stride one, the first map keeps the full resolution.
MODIFIED = (
    Row(1, 64, 1, 1),
    Row(6, 48, 2, 2),
    Row(6, 48, 3, 2),
    Row(6, 64, 4, 2),
    Row(6, 96, 3, 2),
    Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)


@lru_cache(maxsize=1 << 14)
def inverted_residual(cin: int, cout: int, stride: int, expansion: float, kernel: int, act: str,
                      se: SqueezeExcite | None = None) -> Block:
    """Expand 1x1, depthwise, optional gate, project 1x1 without activation; a shortcut where shapes agree."""
    hidden = round(cin * expansion)
    main: list[Op] = [] if expansion == 1 else [Conv(cin, hidden, act=act)]
    main.append(Conv(hidden, hidden, kernel, stride, groups=hidden, act=act))
    if se:
        main.append(se)
    main.append(Conv(hidden, cout))
    return Block(tuple(main), () if stride == 1 and cin == cout else None)


def row_stage(index: int, row: Row, width: float, act: str, gate: str = "hardsigmoid") -> Stage:
    """A stage of `row.n` inverted residual blocks, the first of which changes channels and stride."""
    channels = make_divisible(row.c * width)

    def blocks(cin: int, stride: int) -> tuple[Block, ...]:
        made = []
        for repeat in range(row.n):
            hidden = round(cin * row.t)
            se = SqueezeExcite(hidden, make_divisible(hidden / 4), gate) if row.se else None
            made.append(inverted_residual(cin, channels, stride if repeat == 0 else 1, row.t, row.k, act, se))
            cin = channels
        return tuple(made)

    return Stage(f"stage{index}", channels, row.s, blocks)


def stem(channels: int, stride: int, act: str) -> Stage:
    """The first 3x3 convolution."""
    return Stage("stem", channels, stride, lambda cin, s: (Block((Conv(cin, channels, 3, s, act=act),)),))


def stages(rows: tuple[Row, ...], stem_channels: int, width: float, early_stride: int, act: str) -> tuple[Stage, ...]:
    """Stem and stages, each width rounded to a multiple of eight."""
    first = stem(make_divisible(stem_channels * width), early_stride, act)
    return (first, *(row_stage(i, row, width, act) for i, row in enumerate(rows)))
