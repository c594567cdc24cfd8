"""TensorFlow as a second opinion: where it is missing that is said in a line; where it is installed it must agree."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from arch.network import build
from arch.space import preset
from explore.cli import main
from explore.train.checkpoint import save_network
from quantize import tensorflow_files
from tests.quantize.conftest import small_arch, smooth_pictures

MISSING = importlib.util.find_spec("tensorflow") is None
needed = pytest.mark.skipif(MISSING, reason="tensorflow is not installed: pip install 'edgepose[tensorflow]'")
QUICK = ["--dataset.train=24", "--dataset.test=8", "--measure.rounds=3", "--measure.calls=3", "--measure.budget=0.5"]


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    save_network(tmp_path / "net.safetensors", build(small_arch().replace(joints=18), 0).eval(), {})
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("option", ["--verify=tensorflow", "--saved-model"])
def test_missing_extra(
    option: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tensorflow_files.importlib.util, "find_spec", lambda name: None)
    assert main(["export", str(checkpoint), option]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "pip install 'edgepose[tensorflow]'" in said[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--verify=jax"], "verify: 'jax'"), (["--verify=tensorflow", "--runtimes=openvino"], "add litert")],
)
def test_wrong_input(options: list[str], said: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(checkpoint), *options]) == 2
    assert said in capsys.readouterr().err


@needed
def test_export_verified(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--runtimes=litert", "--verify=tensorflow", "--saved-model", f"--out={tmp_path / 'out'}"]
    assert main(["export", str(checkpoint), *options, *QUICK, "--no-gates", "--json"]) == 0
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
        {"encoder": "mobilenet_v3", "activation": "relu6", "head": "depthmap"},
        {"encoder": "resnet18", "activation": "leaky_relu"},
    ],
)
def test_saved_model_is_the_network(changes: dict[str, str], tmp_path: Path) -> None:
    net = build(preset("paper-XS-relu@64").replace(**changes), 0).eval()
    x = smooth_pictures(2, 64, 0)
    with torch.no_grad():
        expected = net.forward_heatmaps(torch.from_numpy(x)).numpy()
    found = tensorflow_files.save_model(net, tmp_path / "saved", x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
