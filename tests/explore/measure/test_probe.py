"""The measuring program: alone, and its twins of the project's own code."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arch.decode import decode
from explore.measure import probe
from explore.measure.probe import Block
from explore.measure.rows import Model
from quantize import bundle
from tests.quantize.conftest import HEADS, small_arch

RUNTIMES = ("litert", "openvino", "onnxruntime")


def test_imports_nothing_but_numpy_and_runtimes() -> None:
    tree = ast.parse(Path(probe.__file__).read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    allowed = {"numpy", "ai_edge_litert", "tflite_runtime", "openvino", "onnxruntime"}
    assert {name.split(".")[0] for name in imported} <= allowed | sys.stdlib_module_names
    ast.parse(Path(probe.__file__).read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("head", HEADS)
def test_decodes_as_the_project_does(head: str) -> None:
    arch = small_arch(head)
    cells, bins = arch.heatmap, arch.depth_bins
    shapes = {
        "volumetric": (1, 17 * bins, cells, cells),
        "depthmap": (1, 34, cells, cells),
        "simcc": (1, 17, 4 * cells + bins),
    }
    raw = np.random.default_rng(0).normal(size=shapes[head]).astype(np.float32) * 3
    assert np.allclose(probe.decode(raw, head, cells, bins), decode(raw, arch)[0], atol=1e-4)


def test_crop_at_full_size_changes_nothing_but_the_scale_of_values() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    made = probe.to_input(photo, (10.0, 5.0, 40.0), 40, mean, std)
    expected = (photo[5:45, 10:50] / 255 - 0.5) / 0.25
    assert made.shape == (1, 3, 40, 40)
    assert np.allclose(made[0].transpose(1, 2, 0), expected, atol=1e-5)
    half = probe.to_input(photo, (10.0, 5.0, 40.0), 20, mean, std)
    assert np.allclose(half[0, :, 3, 4], expected[6:8, 8:10].mean((0, 1)), atol=1e-5)  # between four pixels


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_runs_a_file_as_the_project_does(runtime: str, model_of: Callable[[str], Model]) -> None:
    model = model_of(runtime)
    x = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    session = bundle.load(model.name).session()
    network = probe.RUNTIMES[runtime](str(model.files[0]), 1)
    network.put(x)
    network.run()
    assert np.allclose(network.take(), session.run(x), atol=1e-5)
    assert network.facts()["delegated"] == 1.0


def test_a_lone_thread_must_be_busy_and_several_must_not_wait_for_the_processor() -> None:
    ms = np.ones(3)
    assert Block(ms, 0.9, 0.0).disturbed(1, 0.95)
    assert not Block(ms, 0.96, 0.0).disturbed(1, 0.95)
    assert not Block(ms, 0.6, 0.01).disturbed(2, 0.95)  # they waited for each other
    assert Block(ms, 0.96, 0.2).disturbed(2, 0.95)
    assert Block(ms, 0.6, None).disturbed(2, 0.95)  # the kernel does not say: the strict rule


def test_intervals_hold_the_true_ratio() -> None:
    rng = np.random.default_rng(0)
    drift = 1 + 0.1 * np.sin(np.arange(12))
    one = [Block(rng.normal(2.0 * d, 0.05, 30), 1.0, 0.0) for d in drift]
    two = [Block(rng.normal(3.0 * d, 0.05, 30), 1.0, 0.0) for d in drift]
    found = probe.summary(two, one, 0, 0.03)
    assert found["ratio_low"] <= 1.5 <= found["ratio_high"] and found["ratio_high"] - found["ratio_low"] < 0.05
    assert found["high_ms"] - found["low_ms"] > 0.1  # lone times drift, ratios do not
    assert found["settled"] and found["calls"] == 360


def test_the_machine_says_what_it_is() -> None:
    about, now = probe.machine(), probe.state()
    assert about["cores"] >= 1 and about["processor"] and about["system"]
    assert now["load"] is None or now["load"] >= 0
