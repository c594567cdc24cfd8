"""GhostNet (Han et al. 2020, Table 1): half of each layer's channels are cheap depthwise images of the other half."""

from __future__ import annotations

from functools import lru_cache

from arch.encoders.inverted import Row, of_block, stem
from arch.spec import Block, Conv, Ghost, Op, SqueezeExcite, Stage, make_divisible

STEM = 16
ORIGINAL = (
    Row(1, 16, 1, 1),
    Row(3, 24, 2, 2),
    Row(3, 40, 2, 2, 5, True),
    Row((6, 2.5, 2.3, 2.3), 80, 4, 2),
    Row(6, 112, 2, 1, 3, True),
    Row(6, 160, 5, 2, 5, (True, False, True, False, True)),
)

# Cut after 112 channels, then one strided 1x1 convolution: a guess that fits both digits of MobileHumanPose's Table 2.
SHORT = ORIGINAL[:5]
SHORT_LAST = 512


def ghost(cin: int, cout: int, act: str) -> Ghost:
    """Half of the channels by a 1x1 convolution, the other half from those by a depthwise 3x3."""
    half = cout // 2
    return Ghost(Conv(cin, half, act=act), Conv(half, half, 3, groups=half, act=act))


@lru_cache(maxsize=1 << 14)
def ghost_bottleneck(cin: int, cout: int, stride: int, expansion: float, kernel: int, act: str, se: bool) -> Block:
    """Ghost module, depthwise where there is a stride, optional gate, ghost module without activation."""
    hidden = make_divisible(cin * expansion, 4)
    main: list[Op] = [ghost(cin, hidden, act)]
    if stride > 1:
        main.append(Conv(hidden, hidden, kernel, stride, groups=hidden))
    if se:
        main.append(SqueezeExcite(hidden, make_divisible(hidden / 4, 4)))
    main.append(ghost(hidden, cout, ""))
    if stride == 1 and cin == cout:
        return Block(tuple(main), ())
    return Block(tuple(main), (Conv(cin, cin, kernel, stride, groups=cin), Conv(cin, cout)))


def row_stage(index: int, row: Row, width: float, act: str) -> Stage:
    """A stage of `row.n` ghost bottlenecks, the first of which changes channels and stride."""
    channels = make_divisible(row.c * width, 4)

    def blocks(cin: int, stride: int) -> tuple[Block, ...]:
        made = []
        for repeat in range(row.n):
            t, se = of_block(row.t, repeat), of_block(row.se, repeat)
            made.append(ghost_bottleneck(cin, channels, stride if repeat == 0 else 1, t, row.k, act, se))
            cin = channels
        return tuple(made)

    return Stage(f"stage{index}", channels, row.s, blocks)


def stages(rows: tuple[Row, ...], stem_channels: int, width: float, early_stride: int, act: str) -> tuple[Stage, ...]:
    """Stem and stages, each width rounded to a multiple of four."""
    first = stem(make_divisible(stem_channels * width, 4), early_stride, act)
    return (first, *(row_stage(i, row, width, act) for i, row in enumerate(rows)))


def short_stages(
    rows: tuple[Row, ...], stem_channels: int, width: float, early_stride: int, act: str
) -> tuple[Stage, ...]:
    """The same with the strided 1x1 convolution at the end."""
    channels = make_divisible(SHORT_LAST * width, 4)
    last = Stage("last", channels, 2, lambda cin, s: (Block((Conv(cin, channels, 1, s, act=act),)),))
    return (*stages(rows, stem_channels, width, early_stride, act), last)
