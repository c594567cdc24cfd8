"""Comparison with the paper's reference code: equal params and, with copied weights, equal output.

Runs only if EDGEPOSE_REFERENCE is the path of a clone of SangbumChoi/MobileHumanPose, whose code is not part of this
repository.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from arch.cost import cost
from arch.network import build
from arch.space import make_arch

REFERENCE = os.environ.get("EDGEPOSE_REFERENCE")
pytestmark = pytest.mark.skipif(
    REFERENCE is None, reason="EDGEPOSE_REFERENCE is not set to a clone of the reference code"
)
NETWORKS = [
    ("lpnet_wo_concat", "LpNetWoConcat", {"concat": "none"}),
    ("lpnet_wo_concat", "LpNetWoConcat", {"concat": "none", "width": 0.75, "intermediate_channels": 512}),
    ("lpnet_res_concat", "LpNetResConcat", {"concat": "residual"}),
]


def reference(monkeypatch: pytest.MonkeyPatch, file: str, name: str, **options: Any) -> nn.Module:
    """A network of the reference code for 256 px and 18 joints; a stub replaces its import of torchsummary."""
    stub = ModuleType("torchsummary")
    stub.summary = lambda *_: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchsummary", stub)
    path = Path(str(REFERENCE)) / "common" / "backbone" / f"{file}.py"
    spec = importlib.util.spec_from_file_location(file, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: nn.Module = getattr(module, name)((256, 256), 18, **options)
    return made


def randomise(net: nn.Module) -> None:
    """Give BatchNorm and PReLU values other than their defaults, so that a difference shows."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3, generator=generator)
            nn.init.normal_(module.bias, 0, 0.1, generator=generator)
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.05, 0.35, generator=generator)


@pytest.mark.parametrize(("file", "name", "values"), NETWORKS, ids=lambda value: str(value))
def test_equal_params_and_output(monkeypatch: pytest.MonkeyPatch, file: str, name: str, values: Any) -> None:
    torch.set_num_threads(1)
    arch = make_arch({"upsample": "align_corners", **values})
    theirs = reference(monkeypatch, file, name, embedding_size=arch.intermediate_channels, width_mult=arch.width).eval()
    randomise(theirs)
    ours = build(arch).eval()
    copied = list(theirs.state_dict().values())
    assert sum(p.numel() for p in theirs.parameters()) == cost(arch).params
    mine = ours.state_dict()
    assert [value.shape for value in mine.values()] == [value.shape for value in copied]
    ours.load_state_dict(dict(zip(mine, copied, strict=True)))
    x = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, made = theirs(x), ours.forward_heatmaps(x)
    difference = float((made - expected).abs().max() / expected.abs().max())
    print(f"{name}: {cost(arch).params} params, largest difference {difference:.2e} of the largest value")
    assert difference < 1e-5
