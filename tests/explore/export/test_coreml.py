"""Core ML packages: converted, and evaluated from the saved file; coremltools is an optional dependency."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from explore.cli import main
from quantize import coreml_child
from tests.helpers.networks import QUICK_EXPORT

MISSING = importlib.util.find_spec("coremltools") is None
needed = pytest.mark.skipif(MISSING, reason="coremltools is not installed: pip install 'edgepose[coreml]'")


@pytest.mark.parametrize(("average", "expected"), [(True, [[2.5, 4.5], [10.5, 12.5]]), (False, [[5, 7], [13, 15]])])
def test_pooling(average: bool, expected: list[list[float]]) -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    given = {"kernel_sizes": np.array([2, 2]), "strides": np.array([2, 2]), "pad_type": "valid", "x": x}
    assert coreml_child._pool(given, average)[0, 0].tolist() == expected


def test_weights_are_dequantized_per_channel() -> None:
    given = {
        "quantized_data": np.array([[1, 2], [3, 4]], np.int8),
        "zero_point": np.array([0, 1], np.int8),
        "scale": np.array([0.5, 2.0], np.float32),
        "axis": np.int32(0),
    }
    assert torch.equal(coreml_child._dequantize(given), torch.tensor([[0.5, 1.0], [4.0, 6.0]]))


@needed
def test_packages_and_their_certificate(
    checkpoint: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--runtimes=onnxruntime", "--quantization=float", "--coreml", f"--out={tmp_path / 'out'}"]
    assert main(["export", str(checkpoint("relu")), *options, *QUICK_EXPORT, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    made = json.loads((tmp_path / "out" / "coreml" / "certificate.json").read_text())
    assert made == row["coreml"] and made["status"] == "converted, not run" and "latency" not in made
    half, small = made["packages"]
    assert 0 < half["deviation_mm"]["mean"] < 1 and half["mpjpe_increase_mm"] < 1
    assert half["deviation_mm"]["mean"] < small["deviation_mm"]["mean"]
    assert small["bytes"] < half["bytes"] and small["operators"]["constexpr_affine_dequantize"] > 20
    assert half["operators"]["conv"] == small["operators"]["conv"]
    assert (tmp_path / "out" / "coreml" / "int8-weights.mlpackage" / "Manifest.json").is_file()
