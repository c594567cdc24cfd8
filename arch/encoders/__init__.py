"""The registry of encoders: a name, its table of stages and how to make them. No torch.

An encoder tells its stages by channels and stride, nothing else; see `arch.plan` for how they are wired. A table's row
may have `n`, `t`, `k` and `se`, which an Arch can change (`depths`, `expansions`, `kernels`, `squeeze_excite`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from arch.encoders import (
    efficientnet_lite,
    ghostnet,
    inverted,
    mnasnet,
    mobilenet_v2,
    mobilenet_v3,
    mobilenet_v4,
    mobilenext,
    resnet,
)
from arch.spec import Stage


class Encoder(NamedTuple):
    """`stages(rows, stem, width, early_stride, act)` makes the encoder from its table, which an Arch may change."""

    rows: tuple[Any, ...]
    stem: int
    stages: Callable[[tuple[Any, ...], int, float, int, str], tuple[Stage, ...]] = inverted.stages
    early_stride: int = 2  # the family's own


# Names that end in _mhp: as MobileHumanPose's Table 2 had the family, as far as both printed digits tell.
ENCODERS: dict[str, Encoder] = {
    "mobilenet_v2": Encoder(mobilenet_v2.ORIGINAL, mobilenet_v2.STEM),
    "mobilehumanpose": Encoder(mobilenet_v2.MODIFIED, mobilenet_v2.MODIFIED_STEM, early_stride=1),
    "mobilenet_v3": Encoder(mobilenet_v3.LARGE, mobilenet_v3.STEM),
    "mobilenet_v3_mhp": Encoder(mobilenet_v3.LATE_STRIDE, mobilenet_v3.STEM, early_stride=1),
    "mobilenet_v4": Encoder(mobilenet_v4.CONV_SMALL, mobilenet_v4.STEM, mobilenet_v4.stages),
    "mobilenext": Encoder(mobilenext.ORIGINAL, mobilenext.STEM, mobilenext.stages),
    "mobilenext_mhp": Encoder(mobilenext.SHORT, mobilenext.STEM, mobilenext.stages),
    "mnasnet": Encoder(mnasnet.B1, mnasnet.STEM),
    "efficientnet_lite0": Encoder(efficientnet_lite.LITE0, efficientnet_lite.STEM),
    "ghostnet": Encoder(ghostnet.ORIGINAL, ghostnet.STEM, ghostnet.stages),
    "ghostnet_mhp": Encoder(ghostnet.SHORT, ghostnet.STEM, ghostnet.short_stages),
    "resnet18": Encoder(resnet.RESNET18, resnet.STEM, resnet.basic_stages),
    "resnet50": Encoder(resnet.RESNET50, resnet.STEM, resnet.bottleneck_stages),
}
