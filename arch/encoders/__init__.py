"""Registry of encoders. No torch.

An encoder is a table of rows and a function that makes its stages, which expose only channels and stride; `arch.plan`
wires them. An Arch can override the columns `n`, `t`, `k` and `se` of a table (`depths`, `expansions`, `kernels`,
`squeeze_excite`).
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
    """One family: `stages(rows, stem, width, stem_stride, act)` makes the stages from its table or a changed one.

    `stem` is the number of channels and `stem_stride` the default stride of the first convolution.
    """

    rows: tuple[Any, ...]
    stem: int
    stages: Callable[[tuple[Any, ...], int, float, int, str], tuple[Stage, ...]] = inverted.stages
    stem_stride: int = 2


# Names ending in _mhp: variants that reproduce the digits of MobileHumanPose's Table 2.
ENCODERS: dict[str, Encoder] = {
    "mobilenet_v2": Encoder(mobilenet_v2.ORIGINAL, mobilenet_v2.STEM),
    "mobilehumanpose": Encoder(mobilenet_v2.MODIFIED, mobilenet_v2.MODIFIED_STEM, stem_stride=1),
    "mobilenet_v3": Encoder(mobilenet_v3.LARGE, mobilenet_v3.STEM),
    "mobilenet_v3_mhp": Encoder(mobilenet_v3.LATE_STRIDE, mobilenet_v3.STEM, stem_stride=1),
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
