"""Bundles: writing, verification, compatibility with version 0.1, and prediction without torch."""

from __future__ import annotations

import json
import shutil
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
from quantize import bundle
from quantize.certificate import Certificate
from quantize.checkpoint import load_network
from quantize.child_process import environment
from quantize.manifest import Skeleton
from quantize.recipes import recipe
from tests.helpers.networks import Case, small_arch, write_bundle
from tests.helpers.runtimes import every_runtime

Change = Callable[[dict[str, Any]], None]
REFERENCE = Path(__file__).resolve().parents[2] / "results" / "version-0.1" / "bundles"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model file that is never opened."""
    path = tmp_path / "made" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(b"weights" * 100)
    return path


def test_round_trip(tmp_path: Path, model: Path) -> None:
    written = write_bundle(tmp_path / "b", model)
    loaded = bundle.load(tmp_path / "b")
    assert loaded == written
    about = loaded.manifest
    assert loaded.arch == small_arch() and about.arch_id == small_arch().id and about.recipe == recipe("int8-static")
    assert loaded.bytes == 700 and loaded.model.read_bytes() == model.read_bytes()
    assert about.preprocessing.size == 64 and about.preprocessing.box_padding == 1.25
    assert about.postprocessing.head == "heatmap-2.5d" and about.postprocessing.depth_range_mm == 2000
    assert {"python", "numpy", "torch", "openvino"} <= about.versions.keys() and about.machine["cores"] >= 1
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["manifest.json", "model.onnx", "run.py"]


def test_annotate_adds_to_the_manifest(tmp_path: Path, model: Path) -> None:
    first = write_bundle(tmp_path / "b", model)
    bundle.annotate(first, metrics={"latency_ms": 2.5}, certificate={"checks": []})
    loaded = bundle.load(tmp_path / "b")
    assert loaded.manifest.metrics == {"mpjpe_mm": 101.5, "latency_ms": 2.5}
    assert loaded.manifest.certificate == {"checks": []}


@pytest.mark.parametrize("folder", sorted(REFERENCE.glob("*/*")), ids=lambda path: "-".join(path.parts[-2:]))
def test_bundles_of_version_0_1_are_readable(folder: Path) -> None:
    values = json.loads((folder / "manifest.json").read_text())
    loaded = bundle.load(folder)
    about, certificate = loaded.manifest, Certificate.model_validate(loaded.manifest.certificate)
    assert loaded.arch.id == values["arch_id"] and about.postprocessing.head == loaded.arch.head
    assert about.postprocessing.depth_scale == values["postprocessing"].get("depth_gain", 1.0)
    assert [check.passed for check in certificate.checks] == [gate["holds"] for gate in values["certificate"]["gates"]]
    assert about.recipe.float_fallback_layers == tuple(values["recipe"]["float_islands"])


def test_annotated_bundle_of_version_0_1_keeps_a_fitting_runner(tmp_path: Path) -> None:
    folder = shutil.copytree(next(REFERENCE.glob("*/*")), tmp_path / "b")
    assert "depth_gain" in (folder / "run.py").read_text()
    bundle.annotate(bundle.load(folder), metrics={"latency_ms": 2.5})
    assert "depth_scale" in (folder / "run.py").read_text() and "depth_scale" in (folder / "manifest.json").read_text()


def test_failed_write_leaves_the_old_bundle(tmp_path: Path, model: Path) -> None:
    write_bundle(tmp_path / "b", model)
    before = {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    with pytest.raises(InputError, match="chain has 2 joints, the arch has 17"):
        write_bundle(tmp_path / "b", model, skeleton=Skeleton(name="chain", joints=("a", "b"), edges=(), root=0))
    with pytest.raises(InputError, match=r"model.xml: no such file"):
        write_bundle(tmp_path / "b", model, runtime="openvino")
    with pytest.raises(ValidationError, match="finite"):
        write_bundle(tmp_path / "b", model, metrics={"mpjpe_mm": float("nan")})
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "made"]


def edited(path: Path, change: Change, sign: bool) -> None:
    """Change the values of a manifest; `sign` also corrects the checksum, as another program might."""
    values = json.loads((path / "manifest.json").read_text())
    change(values)
    if sign:
        values.pop("checksum")
        values["checksum"] = content_hash(values, 16)
    (path / "manifest.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["metrics"].update(mpjpe_mm=1.0), "checksum: the manifest was changed after it was written"),
        (lambda v: v.pop("checksum"), "checksum"),
        (lambda v: v.update(schema_version=2), "schema_version: 2, but this version reads 1"),
        (lambda v: v.pop("schema_version"), "schema_version: None"),
    ],
)
def test_manual_changes_are_detected(tmp_path: Path, model: Path, change: Change, message: str) -> None:
    write_bundle(tmp_path / "b", model)
    edited(tmp_path / "b", change, sign=False)
    with pytest.raises(InputError, match=message):
        bundle.load(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["files"][0].update(name="/etc/passwd"), r"files.0.name"),
        (lambda v: v["files"][0].update(name=".hidden"), r"files.0.name"),
        (
            lambda v: v["files"][0].update(name="other.onnx"),
            "other.onnx: named in the manifest, but not a regular file",
        ),
        (lambda v: v["files"][0].update(bytes=1), "700 bytes, 1 in the manifest"),
        (lambda v: v.update(surprise=1), "surprise: "),
        (lambda v: v.update(runtime="tensorrt"), "runtime: 'tensorrt' is not one of"),
        (lambda v: v.update(runtime="../evil"), "runtime: "),
        (lambda v: v["arch"].update(width=0.5), "arch_id: .* is not the id of the arch"),
        (lambda v: v.update(data=None), "data: "),
    ],
)
def test_invalid_manifest_is_rejected(tmp_path: Path, model: Path, change: Change, message: str) -> None:
    write_bundle(tmp_path / "b", model)
    edited(tmp_path / "b", change, sign=True)
    with pytest.raises(InputError, match=message) as caught:
        bundle.load(tmp_path / "b")
    assert "\n" not in str(caught.value)


def test_folder_of_a_bundle_is_named(tmp_path: Path, model: Path) -> None:
    write_bundle(tmp_path / "b", model)
    with pytest.raises(InputError, match=r"not a bundle, because manifest.json is missing; give .*/b$"):
        bundle.load(tmp_path)


def test_changed_model_file(tmp_path: Path, model: Path) -> None:
    made = write_bundle(tmp_path / "b", model)
    made.model.write_bytes(b"Weights" * 100)
    with pytest.raises(InputError, match=r"model.onnx: SHA-256 differs"):
        bundle.load(tmp_path / "b")
    made.model.unlink()
    made.model.symlink_to(model)
    with pytest.raises(InputError, match=r"model.onnx: .*not a regular file of the bundle"):
        bundle.load(tmp_path / "b")


def test_crops_of_another_size(tmp_path: Path, model: Path) -> None:
    made = write_bundle(tmp_path / "b", model)
    for wrong in (np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)):
        with pytest.raises(InputError, match=r"this bundle needs uint8 \(N, 64, 64, 3\)"):
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


@every_runtime
def test_prediction_needs_no_torch(
    runtime: str, case: Callable[[str], Case], exported: Callable[[str, str, str], Path], tmp_path: Path
) -> None:
    given = case("heatmap-2.5d")
    made = write_bundle(tmp_path / "b", exported(runtime, "heatmap-2.5d", "float"), runtime, recipe=recipe("float"))
    mean, std = (np.array(v, np.float32) for v in (made.manifest.preprocessing.mean, made.manifest.preprocessing.std))
    crops = np.clip((given.unseen.transpose(0, 2, 3, 1) * std + mean) * 255, 0, 255).round().astype(np.uint8)
    np.save(tmp_path / "crops.npy", crops)
    command = [sys.executable, "-c", PREDICT, *(str(tmp_path / name) for name in ("b", "crops.npy", "out.npz"))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    needed = ["torch"] if runtime == "executorch" else []  # its Python package is built on torch
    assert done.stdout.splitlines()[-1] == str(needed)
    found = np.load(tmp_path / "out.npz")
    assert found["joints"].shape == (4, 17, 3) and found["confidence"].shape == (4, 17)
    net, _ = load_network(given.weights, given.arch)
    with torch.no_grad():
        cells = net(torch.from_numpy(made.normalise(crops))).numpy()
    expected = to_normalised(cells, given.arch)
    assert np.abs(found["joints"] - expected).max() < 1e-4
    assert np.abs(found["joints"][::-1] - expected).max() > 1e-2, "the joints do not depend on the image"
    assert (found["confidence"] > 0).all() and (found["confidence"] <= 1).all()


def test_no_crops_give_no_joints(tmp_path: Path, model: Path) -> None:
    made = write_bundle(tmp_path / "b", model)
    joints, confidence = made.run_crops(np.zeros((0, 64, 64, 3), np.uint8), session=None)  # type: ignore[arg-type]
    assert joints.shape == (0, 17, 3) and confidence.shape == (0, 17)
