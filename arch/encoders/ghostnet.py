"""GhostNet (Han et al. 2020, Table 1): half of the channels of a layer are depthwise convolutions of the other half."""

from __future__ import annotations

from functools import lru_cache, partial

from arch.encoders.inverted import Row, stem_and_rows
from arch.encoders.inverted import row_stage as inverted_stage
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

# Truncated after 112 channels, then a strided 1x1 convolution: a guess that reproduces MobileHumanPose's Table 2.
SHORT = ORIGINAL[:5]
SHORT_LAST = 512


def ghost(cin: int, cout: int, act: str) -> Ghost:
    """Half of the channels by a 1x1 convolution, the other half by a depthwise 3x3 of the first half."""
    half = cout // 2
    return Ghost(Conv(cin, half, act=act), Conv(half, half, 3, groups=half, act=act))


@lru_cache(maxsize=1 << 14)
def ghost_bottleneck(cin: int, cout: int, stride: int, expansion: float, kernel: int, act: str, se: bool) -> Block:
    """Ghost module, depthwise convolution if strided, optional gate, ghost module without activation."""
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


row_stage = partial(inverted_stage, block=ghost_bottleneck, divisor=4)
stages = partial(stem_and_rows, row_stage, divisor=4)


def short_stages(
    rows: tuple[Row, ...], stem_channels: int, width: float, stem_stride: int, act: str
) -> tuple[Stage, ...]:
    """`stages` followed by a strided 1x1 convolution."""
    channels = make_divisible(SHORT_LAST * width, 4)
    last = Stage("last", channels, 2, lambda cin, s: (Block((Conv(cin, channels, 1, s, act=act),)),))
    return (*stages(rows, stem_channels, width, stem_stride, act), last)
