"""The command `export`: certificates, checks, archives, float fallback layers, and fine-tuning."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arch.network import build
from explore.cli import main
from explore.evaluation.evaluator import Evaluator
from explore.export import exporter
from explore.export.finetune import copy_weights, with_activation
from quantize import bundle, certificate
from quantize.checkpoint import load_network
from tests.helpers.networks import QUICK_EXPORT, small_arch

Checkpoint = Callable[[str], Path]


def export(capsys: pytest.CaptureFixture[str], *options: object, status: int = 0) -> Any:
    assert main(["export", *map(str, options), *QUICK_EXPORT, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_zip_with_certificate(checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = export(capsys, checkpoint("relu"), "--runtimes=onnxruntime,openvino", f"--out={tmp_path}", "--zip")
    assert sorted(path.name for path in tmp_path.glob("*.zip")) == ["onnxruntime.zip", "openvino.zip"]
    for row in rows:
        opened = bundle.load(row["bundle"])
        found = certificate.Certificate.model_validate(opened.manifest.certificate)
        assert found.passed and len(found.checks) == 5 and found.int8_share == 1
        assert opened.manifest.metrics["mpjpe_mm"] == row["mpjpe_mm"]
        assert found.deviations["torch to float file"]["mean"] < 0.1 < found.deviations["torch to file"]["mean"]
        assert len(found.deviations["torch to file"]["joint_max"]) == opened.arch.num_joints
        assert list(found.steps_mm.values()) == sorted(found.steps_mm.values(), reverse=True)
        assert row["float_bytes"] == found.float_bytes > row["bytes"]
        ours = {
            "onnxruntime": ("minmax", "asymmetric", "minmax", "channel"),
            "openvino": ("average", "symmetric", "minmax", "channel"),
        }
        assert tuple(found.quantizer.values()) == ours[row["runtime"]]


def test_failed_check_writes_nothing_without_force(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "FLOAT_DEVIATION_MM", -1.0)
    given = [
        str(checkpoint("relu")),
        "--runtimes=onnxruntime",
        f"--out={tmp_path}",
        *QUICK_EXPORT,
        "--quantization=float",
    ]
    assert main(["export", *given]) == 1
    output = capsys.readouterr().out
    assert "FAILED: float file matches the network" in output and "onnxruntime: not written" in output
    assert "next:" not in output and not (tmp_path / "onnxruntime").exists()
    assert main(["export", *given, "--force"]) == 0
    assert "next: no bundle passed all checks" in capsys.readouterr().out
    assert not bundle.load(tmp_path / "onnxruntime").manifest.certificate["checks"][-1]["passed"]


def test_replace_activations(checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = checkpoint("prelu")
    assert main(["export", str(start), "--runtimes=litert", *QUICK_EXPORT]) == 2
    assert "activation: prelu has no INT8 kernel in LiteRT" in capsys.readouterr().err
    options = ("--replace-activations=relu", "--finetune-samples=16", "--runtimes=onnxruntime", f"--out={tmp_path}")
    (row,) = export(capsys, start, *options)
    change = row["replaced_activations"]
    assert (change["from"], change["to"], change["samples"]) == ("prelu", "relu", 16)
    assert len({change["before_mpjpe_mm"], change["replaced_mpjpe_mm"], change["after_mpjpe_mm"]}) == 3
    net, _ = load_network(tmp_path / "replaced_activations.safetensors")
    assert net.arch == bundle.load(row["bundle"]).arch and net.arch.activation == "relu"


@pytest.mark.parametrize(("before", "after"), [("relu", "prelu"), ("prelu", "prelu_shared"), ("prelu", "relu")])
def test_weights_fit_every_replacement_of_activations(before: str, after: str) -> None:
    net = build(small_arch(activation=before), 1)
    copied = copy_weights(net, with_activation(net.arch, after))
    assert copied.steps["stem"][0][0].conv.weight.equal(net.steps["stem"][0][0].conv.weight)


@pytest.mark.slow
def test_options_of_version_0_1_give_a_notice(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "FLOAT_DEVIATION_MM", -1.0)
    options = ["--recipe=float", "--runtimes=onnx", "--no-gates", "--legalise=relu6", "--legalise-samples=8"]
    assert main(["export", str(checkpoint("relu")), f"--out={tmp_path}", "--json", *options, *QUICK_EXPORT]) == 0
    printed = capsys.readouterr()
    (row,) = json.loads(printed.out)
    assert (row["runtime"], row["recipe"], row["replaced_activations"]["samples"]) == ("onnxruntime", "float", 8)
    assert row["bundle"] and not row["checks_passed"]
    for old, new in (
        ("--recipe", "--quantization"),
        ("--no-gates", "--force"),
        ("--legalise", "--replace-activations"),
    ):
        assert f"note: {old} is now called {new}" in printed.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--replace-activations=relu"], "replace-activations: the network has relu already"),
        (["--replace-activations=gelu"], "replace-activations: 'gelu' is not one of"),
        (["--replace-activations=relu6", "--finetune-samples=0"], "finetune-samples: 0"),
        (["--max-drop=far"], "max-drop: 'far' is not a length"),
        (["--max-drop=-1mm"], "max-drop: -1 mm: give a number above 0"),
        (["--max-drop=nan"], "max-drop: nan mm: give a number above 0"),
        (["--runtimes=,"], "runtimes: is empty; list at least one value"),
        (["--max-drop=1mm", "--quantization=float"], "max-drop: not possible with float"),
        (
            ["--quantization=w8a16", "--runtimes=onnxruntime"],
            "w8a16: ONNX Runtime runs such files several times slower",
        ),
        (["--verify=jax"], "verify: 'jax'"),
        (["--verify=tensorflow", "--runtimes=openvino"], "add litert"),
        (["--check=army"], "did you mean 'arm'"),
        (["--check=npu", "--runtimes=onnxruntime"], "check: npu: reads the LiteRT file; add litert to --runtimes"),
        (["--verify=tensorflow"], "pip install 'edgepose[tensorflow]'"),
        (["--saved-model"], "pip install 'edgepose[tensorflow]'"),
        (["--coreml"], "pip install 'edgepose[coreml]'"),
    ],
)
def test_wrong_input(
    options: list[str],
    message: str,
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["export", str(checkpoint("relu")), f"--out={tmp_path / 'out'}", *options]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # no extra is installed
    assert main(given) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("error:") == 1 and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_float_fallback_layers_keep_max_drop(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen_on: list[float] = []  # MPJPE on the validation part: the network's, then those of the files tried
    original = exporter.evaluate_predictions

    def spied(evaluator: Evaluator, joints: np.ndarray) -> exporter.Predictions:
        found = original(evaluator, joints)
        if evaluator.part == "validation":
            chosen_on.append(found.accuracy.mpjpe)
        return found

    monkeypatch.setattr(exporter, "evaluate_predictions", spied)
    options = (checkpoint("relu"), "--runtimes=onnxruntime", f"--out={tmp_path}")
    export(capsys, *options, "--max-drop=900mm")
    network, int8 = chosen_on
    drop = int8 - network
    if drop <= 0.02:
        pytest.skip("INT8 costs this network nothing")
    chosen_on.clear()
    (row,) = export(capsys, *options, f"--max-drop={0.8 * drop:.4f}mm")
    assert row["float_fallback_layers"] and min(chosen_on[1:]) <= network + 0.8 * drop


@pytest.mark.slow
def test_quantization_aware_training(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "short-qat.yaml"
    file.write_text("weights: int8\nactivations: int8\ncalibration_images: 8\nqat_samples: 32\n")
    rows = export(
        capsys, checkpoint("relu"), f"--quantization={file}", "--runtimes=openvino,onnxruntime", f"--out={tmp_path}"
    )
    for row in rows:
        assert row["checks_passed"] and row["certificate"]["int8_share"] == 1
        assert bundle.load(row["bundle"]).manifest.recipe.qat_samples == 32
        assert np.isfinite(row["mpjpe_mm"])
