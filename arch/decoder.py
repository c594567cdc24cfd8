"""From an encoder's taps to heatmaps: concat none, skip or residual (paper, Figure 3), over taps alone."""

from __future__ import annotations

from typing import NamedTuple

from arch.spec import Block, Conv, Op, Upsample

MAX_MIDDLE = 256


class Tap(NamedTuple):
    """A feature map of the encoder that the decoder may use: its node, channels and stride."""

    node: int
    channels: int
    stride: int


def decoder_block(cin: int, middle: int, cout: int, conv: str, act: str, upsample: str) -> Block:
    """1x1 to the middle width, 3x3 (dense, or depthwise and 1x1), then upsampling by two (reference: DeConv)."""
    main: list[Op] = [Conv(cin, middle, bias=True, act=act)]
    if conv == "dense":
        main.append(Conv(middle, cout, 3, bias=True, act=act))
    else:
        main += [Conv(middle, middle, 3, groups=middle, act=act), Conv(middle, cout, act=act)]
    return Block((*main, Upsample(upsample)))


def parts_branch(cin: int, width: int, cout: int, upsample: str) -> tuple[Block, ...]:
    """One branch of the decoder of Tables 2 and 3: bilinear, 3x3; then twice bilinear, depthwise 3x3; 1x1."""
    up = Upsample(upsample)
    return (
        Block((up, Conv(cin, width, 3, act="relu"))),
        Block((up, Conv(width, width, 3, groups=width, act="relu"))),
        Block((up, Conv(width, width, 3, groups=width, act="relu"))),
        Block((Conv(width, cout, bias=True, norm=False),)),
    )
