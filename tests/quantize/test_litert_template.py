"""Conversions of the same architecture: the template gives the file that litert-torch would make."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from arch.encoders import ENCODERS
from arch.network import build
from arch.space import Arch
from quantize import litert_template
from quantize.graph import RawOutput, inference_module
from quantize.litert_template import convert
from quantize.tflite_metadata import read_model, write_model

SMALL: dict[str, Any] = {
    "input_size": 32, "heatmap_size": 8, "depth_bins": 8, "intermediate_channels": 32, "width": 0.25, "decoder_width": 16,
}  # fmt: skip


def network(arch: Arch, seed: int) -> RawOutput:
    """Return a network whose weights, those of BatchNorm and PReLU included, are all different."""
    net = build(arch, seed).eval()
    random = torch.Generator().manual_seed(seed)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            for value in (part.weight, part.bias, part.running_mean):
                assert value is not None
                value.data.normal_(generator=random)
        if isinstance(part, nn.PReLU):
            part.weight.data.uniform_(generator=random)
    return inference_module(net)


def check(arch: Arch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert two networks; the second file is made without the converter, and equals the converter's."""
    convert(network(arch, 1), arch)
    other, converter = network(arch, 2), litert_template._convert
    with monkeypatch.context() as patch:
        patch.setattr(litert_template, "_convert", None)
        made = convert(other, arch)
    assert made == write_model(read_model(converter(other, arch)))


def test_a_second_network_is_converted_without_the_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squeeze-and-excitation adds 3 to biases, the head has a linear layer, and the decoder PReLUs."""
    check(Arch(**SMALL, encoder="mobilenet_v3", head="simcc", activation="prelu"), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_has_a_template(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(Arch(**SMALL, encoder=encoder), monkeypatch)


def test_where_the_converter_changes_weights_each_network_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    arch = Arch(**SMALL, encoder="resnet18")
    monkeypatch.setattr(litert_template, "_make_template", lambda module, arch: None)
    monkeypatch.setattr(litert_template, "_convert", lambda module, arch: b"its own file")
    monkeypatch.setattr(litert_template, "_templates", type(litert_template._templates)())
    assert convert(network(arch, 1), arch) == b"its own file"
