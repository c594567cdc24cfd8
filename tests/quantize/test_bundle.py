"""A bundle runs without torch, and only as it was written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from arch.decode import to_normalised
from arch.errors import InputError
from arch.files import content_hash
from arch.network import build
from quantize import bundle
from quantize.bundle import Bundle
from quantize.convert import PROJECT
from quantize.manifest import Calibration, Data, Skeleton
from quantize.recipes import recipe
from quantize.runtimes import RUNTIMES
from quantize.weights import load_weights
from tests.quantize.conftest import Case, small_arch

Change = Callable[[dict[str, Any]], None]
SKELETON = Skeleton(name="chain", joints=tuple(f"j{i}" for i in range(17)), edges=((0, 1), (1, 2)), root=0)


def write(path: Path, model: Path, runtime: str = "onnxruntime", **changes: Any) -> Bundle:
    given: dict[str, Any] = {
        "arch": small_arch(),
        "recipe": recipe("int8-static"),
        "skeleton": SKELETON,
        "data": Data(name="synthetic", hash="0123456789ab"),
        "calibration": Calibration(count=24, seed=3, hash="ba9876543210"),
        "metrics": {"mpjpe_mm": 101.5},
        "seed": 3,
        "config_hash": "abc",
    }
    return bundle.write(path, model, runtime=runtime, **(given | changes))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model file that nobody opens."""
    path = tmp_path / "made" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(b"weights" * 100)
    return path


def test_round_trip(tmp_path: Path, model: Path) -> None:
    written = write(tmp_path / "b", model)
    loaded = bundle.load(tmp_path / "b")
    assert loaded == written
    about = loaded.manifest
    assert loaded.arch == small_arch() and about.arch_id == small_arch().id and about.recipe == recipe("int8-static")
    assert loaded.bytes == 700 and loaded.model.read_bytes() == model.read_bytes()
    assert about.preprocessing.size == 64 and about.preprocessing.box_padding == 1.25
    assert about.postprocessing.head == "depthmap" and about.postprocessing.depth_range_mm == 2000
    assert {"python", "numpy", "torch", "openvino"} <= about.versions.keys() and about.machine["cores"] >= 1
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["manifest.json", "model.onnx", "run.py"]


def test_annotate(tmp_path: Path, model: Path) -> None:
    first = write(tmp_path / "b", model)
    bundle.annotate(first, metrics={"latency_ms": 2.5}, certificate={"gates": []})
    loaded = bundle.load(tmp_path / "b")
    assert loaded.manifest.metrics == {"mpjpe_mm": 101.5, "latency_ms": 2.5}
    assert loaded.manifest.certificate == {"gates": []}


def test_failed_write_leaves_the_old_bundle(tmp_path: Path, model: Path) -> None:
    write(tmp_path / "b", model)
    before = {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    with pytest.raises(InputError, match="chain has 2 joints, the arch has 17"):
        write(tmp_path / "b", model, skeleton=Skeleton(name="chain", joints=("a", "b"), edges=(), root=0))
    with pytest.raises(InputError, match=r"model.xml: no such file"):
        write(tmp_path / "b", model, runtime="openvino")
    with pytest.raises(ValidationError, match="finite"):
        write(tmp_path / "b", model, metrics={"mpjpe_mm": float("nan")})
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "made"]


def edited(path: Path, change: Change, sign: bool) -> None:
    """Change the manifest's values; `sign` renews its checksum, as another program might."""
    values = json.loads((path / "manifest.json").read_text())
    change(values)
    if sign:
        values.pop("checksum")
        values["checksum"] = content_hash(values, 16)
    (path / "manifest.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v["metrics"].update(mpjpe_mm=1.0), "checksum: the manifest was changed after it was written"),
        (lambda v: v.pop("checksum"), "checksum"),
        (lambda v: v.update(schema_version=2), "schema_version: 2, this edgepose reads 1"),
        (lambda v: v.pop("schema_version"), "schema_version: None"),
    ],
)
def test_edited_by_hand(tmp_path: Path, model: Path, change: Change, said: str) -> None:
    write(tmp_path / "b", model)
    edited(tmp_path / "b", change, sign=False)
    with pytest.raises(InputError, match=said):
        bundle.load(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v["files"][0].update(name="../made/model.onnx"), r"files.0.name"),
        (lambda v: v["files"][0].update(name="/etc/passwd"), r"files.0.name"),
        (lambda v: v["files"][0].update(name=".hidden"), r"files.0.name"),
        (lambda v: v["files"][0].update(name="other.onnx"), "other.onnx: named in the manifest but not a file"),
        (lambda v: v["files"][0].update(bytes=1), "700 bytes, the manifest says 1"),
        (lambda v: v.update(files=[]), "files: "),
        (lambda v: v.update(surprise=1), "surprise: "),
        (lambda v: v.update(runtime="tensorrt"), "runtime: 'tensorrt' is not one of"),
        (lambda v: v.update(runtime="../evil"), "runtime: "),
        (lambda v: v["arch"].update(width=0.5), "arch_id: .* is not the id of the arch"),
        (lambda v: v["arch"].update(heatmap=512), "arch"),
        (lambda v: v["skeleton"].update(joints=["a"]), "skeleton: 1 joints, the arch has 17"),
        (lambda v: v.update(data=None), "data: "),
    ],
)
def test_manifest_that_lies(tmp_path: Path, model: Path, change: Change, said: str) -> None:
    write(tmp_path / "b", model)
    edited(tmp_path / "b", change, sign=True)
    with pytest.raises(InputError, match=said) as caught:
        bundle.load(tmp_path / "b")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\x00\xff"])
def test_no_manifest_at_all(tmp_path: Path, model: Path, text: str) -> None:
    write(tmp_path / "b", model)
    (tmp_path / "b" / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest.json: is no .*manifest"):
        bundle.load(tmp_path / "b")
    with pytest.raises(InputError, match=r"is no bundle, it holds no manifest.json"):
        bundle.load(tmp_path)


def test_changed_model_file(tmp_path: Path, model: Path) -> None:
    made = write(tmp_path / "b", model)
    made.model.write_bytes(b"Weights" * 100)
    with pytest.raises(InputError, match=r"model.onnx: its SHA-256 is not the manifest's"):
        bundle.load(tmp_path / "b")
    made.model.unlink()
    made.model.symlink_to(model)
    with pytest.raises(InputError, match=r"model.onnx: .*not a file of the bundle"):
        bundle.load(tmp_path / "b")


def test_crops_of_another_size(tmp_path: Path, model: Path) -> None:
    made = write(tmp_path / "b", model)
    for wrong in (np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)):
        with pytest.raises(InputError, match=r"this bundle takes uint8 \(N, 64, 64, 3\)"):
            made.normalise(wrong)


PREDICT = """
import sys
import numpy as np
from quantize import bundle
made = bundle.load(sys.argv[1])
session = made.session()
joints, confidence = made.run_crops(np.load(sys.argv[2]), session)
session.close()
np.savez(sys.argv[3], joints=joints, confidence=confidence)
heavy = {"torch", "nncf", "litert_torch", "ai_edge_quantizer", "tensorflow", "jax", "matplotlib", "optuna", "explore"}
print(sorted(heavy & sys.modules.keys()))
"""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_prediction_needs_no_torch(
    runtime: str, case: Callable[[str], Case], exported: Callable[[str, str, str], Path], tmp_path: Path
) -> None:
    given = case("depthmap")
    made = write(tmp_path / "b", exported(runtime, "depthmap", "float"), runtime, recipe=recipe("float"))
    mean, std = (np.array(v, np.float32) for v in (made.manifest.preprocessing.mean, made.manifest.preprocessing.std))
    crops = np.clip((given.unseen.transpose(0, 2, 3, 1) * std + mean) * 255, 0, 255).round().astype(np.uint8)
    np.save(tmp_path / "crops.npy", crops)
    command = [sys.executable, "-c", PREDICT, *(str(tmp_path / name) for name in ("b", "crops.npy", "out.npz"))]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    found = np.load(tmp_path / "out.npz")
    assert found["joints"].shape == (4, 17, 3) and found["confidence"].shape == (4, 17)
    net = build(given.arch).eval()
    load_weights(net, given.weights)
    with torch.no_grad():
        cells = net(torch.from_numpy(made.normalise(crops))).numpy()
    expected = to_normalised(cells, given.arch)
    assert np.abs(found["joints"] - expected).max() < 1e-4
    assert np.abs(found["joints"][::-1] - expected).max() > 1e-2, "joints that follow no picture would pass"
    assert (found["confidence"] > 0).all() and (found["confidence"] <= 1).all()


def test_no_people_no_joints(tmp_path: Path, model: Path) -> None:
    made = write(tmp_path / "b", model)
    joints, confidence = made.run_crops(np.zeros((0, 64, 64, 3), np.uint8), session=None)  # type: ignore[arg-type]
    assert joints.shape == (0, 17, 3) and confidence.shape == (0, 17)
