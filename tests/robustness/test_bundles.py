"""Bundles with edited numbers: every command that opens one, and run.py, name the key and exit with 2, at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arch.files import content_hash
from explore.cli import main
from explore.predict import BUNDLED
from quantize import sdk
from quantize.runner import fault_of
from tests.helpers import ROOT
from tests.helpers.layouts import pictures
from tests.helpers.runtimes import run_py

INFINITE, NAN = float("inf"), float("nan")


def part(name: str, **values: Any) -> Callable[[Any], None]:
    return lambda manifest: manifest[name].update(values)


EDITS: dict[str, tuple[Callable[[Any], None], str]] = {  # a name, the change, the key that the message names
    "size 0": (part("preprocessing", size=0), "preprocessing.size"),
    "size of gigabytes": (part("preprocessing", size=100_000), "preprocessing.size"),
    "size of another network": (part("preprocessing", size=64), "preprocessing.size"),
    "size as text": (part("preprocessing", size="big"), "preprocessing.size"),
    "std 0": (part("preprocessing", std=[0, 0.2, 0.2]), "preprocessing.std"),
    "std negative": (part("preprocessing", std=[-0.2, 0.2, 0.2]), "preprocessing.std"),
    "std tiny": (part("preprocessing", std=[1e-300, 0.2, 0.2]), "preprocessing.std"),
    "std of two": (part("preprocessing", std=[0.2, 0.2]), "preprocessing.std"),
    "mean NaN": (part("preprocessing", mean=[NAN, 0, 0]), "preprocessing.mean"),
    "mean huge": (part("preprocessing", mean=[1e30, 0, 0]), "preprocessing.mean"),
    "padding 0": (part("preprocessing", box_padding=0), "preprocessing.box_padding"),
    "padding negative": (part("preprocessing", box_padding=-1), "preprocessing.box_padding"),
    "padding huge": (part("preprocessing", box_padding=1e9), "preprocessing.box_padding"),
    "padding infinite": (part("preprocessing", box_padding=INFINITE), "preprocessing.box_padding"),
    "framing without region": (part("preprocessing", framing="roi", roi=None), "preprocessing.roi"),
    "framing unknown": (part("preprocessing", framing="circle"), "preprocessing"),
    "heatmap 0": (part("postprocessing", heatmap=0), "postprocessing"),
    "heatmap huge": (part("postprocessing", heatmap=10**9), "postprocessing"),
    "heatmap of 30 digits": (part("postprocessing", heatmap=10**30), "postprocessing.heatmap"),
    "depth bins": (part("postprocessing", depth_bins=-5), "postprocessing"),
    "depth scale": (part("postprocessing", depth_scale=0), "postprocessing.depth_scale"),
    "depth range 0": (part("postprocessing", depth_range_mm=0), "postprocessing.depth_range_mm"),
    "depth range negative": (part("postprocessing", depth_range_mm=-2000), "postprocessing.depth_range_mm"),
    "depth range huge": (part("postprocessing", depth_range_mm=1e300), "postprocessing.depth_range_mm"),
    "root beyond": (part("skeleton", root=99), "skeleton.root"),
    "root negative": (part("skeleton", root=-1), "skeleton.root"),
    "edge beyond": (lambda m: m["skeleton"]["edges"].append([0, 99]), "skeleton.edges"),
    "edge to itself": (lambda m: m["skeleton"]["edges"].append([3, 3]), "skeleton.edges"),
    "edge of three": (lambda m: m["skeleton"]["edges"].append([0, 1, 2]), "skeleton.edges"),
    "edges by the thousand": (lambda m: m["skeleton"]["edges"].extend([[0, 1]] * 5000), "skeleton.edges"),
    "joint without a bone": (lambda m: m["skeleton"]["edges"].pop(), "skeleton.edges"),
    "joint twice": (lambda m: m["skeleton"]["joints"].__setitem__(1, m["skeleton"]["joints"][0]), "skeleton"),
    "joint without a name": (lambda m: m["skeleton"]["joints"].__setitem__(1, ""), "skeleton.joints"),
    "joint missing": (lambda m: m["skeleton"]["joints"].pop(), "skeleton"),
    "no files": (lambda m: m.update(files=[]), "files"),
    "file elsewhere": (lambda m: m["files"][0].update(name="../model.tflite"), "files"),
    "input of the network": (lambda m: m["arch"].update(input_size=10**6), "arch"),
    "joints of the network": (lambda m: m["arch"].update(num_joints=10**6), "arch"),
    "skeleton as a list": (lambda m: m.update(skeleton=[]), "skeleton"),
    "no preprocessing": (lambda m: m.pop("preprocessing"), "preprocessing"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(BUNDLED, folder / "bundle")
    (folder / "bundle" / "run.py").write_bytes(sdk.run_program())
    pictures(folder, ["photo.png"])
    return folder


def edit(folder: Path, change: Callable[[Any], None]) -> None:
    manifest = json.loads((BUNDLED / "manifest.json").read_text())
    manifest.pop("checksum")
    change(manifest)
    manifest["checksum"] = content_hash(manifest, 16)
    (folder / "bundle" / "manifest.json").write_text(json.dumps(manifest))


COMMANDS = {
    "predict": ["predict", "{photo}", "--full-image", "--model", "{bundle}", "--out", "{out}"],
    "predict --web": ["predict", "--web", "{bundle}"],
    "measure": ["measure", "{bundle}"],
    "report": ["report", str(ROOT / "results" / "reference"), "--reference", "{bundle}", "--out", "{out}/a.html"],
    "data label": ["data", "label", "{photo}", "--teacher", "bundle:{bundle}", "--out", "{out}"],
    "train": ["train", "--arch", "paper-XS-relu@64", "--teacher", "{bundle}", "--samples", "64", "--out", "{out}/a.safetensors"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_the_key(
    command: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"photo": folder / "photo.png", "bundle": folder / "bundle", "out": tmp_path / "out"}
    edits = EDITS if command == "predict" else dict(list(EDITS.items())[:: 30 if command == "report" else 7])
    for name, (change, key) in edits.items():
        edit(folder, change)
        status = main([argument.format(**places) for argument in COMMANDS[command]])
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error:", "failed:"))]
        assert status == 2 and len(lines) == 1, (name, status, lines)
        assert "manifest.json: " in lines[0] and key in lines[0] and len(lines[0]) < 600, (name, lines)
        assert not (tmp_path / "out").exists(), name


def test_run_py_names_the_key(folder: Path) -> None:
    for name, (change, key) in list(EDITS.items())[::12]:
        edit(folder, change)
        if name in ("size of another network", "input of the network", "joints of the network"):
            continue  # run.py has no network to compare with
        done = run_py(folder / "bundle", str(folder / "photo.png"))
        assert done.returncode == 2 and done.stdout == "", name
        assert done.stderr.startswith(f"manifest.json: {key}") and done.stderr.count("\n") == 1, (name, done.stderr)


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "{", "[" * 5000, '{"a": 1}', '{"a": ' + "9" * 5000 + "}", "\xff"]
)
def test_files_that_are_no_manifest(content: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bundle" / "manifest.json").write_bytes(content.encode("latin-1"))
    assert main(["predict", str(folder / "photo.png"), "--model", str(folder / "bundle")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {folder / 'bundle' / 'manifest.json'}: ")
    done = run_py(folder / "bundle", "--check")
    assert done.returncode == 2 and done.stderr.startswith("manifest.json: ") and done.stderr.count("\n") == 1


def test_real_manifests_pass() -> None:
    for path in (ROOT / "results").rglob("manifest.json"):
        values = json.loads(path.read_text())
        if "depth_gain" not in values["postprocessing"]:  # of version 0.1, which the model of the manifest renames
            assert fault_of(values) == "", path
