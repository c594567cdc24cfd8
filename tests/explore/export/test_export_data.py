"""`export` takes data, joints and licence from the checkpoint, chooses on the validation part and reports the test part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arch.network import build
from explore.cli import main
from explore.data.config import DataConfig
from explore.evaluation.evaluator import open_evaluator, open_evaluators
from explore.export.exporter import Exporter
from explore.export.training_data import describe_training
from explore.train.loop import to_input
from explore.train.provenance import LICENCES, trained_on
from quantize import bundle
from quantize.checkpoint import TRAINED_ON, load_network, load_tensors, save_network
from tests.helpers.layouts import custom_with
from tests.helpers.networks import QUICK_EXPORT, adapt_batch_norm, small_arch

OWN = ("Pelvis", "R_Hip", "L_Hip", "Tail")
KNOWN = ("Neck", "L_Hip", "Pelvis", "R_Hip")  # joints of other sets, too, in an order of one's own
QUICK = ["--runtimes=onnxruntime", "--measure.rounds=3", "--measure.calls=3", "--measure.max-seconds=0.5"]


def checkpoint(path: Path, data: str, record: bool = True, **dataset: object) -> Path:
    """Write the checkpoint of a network for the joints of a data set, with random weights."""
    evaluator = open_evaluator(DataConfig.model_validate({"data": data, "dataset": dataset}))
    net = build(small_arch().replace(num_joints=len(evaluator.train.skeleton)), 0)
    facts = {"data": evaluator.train.name, "data_hash": evaluator.train.hash}
    adapt_batch_norm(net, to_input(evaluator.calibration(8, 0)), 10)
    save_network(path, net, facts | (trained_on(evaluator) if record else {}))
    return path


def export(path: Path, *options: str, status: int = 0) -> Any:
    assert main(["export", str(path), f"--out={path.with_suffix('')}", "--force", *QUICK, *options]) == status
    return bundle.load(path.with_suffix("") / "onnxruntime").manifest if status == 0 else None


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return line


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))


def test_joints_data_and_licence_come_from_the_checkpoint(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "net.safetensors", custom_with(tmp_path / "own", 12, OWN))
    found = export(path)
    assert found.skeleton.joints == OWN and found.skeleton.edges == ((0, 1), (0, 2), (0, 3))
    record = load_tensors(path)[1][TRAINED_ON]
    assert isinstance(record, dict)
    assert (found.data.name, found.data.hash, found.licence) == ("custom", record["hash"], "")
    assert (found.evaluation.data, found.evaluation.part) == ("custom", "test")
    interval = found.evaluation.mpjpe_interval
    assert interval.low <= interval.value == found.metrics["mpjpe_mm"] <= interval.high and interval.units == 12


@pytest.mark.slow
def test_licence_is_that_of_the_training_data(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    checkpoint(path, custom_with(tmp_path / "own", 12, KNOWN))
    net, facts = load_network(path)
    facts[TRAINED_ON] |= {"licence": LICENCES["human36m"]}  # type: ignore[operator]
    save_network(path, net, {key: value for key, value in facts.items() if key != "arch"})
    assert export(path).licence == "Human3.6M licence (academic use only)"


def test_bundles_of_a_search_describe_its_training_data(tmp_path: Path) -> None:
    parts = open_evaluators(DataConfig.model_validate({"data": custom_with(tmp_path / "own", 12, OWN)}))
    found = describe_training(parts.test)
    assert found.skeleton.joints == OWN and found.licence == ""
    assert (found.name, found.hash) == ("custom", parts.train.hash)


def test_other_data_must_be_named_and_have_the_joints(
    tmp_path: Path, cache: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(tmp_path / "net.safetensors", custom_with(tmp_path / "own", 12, OWN))
    export(path, "--data=synthetic:easy", *QUICK_EXPORT, status=2)
    line = error_of(capsys)
    assert line.startswith(f"error: {path}: data synthetic:easy: no joint Tail among ") and "--data" in line
    assert main(["export", str(path), "--data=mscoc:/nowhere"]) == 2
    assert "mscoc" in error_of(capsys)
    (tmp_path / "own").rename(tmp_path / "moved")
    export(path, status=2)
    assert f"error: {path}: trained_on: data custom: " in (line := error_of(capsys)) and "give --data" in line
    assert export(path, f"--data=custom:{tmp_path / 'moved'}").skeleton.joints == OWN


@pytest.mark.slow
def test_joints_of_named_data_are_matched_by_name(tmp_path: Path, cache: None) -> None:
    path = checkpoint(tmp_path / "net.safetensors", custom_with(tmp_path / "own", 12, KNOWN))
    found = export(path, "--data=synthetic:easy", *QUICK_EXPORT)
    assert found.skeleton.joints == KNOWN and found.data.name == "custom" and found.licence == ""
    assert found.evaluation.data == "synthetic-easy" and len(found.certificate["deviations"]) == 3


def test_version_0_1_needs_the_data_unless_it_was_embedded(
    tmp_path: Path, cache: None, capsys: pytest.CaptureFixture[str]
) -> None:
    data = custom_with(tmp_path / "own", 12, OWN)
    path = checkpoint(tmp_path / "net.safetensors", data, record=False)
    export(path, status=2)
    assert error_of(capsys).startswith(f"error: {path}: trained_on: missing, because version 0.1 wrote the file")
    export(path, "--data=synthetic:easy", *QUICK_EXPORT, status=2)
    assert "18 joints" in (line := error_of(capsys)) and "the network predicts 4" in line
    assert export(path, f"--data={data}").skeleton.joints == OWN
    embedded = checkpoint(tmp_path / "old.safetensors", "synthetic:easy", record=False, train_frames=24, test_frames=8)
    found = export(embedded, *QUICK_EXPORT)
    assert found.licence == "Apache-2.0" and found.data.name == "synthetic-easy" and found.data.hash


def test_max_drop_uses_the_validation_part_and_figures_the_test_part(
    tmp_path: Path, cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[tuple[str, str]] = []
    original = Exporter.evaluate

    def spied(exporter: Exporter, arch: Any, runtime: str, recipe: Any, *rest: Any) -> Any:
        parts.append((recipe.name, exporter.evaluator.part))
        return original(exporter, arch, runtime, recipe, *rest)

    monkeypatch.setattr(Exporter, "evaluate", spied)
    dataset = {"train_frames": 24, "test_frames": 8, "val_frames": 6}
    path = checkpoint(tmp_path / "net.safetensors", "synthetic:easy", **dataset)
    found = export(path, "--max-drop=900")
    assert parts == [("float", "test"), ("int8-static", "validation"), ("int8-static", "test")]
    assert found.evaluation.part == "test" and found.evaluation.mpjpe_interval.value == found.metrics["mpjpe_mm"]
