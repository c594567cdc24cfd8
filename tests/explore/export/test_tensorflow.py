"""Comparison of exported files with TensorFlow, an optional dependency."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from arch.network import build
from arch.space import preset
from explore.cli import main
from explore.export import tensorflow
from tests.helpers.networks import QUICK_EXPORT, smooth_images

MISSING = importlib.util.find_spec("tensorflow") is None
needed = pytest.mark.skipif(MISSING, reason="tensorflow is not installed: pip install 'edgepose[tensorflow]'")


@needed
def test_verify_and_saved_model(
    checkpoint: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--runtimes=litert", "--verify=tensorflow", "--saved-model", f"--out={tmp_path / 'out'}"]
    assert main(["export", str(checkpoint("relu")), *options, *QUICK_EXPORT, "--force", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["tensorflow"]["float"]["max"] < 0.1
    assert row["tensorflow"]["int8-static"]["mean"] < 1.0
    assert row["saved_model"]["max"] < 0.1
    assert (tmp_path / "out" / "saved_model" / "saved_model.pb").is_file()


@needed
@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "prelu", "concat": "skip"},
        {"activation": "hardswish", "head": "simcc"},
        {"encoder": "mobilenet_v3", "activation": "relu6", "head": "heatmap-2.5d"},
        {"encoder": "resnet18", "activation": "leaky_relu"},
    ],
)
def test_saved_model_matches_the_network(changes: dict[str, str], tmp_path: Path) -> None:
    net = build(preset("paper-XS-relu@64").replace(**changes), 0).eval()
    x = smooth_images(2, 64, 0)
    with torch.no_grad():
        expected = net.forward_heatmaps(torch.from_numpy(x)).numpy()
    found = tensorflow.save_model(net, tmp_path / "saved", x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
