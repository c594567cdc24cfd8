"""Tools on whole networks, and batches that batch normalisation cannot use."""

from __future__ import annotations

import pytest
import torch
from fvcore.nn import FlopCountAnalysis

from arch.network import build
from arch.space import preset
from explore.cli import main


@pytest.mark.parametrize("name", ["paper-XS@64", "paper-S-relu@64", "moon-resnet50@64"])
def test_fvcore_counts_through_forward(name: str) -> None:
    net = build(preset(name)).eval()
    analysis = FlopCountAnalysis(net, torch.zeros(1, 3, 64, 64))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    assert analysis.total() > 1e6


@pytest.mark.parametrize("command", [["train", "--arch", "paper-XS-relu@64"], ["train", "--supernet", "mobile"]])
def test_batches_of_one_sample(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--batch-size", "1"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: command line: batch_size: Input should be greater than or equal to 2"
    )
