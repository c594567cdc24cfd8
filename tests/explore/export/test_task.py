"""`export --task`: a bundle and a checkpoint as pose_landmarker.task, its checks, and wrong input."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from explore.cli import main
from explore.data.skeleton import H36M18
from explore.export.task import drawn_crops, export_bundle_file, run_landmark_model
from explore.export.task_body import body_of, landmarks_of
from quantize import bundle, task
from quantize.convert import Converter
from quantize.manifest import Skeleton
from quantize.recipes import recipe
from tests.helpers import ROOT
from tests.helpers.networks import QUICK_EXPORT, settled_net, small_arch, smooth_images, write_bundle

BOXED = min((ROOT / "results" / "reference" / "bundles").glob("*/litert"))  # framing box, 18 joints
JOINTS = Skeleton(name="h36m18", joints=H36M18.names, edges=H36M18.edges, root=0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the reference study as a .task file."""
    path = tmp_path_factory.mktemp("task") / "new" / "pose_landmarker.task"
    assert main(["export", str(BOXED), "--task", str(path), "--force"]) == 0
    return path


def test_a_bundle_becomes_a_task(exported: Path, tmp_path: Path) -> None:
    assert [file.name for file in exported.parent.iterdir()] == [exported.name]
    opened = bundle.load(BOXED)
    with zipfile.ZipFile(exported) as file:
        assert file.namelist() == [task.DETECTOR, task.LANDMARK_MODEL]
        model = tmp_path / "landmarks.tflite"
        model.write_bytes(file.read(task.LANDMARK_MODEL))
    size = opened.manifest.preprocessing.size
    crops = drawn_crops(size)
    joints, _ = opened.run_crops(crops, opened.session())
    body = body_of(H36M18)
    px, _ = landmarks_of(joints, body, size)
    landmarks, _ = run_landmark_model(model, crops)
    assert np.abs(landmarks[:, :33, :2] - px).max() < 0.05
    assert (landmarks[:, :33][:, ~np.array(body.derived), 3] == -20).all()


@pytest.mark.slow
def test_a_checkpoint_states_the_loss_of_its_framing(
    checkpoint: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.task"
    given = ["export", str(checkpoint("relu")), f"--out={tmp_path}", f"--task={path}", *QUICK_EXPORT]
    assert main(given) == 2
    assert "task: the network was trained with framing box" in capsys.readouterr().err and not path.exists()
    assert main([*given, "--force", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)  # LiteRT only, because no runtimes are given
    facts = row["task"]
    assert facts["written"] and facts["bytes"] == path.stat().st_size
    assert [check["passed"] for check in facts["checks"]] == [True] * 5
    assert (
        set(facts["framing_mpjpe_mm"]) == {"box", "roi"} and facts["framing_mpjpe_mm"]["box"] == row["float_mpjpe_mm"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("head", ["simcc", "volumetric"])
def test_other_heads(head: str, tmp_path: Path) -> None:
    arch = small_arch(head).replace(num_joints=18)
    images = smooth_images(24, 64, 0)
    from quantize.checkpoint import save_network

    weights = tmp_path / "net.safetensors"
    save_network(weights, settled_net(arch, images))
    with Converter(tmp_path / "log") as converter:
        model = converter.export(arch, weights, "litert", recipe("int8-static"), images, tmp_path / "made")
    write_bundle(tmp_path / "bundle", model, "litert", arch=arch, skeleton=JOINTS)
    made = export_bundle_file(tmp_path / "bundle", tmp_path / "a.task", 300, force=True)
    assert made.written and all(check.passed for check in made.checks)
    assert bool(made.note) == (head == "volumetric")


def fake_python(folder: Path, script: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_wrong_input(
    checkpoint: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def error(*options: object) -> str:
        assert main(["export", *map(str, options)]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        assert len(lines) == 1
        return lines[0]

    model, path = tmp_path / "model.tflite", tmp_path / "a.task"
    model.write_bytes(b"weights")
    write_bundle(tmp_path / "chain", model, "litert")
    network = checkpoint("relu")
    assert "trained with framing box" in error(BOXED, "--task", path)
    assert "the landmarks of BlazePose do not follow from these" in error(tmp_path / "chain", "--task", path, "--force")
    assert f"task {tmp_path}: a folder" in error(BOXED, "--task", tmp_path, "--force")
    assert "data: changes the model file, and a bundle is used as it is" in error(
        BOXED, "--task", path, "--data", "synthetic:easy"
    )
    assert "max-drop: changes the model file" in error(BOXED, "--task", path, "--max-drop", "1mm")
    assert "task: is made of the LiteRT bundle" in error(network, "--task", path, "--runtimes", "onnxruntime")
    verify = (network, "--task", path, "--verify", "mediapipe")
    monkeypatch.delenv("EDGEPOSE_MEDIAPIPE", raising=False)
    assert "add --task FILE" in error(network, "--verify", "mediapipe")
    assert "EDGEPOSE_MEDIAPIPE is not set; run: python3 -m venv mp" in error(*verify)
    monkeypatch.setenv("EDGEPOSE_MEDIAPIPE", str(tmp_path / "none"))
    assert "not a Python" in error(*verify)
    monkeypatch.setenv("EDGEPOSE_MEDIAPIPE", fake_python(tmp_path, "exit 1"))
    assert "has no mediapipe" in error(*verify)
    monkeypatch.setenv("EDGEPOSE_MEDIAPIPE", fake_python(tmp_path, "echo 0.9.3.0"))
    assert "mediapipe 0.9.3.0 is older than 0.10.21; run:" in error(*verify)
    assert not path.exists()
