"""Faulty files given to every command that reads this kind of file: one line, exit status 2, nothing written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from explore.cli import main
from explore.config import load_yaml
from tests.helpers import ROOT
from tests.helpers.layouts import custom

YAML = {  # of configurations, spaces, networks and recipes: content, expected message
    "empty": (b"", "empty"),
    "list": (b"- a\n", "not a mapping"),
    "numeric key": (b"1: x\n", "the key '1' is not text"),
    "duplicate key": (b"a: 1\na: 2\n", "given twice"),
    "deep": (b"a: " + b"[" * 4000, "nested more than 20 levels"),
    "long integer": (b"a: " + b"9" * 4000, "a number of 4000 characters"),
    "NaN": (b"a: .nan\n", "not a finite number"),
    "invalid date": (b"a: 2026-99-99\n", ""),
    "long text": (b"a: '" + b"x" * 60_000 + b"'", "larger than 50 kB"),
    "long key": (b"x" * 900 + b": 1\n", ""),
    "latin-1": (b"name: \xe9\n", "not YAML"),
    "control character": (b"name: \x1b\n", "not YAML"),
}
READERS = {  # arguments of the commands; FILE is the faulty one
    "search --config": ["search", "--config", "FILE", "--results", "OUT"],
    "search --space": ["search", "--space", "FILE", "--results", "OUT"],
    "search --quantizations": ["search", "--quantizations", "FILE", "--results", "OUT"],
    "train --config": ["train", "--arch", "paper-XS-relu@64", "--config", "FILE", "--out", "OUT/a.safetensors"],
    "train --arch": ["train", "--arch", "FILE", "--out", "OUT/a.safetensors"],
    "train --supernet": ["train", "--supernet", "FILE", "--out", "OUT/a.safetensors"],
    "profile": ["profile", "FILE"],
    "measure --config": ["measure", "--calibrate", "local", "--config", "FILE"],
}  # fmt: skip


def failure(arguments: list[str], file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command, and return its only line about an error."""
    given = [part.replace("FILE", str(file)).replace("OUT", str(tmp_path / "out")) for part in arguments]
    status = main(given)
    lines = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith(("error:", "failed:", "Traceback"))
    ]
    assert status == 2 and len(lines) == 1 and len(lines[0]) < 2100, (given, status, lines)
    assert str(file) in lines[0] and lines[0].startswith("error: "), lines
    assert not (tmp_path / "out").exists()
    return lines[0]


@pytest.mark.parametrize("reader", READERS)
def test_yaml_files(reader: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    for content, expected in YAML.values():
        path.write_bytes(content)
        assert expected in failure(READERS[reader], path, tmp_path, capsys)
    path.unlink()
    assert "No such file" in failure(READERS[reader], path, tmp_path, capsys)
    os.mkfifo(path)
    assert "Not a regular file" in failure(READERS[reader], path, tmp_path, capsys)
    path.unlink()
    path.mkdir()
    expected = (
        "has no trials.csv" if reader == "profile" else "Is a directory"
    )  # `profile` takes folders of studies, too
    assert expected in failure(READERS[reader], path, tmp_path, capsys)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", "null", '{"config": 5}', '{"config": {}}', '{"config": {"level": [1]}}', "[" * 9000],
)
def test_rendered_sets(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "set" / "dataset.json"
    path.parent.mkdir()
    path.write_text(content)
    arguments = ["train", "--arch=paper-XS-relu@64", f"--data=synthetic:{path.parent}", "--out=OUT/a.safetensors"]
    failure(arguments, path if "level" not in content else path.parent, tmp_path, capsys)


@pytest.mark.parametrize(
    ("name", "content"), [("budget.json", "{}"), ("budget.json", "[]"), ("equal_samples.csv", None)]
)
def test_study_folders(name: str, content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shutil.copytree(ROOT / "results" / "reference", tmp_path / "study") / name
    settings = path.with_name("config.yaml")  # a stored plan matters only where the study can be resumed
    settings.write_text(settings.read_text().replace("storage: ''", "storage: sqlite:////mine.db"))
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    failure(["report", str(path.parent), "--out", "OUT/page.html"], path, tmp_path, capsys)


def test_a_study_that_was_copied_without_its_candidates_keeps_its_tables(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "results" / "reference", tmp_path / "study")
    (folder / "study.db").touch()
    tables = {name: (folder / name).read_text() for name in ("front.csv", "trials.csv")}
    assert main(["report", str(folder)]) == 0
    assert tables == {name: (folder / name).read_text() for name in tables}


def test_home_folders_in_files_of_settings(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("results: ~/studies\ndataset: {test_on: custom:~/x}\n")
    assert load_yaml(tmp_path / "mine.yaml") == {
        "results": os.path.expanduser("~/studies"),
        "dataset": {"test_on": "custom:~/x"},  # expanded where it is opened
    }


@pytest.mark.parametrize(
    ("option", "name", "data"),
    [
        ("protocol=1", "Human3.6M", "synthetic:easy"),
        ("test-subjects=9", "Human3.6M", "mpi_inf_3dhp:FOLDER"),
        ("test-step=2", "Human3.6M", "custom:FOLDER"),
        ("detected=a.json", "Human3.6M", "synthetic:easy"),
        ("train-subjects=1", "Human3.6M and MPI-INF-3DHP", "custom:FOLDER"),
        ("train-step=2", "Human3.6M and MPI-INF-3DHP", "synthetic:easy"),
        ("val-frames=9", "the embedded data set", "human36m:FOLDER"),
        ("poses=cmu:a", "the embedded data set", "custom:FOLDER"),
    ],
)
def test_options_of_another_data_set(
    option: str, name: str, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, data = "dataset." + option.split("=")[0], data.replace("FOLDER", str(tmp_path))
    commands = [["train", "--arch=paper-XS-relu@64"], ["search", "--results=OUT", "--trials=1", "--budget=none"]]
    calls = [[*command, f"--data={data}"] for command in commands]
    if name.startswith("Human3.6M") and "synthetic" not in data:
        calls.append(["data", "check", data])
    for call in calls:
        line = failure([*call, f"--dataset.{option}"], Path(key), tmp_path, capsys)
        assert line == f"error: {key}: applies to {name} only, not to {data}; omit it"


def test_validation_subjects_of_the_embedded_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    frames = [f"--dataset.{part}-frames=4" for part in ("train", "val", "test")]
    call = ["train", "--supernet=elastic", *frames, "--dataset.val-subjects=3", "--out=OUT/a.safetensors"]
    assert "renders a validation part of its own; omit it" in failure(call, Path("val-subjects"), tmp_path, capsys)


ANNOTATIONS = {  # of a custom set: content of train.json, expected message
    "empty": ("", "not valid JSON"),
    "list": ("[]", "a JSON object is expected"),
    "deep": ("[" * 5000, "not valid JSON"),
    "no categories": ('{"images": [], "annotations": []}', "categories"),
    "categories of numbers": ('{"categories": [5], "images": [], "annotations": []}', "categories"),
}
DATA_READERS = {
    "train": ["train", "--arch", "paper-XS-relu@64", "--data", "custom:SET", "--out", "OUT/a.safetensors"],
    "search": ["search", "--data", "custom:SET", "--results", "OUT"],
}


@pytest.mark.parametrize("command", DATA_READERS)
def test_annotation_files(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = custom(tmp_path / "set", 4)
    valid = json.loads(path.read_text())
    changes = {
        "text subject": ("subject", "anna", "has no number"),
        "list id": ("image_id", [1], "is not an id"),
        "list category": ("category_id", {}, ""),
        "ragged joints": ("keypoints_cam", [[1, 2], [3]], "keypoints_cam"),
    }
    cases = dict(ANNOTATIONS)
    for name, (key, value, message) in changes.items():
        content = json.loads(json.dumps(valid))
        content["categories"][0]["id"] = 1
        content["annotations"][1][key] = value
        cases[name] = (json.dumps(content), message if name != "list category" else "category_id")
    arguments = [part.replace("SET", str(tmp_path / "set")) for part in DATA_READERS[command]]
    for text, expected in cases.values():
        path.write_text(text)
        assert expected in failure(arguments, path, tmp_path, capsys)
        assert main(["data", "check", f"custom:{tmp_path / 'set'}", "--sheet", str(tmp_path / "s.png")]) == 1
        capsys.readouterr()


BATCH = "command line: batch_size: Input should be greater than or equal to 2"  # for batch normalisation
REJECTED = {  # options that no computer could work with: arguments, expected message
    "proxy": (["proxy", "--storage=sqlite:////tmp/s.db", "--listen=127.0.0.1:99999"], "--listen 127.0.0.1:99999: give"),
    "calibrate": (["measure", "--calibrate=local", "--out=FOLDER"], "--out FOLDER: a folder"),
    "focal": (["predict", "a.png", "--focal=1e300"], "--focal 1e+300: give a positive number of px, at most"),
    "root depth": (["predict", "a.png", "--root-depth=1e300"], "--root-depth 1e+300: give a positive number of mm"),
    "principal": (["predict", "a.png", "--principal=1e300,0"], "--principal 1e+300,0: give px"),
    "three numbers": (["predict", "--bbox=1,2,3"], "explore.py predict: argument --bbox: '1,2,3' is not X,Y,W,H; give"),
    "no numbers": (["predict", "--principal=a,b"], "explore.py predict: argument --principal: 'a,b' is not X,Y; give"),
    "no number": (["predict", "--focal=x"], "explore.py predict: argument --focal: 'x' is not a number; see"),
    "no whole number": (["profile", "--sample=x"], "explore.py profile: argument --sample: 'x' is not a whole number;"),
    "batch of one": (["train", "--arch=paper-XS-relu@64", "--batch-size=1"], BATCH),
    "batch of one, supernet": (["train", "--supernet=mobile", "--batch-size=1"], BATCH),
    "threads": (["predict", "a.png", "--threads=100000000"], "--threads 100000000: give 1 to 256"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_options(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, expected = REJECTED[name]
    assert main([part.replace("FOLDER", str(tmp_path)) for part in given]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: " + expected.replace("FOLDER", str(tmp_path))) and list(tmp_path.iterdir()) == []
