"""`export` as a user runs it: certificates, gates, zips, float steps, legal activations, training in 8 bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arch.network import build
from explore.bench.by_recipe import files_by_recipe
from explore.cli import main
from explore.config import SearchConfig, parse
from explore.progress import Display
from explore.search.dataset import open_judge
from explore.train.checkpoint import load_network, save_network
from explore.train.loop import to_input
from quantize import bundle, certificate
from quantize.recipes import recipe
from tests.quantize.conftest import small_arch

RENDERED = {"dataset": {"train": 24, "test": 8}, "scale": 64}
QUICK = ["--dataset.train=24", "--dataset.test=8", "--measure.rounds=3", "--measure.calls=3", "--measure.budget=0.5"]

Checkpoint = Callable[[str], Path]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that gives the checkpoint of a small network, BatchNorm settled on the rendered pictures."""
    root = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPOSE_CACHE", str(root / "cache"))
        judge = open_judge(parse(SearchConfig, RENDERED, "test"))
        pictures = to_input(judge.calibration(24, 0))

        def make(activation: str) -> Path:
            path = root / f"{activation}.safetensors"
            if not path.exists():
                net = build(
                    small_arch("depthmap", activation).replace(joints=len(judge.train.skeleton.names)), 0
                ).train()
                with torch.no_grad():
                    for _ in range(30):
                        net.forward_heatmaps(pictures)
                save_network(path, net.eval(), {"data": judge.train.name})
            return path

        yield make


def export(capsys: pytest.CaptureFixture[str], *options: object, status: int = 0) -> Any:
    assert main(["export", *map(str, options), *QUICK, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_certified_zip(checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = export(capsys, checkpoint("relu"), "--runtimes=onnxruntime,openvino", f"--out={tmp_path}", "--zip")
    assert sorted(path.name for path in tmp_path.glob("*.zip")) == ["onnxruntime.zip", "openvino.zip"]
    for row in rows:
        opened = bundle.load(row["bundle"])
        proof = certificate.Certificate.model_validate(opened.manifest.certificate)
        assert proof.holds and len(proof.gates) == 4 and proof.int8_share == 1
        assert opened.manifest.metrics["mpjpe_mm"] == row["mpjpe_mm"]
        assert proof.deviations["torch to float file"]["mean"] < 0.1 < proof.deviations["torch to file"]["mean"]
        assert len(proof.deviations["torch to file"]["joint_max"]) == opened.arch.joints
        assert list(proof.steps_mm.values()) == sorted(proof.steps_mm.values(), reverse=True)
        assert row["float_bytes"] == proof.float_bytes > row["bytes"]


def test_failed_gate_writes_nothing_unless_told(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "FLOAT_DEVIATION_MM", -1.0)
    given = [str(checkpoint("relu")), "--runtimes=onnxruntime", f"--out={tmp_path}", *QUICK, "--recipe=float"]
    assert main(["export", *given]) == 1
    said = capsys.readouterr().out
    assert "GATE FAILED: float file is the network" in said and "onnxruntime: not written" in said
    assert not (tmp_path / "onnxruntime").exists()
    (row,) = export(capsys, *given, "--no-gates")
    assert not row["gates_hold"]
    assert not bundle.load(row["bundle"]).manifest.certificate["gates"][-1]["holds"]


def test_legalised(checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = checkpoint("prelu")
    assert main(["export", str(start), "--runtimes=litert", *QUICK]) == 2
    assert "activation: prelu has no INT8 kernel in LiteRT" in capsys.readouterr().err
    options = ("--legalise=relu", "--legalise-samples=16", "--runtimes=onnxruntime", f"--out={tmp_path}")
    (row,) = export(capsys, start, *options)
    change = row["legalised"]
    assert (change["from"], change["to"], change["samples"]) == ("prelu", "relu", 16)
    assert len({change["before_mpjpe_mm"], change["replaced_mpjpe_mm"], change["after_mpjpe_mm"]}) == 3
    net, _ = load_network(tmp_path / "legalised.safetensors")
    assert net.arch == bundle.load(row["bundle"]).arch and net.arch.activation == "relu"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--legalise=relu"], "legalise: the network has relu already"),
        (["--legalise=gelu"], "legalise: 'gelu' is not one of"),
        (["--legalise=relu6", "--legalise-samples=0"], "legalise-samples: 0"),
        (["--max-drop=far"], "max-drop: 'far' is no length"),
        (["--max-drop=-1mm"], "max-drop: -1 mm is no budget"),
        (["--max-drop=1mm", "--recipe=float"], "max-drop: has no use with the recipe float"),
    ],
)
def test_wrong_input(options: list[str], said: str, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(checkpoint("relu")), *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_float_steps_for_a_budget(checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--runtimes=onnxruntime", f"--out={tmp_path}")
    (plain,) = export(capsys, checkpoint("relu"), *options)
    drop = plain["mpjpe_mm"] - plain["float_mpjpe_mm"]
    if drop <= 0.02:
        pytest.skip("INT8 costs this network nothing")
    (row,) = export(capsys, checkpoint("relu"), *options, f"--max-drop={drop / 2:.4f}mm")
    assert row["float_islands"] and row["mpjpe_mm"] <= row["float_mpjpe_mm"] + drop / 2


@pytest.mark.slow
def test_training_in_eight_bits(checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "short-qat.yaml"
    file.write_text("weights: int8\nactivations: int8\ncalibration_images: 8\nqat_samples: 32\n")
    rows = export(
        capsys, checkpoint("relu"), f"--recipe={file}", "--runtimes=openvino,onnxruntime", f"--out={tmp_path}"
    )
    for row in rows:
        assert row["gates_hold"] and row["certificate"]["int8_share"] == 1
        assert bundle.load(row["bundle"]).manifest.recipe.qat_samples == 32
        assert np.isfinite(row["mpjpe_mm"])


@pytest.mark.slow
def test_files_by_recipe(checkpoint: Checkpoint, tmp_path: Path) -> None:
    config = parse(SearchConfig, RENDERED | {"runtimes": ("onnxruntime",), "measure": {"rounds": 3, "budget": 0.5}}, "")
    given = (checkpoint("relu"), tmp_path, config, Display(quiet=True), [recipe("fp16"), recipe("int8-static")])
    rows, (claim,) = files_by_recipe(*given)
    plain, half, small = rows
    assert (plain["recipe"], plain["drop_mm"], plain["int8_share"]) == ("float", 0, 0)
    assert "no fp16 kernels" in half["refused"]
    assert small["kib"] < plain["kib"] and small["int8_share"] == 1
    assert claim.measured == f"{small['drop_mm']:+.2f} mm" and claim.holds == (small["drop_mm"] <= 0.5)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.onnx")}
    again, _ = files_by_recipe(*given)
    assert [row.get("mpjpe_mm") for row in again] == [row.get("mpjpe_mm") for row in rows]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.onnx")} == files
