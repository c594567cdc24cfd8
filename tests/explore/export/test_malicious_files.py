"""Malicious model files and checkpoints are rejected in one line; no code of theirs is executed."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from explore.cli import main
from tests.helpers import mostly_slow
from tests.helpers.networks import write_bundle

NOISE = random.Random(0).randbytes(4000)
ENTITIES = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
XML = '<?xml version="1.0"?>{}<net name="n" version="11"><layers>{}</layers><edges/></net>'


def external_data(path: Path) -> bytes:
    """Return an ONNX file whose weights refer to another file of the machine."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 3, 64, 64], data_location=1)
    weights.external_data.add(key="location", value="../../../../../../../../etc/passwd")
    edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 64, 64]) for n in ("image", "raw")]
    graph = helper.make_graph([helper.make_node("Add", ["image", "w"], ["raw"])], "g", edges[:1], edges[1:], [weights])
    return onnx.ModelProto(ir_version=8, graph=graph, opset_import=[helper.make_opsetid("", 17)]).SerializeToString()


FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "tflite: noise": ("litert", {"model.tflite": b"\x1c\0\0\0TFL3" + NOISE}),
    "tflite: empty": ("litert", {"model.tflite": b""}),
    "xml: entity expansion": (
        "openvino",
        {"model.xml": XML.format(f'<!DOCTYPE n [<!ENTITY l0 "ha">{ENTITIES}]>', "&l9;").encode(), "model.bin": NOISE},
    ),
    "xml: no layers": ("openvino", {"model.xml": XML.format("", "").encode(), "model.bin": b""}),
    "xml: layer from a library": (
        "openvino",
        {
            "model.xml": XML.format("", '<layer id="0" name="a" type="Evil" version="/tmp/evil.so"/>').encode(),
            "model.bin": NOISE,
        },
    ),
    "onnx: noise": ("onnxruntime", {"model.onnx": NOISE}),
    "onnx: external data": ("onnxruntime", {"model.onnx": external_data}),
}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (80, 60, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    "case", mostly_slow(FILES, "tflite: noise", "xml: layer from a library", "onnx: external data")
)
def test_predict_and_measure_reject_the_file(
    case: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime, files = FILES[case]
    made = tmp_path / "made"
    made.mkdir()
    for name, content in files.items():
        (made / name).write_bytes(content(made / name) if callable(content) else content)
    target = tmp_path / "bundle"
    write_bundle(target, made / next(iter(files)), runtime)
    assert main(["predict", str(photo), "--model", str(target), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"error: {target / next(iter(files))}: "), lines
    assert not (tmp_path / "out").exists()
    assert main(["measure", str(target), "--rounds=3", "--calls=3", "--max-seconds=0.3", "--json"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "local" in line]
    assert errors and "Traceback" not in "".join(errors)


class MakesFolder:
    """An object whose unpickling makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kind", ["pickle", "endless header", "lying offsets", "no arch"])
def test_checkpoint_is_read_as_data(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, mark = tmp_path / "net.safetensors", tmp_path / "it-ran"
    header = b'{"w":{"dtype":"F32","shape":[9999999],"data_offsets":[0,39999996]}}'
    path.write_bytes(
        {
            "pickle": pickle.dumps(MakesFolder(mark)),
            "endless header": (2**62).to_bytes(8, "little") + NOISE,
            "lying offsets": len(header).to_bytes(8, "little") + header,
            "no arch": (2).to_bytes(8, "little") + b"{}",
        }[kind]
    )
    assert main(["export", str(path), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"error: {path}: ")
    assert not mark.exists() and not (tmp_path / "out").exists()
