"""The registry of encoders: a name, its table of stages and how to make them. No torch.

An encoder tells its stages by channels and stride, nothing else; see `arch.plan` for how they are wired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from arch.encoders import mobilenet_v2
from arch.spec import Stage


class Encoder(NamedTuple):
    """`stages(rows, width, early_stride, act)` makes the encoder; `rows` is its table, which an Arch may change."""

    rows: tuple[Any, ...]
    stages: Callable[[tuple[Any, ...], float, int, str], tuple[Stage, ...]]
    early_stride: int  # the family's own


ENCODERS: dict[str, Encoder] = {
    "mobilenet_v2": Encoder(
        mobilenet_v2.ORIGINAL, lambda rows, w, s, act: mobilenet_v2.stages(rows, 32, w, s, act), 2
    ),
    "mobilehumanpose": Encoder(
        mobilenet_v2.MODIFIED, lambda rows, w, s, act: mobilenet_v2.stages(rows, 48, w, s, act), 1
    ),
}
