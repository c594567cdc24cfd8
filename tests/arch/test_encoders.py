"""Encoders: published parameter counts, strides, and overrides of their tables."""

from __future__ import annotations

import pytest

from arch.cost import cost, make_cost, step_counts
from arch.encoders import ENCODERS
from arch.errors import InputError
from arch.plan import encoder_stages, natural_stride
from arch.space import make_arch


def normed(cin: int, cout: int) -> int:
    """Parameters of a 1x1 convolution without bias and its BatchNorm."""
    return cin * cout + 2 * cout


def linear(cin: int, cout: int = 1000) -> int:
    return cin * cout + cout


# encoder: (parameters of the classifier, published total with 1000 classes).
# torchvision: "Table of all available classification weights", column Params, exact in each model's metadata.
# timm 1.0, results-imagenet.csv gives the same rounded to 0.01M; exact as its models are built.
PUBLISHED = {
    "mobilenet_v2": (normed(320, 1280) + linear(1280), 3_504_872),  # torchvision mobilenet_v2
    "mobilenet_v3": (normed(160, 960) + linear(960, 1280) + linear(1280), 5_483_032),  # torchvision mobilenet_v3_large
    "mobilenet_v4": (normed(128, 960) + normed(960, 1280) + linear(1280), 3_774_024),  # timm mobilenetv4_conv_small
    "mobilenext": (linear(1280), 3_535_416),  # yitu-opensource/MobileNeXt: 3.5M in its README, exact by its mnext.py
    "mnasnet": (normed(320, 1280) + linear(1280), 4_383_312),  # torchvision mnasnet1_0
    "efficientnet_lite0": (normed(320, 1280) + linear(1280), 4_652_008),  # timm efficientnet_lite0
    "ghostnet": (normed(160, 960) + linear(960, 1280) + linear(1280), 5_182_508),  # timm ghostnet_100
    "resnet18": (linear(512), 11_689_512),  # torchvision resnet18
    "resnet50": (linear(2048), 25_557_032),  # torchvision resnet50
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name: str) -> None:
    classifier, published = PUBLISHED[name]
    arch = make_arch({"encoder": name, "activation": "relu", "concat": "none"})
    trunk = step_counts(arch)[: len(encoder_stages(arch))]
    assert make_cost([tally for tallies, _ in trunk for tally in tallies], 0).params + classifier == published


def test_every_encoder_has_a_published_count() -> None:
    variants = {name for name in ENCODERS if name.endswith("_mhp")} | {"mobilehumanpose"}
    assert set(ENCODERS) == set(PUBLISHED) | variants


@pytest.mark.parametrize("name", ENCODERS)
def test_strides_and_widths(name: str) -> None:
    own = ENCODERS[name].stem_stride
    assert natural_stride(name, own) == 32
    assert make_arch({"encoder": name}).stem_stride == own
    for width in (0.25, 0.5, 1.5):
        for stage in encoder_stages(make_arch({"encoder": name, "width": width})):
            assert stage.channels % 4 == 0


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3", "mnasnet", "efficientnet_lite0", "ghostnet"])
def test_overrides_of_rows(name: str) -> None:
    rows = len(ENCODERS[name].rows)
    base = make_arch({"encoder": name})
    deeper = base.replace(depths=(0,) * (rows - 1) + (ENCODERS[name].rows[-1].n + 1,))
    wider = base.replace(expansions=(0,) * (rows - 1) + (8,))
    larger = base.replace(kernels=(0,) * (rows - 1) + (7,))
    gated = base.replace(squeeze_excite=True)
    assert all(cost(other).params > cost(base).params for other in (deeper, wider, larger, gated))
    assert len({other.id for other in (base, deeper, wider, larger, gated)}) == 5
    plain = gated.replace(squeeze_excite=False)
    assert cost(plain).params <= cost(base).params


def test_unsupported_overrides_are_rejected() -> None:
    with pytest.raises(InputError, match="expansions: the stages of resnet18 have none; leave it out"):
        make_arch({"encoder": "resnet18", "expansions": [6, 6, 6, 6]})
    with pytest.raises(InputError, match="squeeze_excite: mobilenet_v4 does not support it; leave it out"):
        make_arch({"encoder": "mobilenet_v4", "squeeze_excite": True})
    with pytest.raises(InputError, match="squeeze_excite: Input should be a valid boolean"):
        make_arch({"encoder": "mobilenet_v3", "squeeze_excite": [True]})
    with pytest.raises(InputError, match="depths: mobilenet_v2 has 7 stages; give 7 numbers"):
        make_arch({"depths": [1, 2], "encoder": "mobilenet_v2"})
    with pytest.raises(InputError, match=r"kernels: .* has an even kernel; use 3, 5 or 7"):
        make_arch({"kernels": [3, 3, 4, 3, 3, 3, 3]})
