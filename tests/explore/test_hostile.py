"""Model files and checkpoints made to do harm: one line and a status, no crash, and no code of theirs runs."""

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
from quantize import bundle
from quantize.manifest import Data, Skeleton
from quantize.recipes import recipe
from tests.quantize.conftest import small_arch

NOISE = random.Random(0).randbytes(4000)
LAUGHS = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
XML = '<?xml version="1.0"?>{}<net name="n" version="11"><layers>{}</layers><edges/></net>'


def outside(path: Path) -> bytes:
    """An ONNX file whose weights are to be read from a file of the machine's."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 3, 64, 64], data_location=1)
    weights.external_data.add(key="location", value="../../../../../../../../etc/passwd")
    edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 64, 64]) for n in ("image", "raw")]
    graph = helper.make_graph([helper.make_node("Add", ["image", "w"], ["raw"])], "g", edges[:1], edges[1:], [weights])
    return onnx.ModelProto(ir_version=8, graph=graph, opset_import=[helper.make_opsetid("", 17)]).SerializeToString()


FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "tflite of noise": ("litert", {"model.tflite": b"\x1c\0\0\0TFL3" + NOISE}),
    "tflite that is empty": ("litert", {"model.tflite": b""}),
    "xml that swells": (
        "openvino",
        {
            "model.xml": XML.format(f'<!DOCTYPE n [<!ENTITY l0 "ha">{LAUGHS}]>', "&l9;").encode(),
            "model.bin": NOISE,
        },
    ),
    "xml of no layers": ("openvino", {"model.xml": XML.format("", "").encode(), "model.bin": b""}),
    "xml of a layer from a library": (
        "openvino",
        {
            "model.xml": XML.format("", '<layer id="0" name="a" type="Evil" version="/tmp/evil.so"/>').encode(),
            "model.bin": NOISE,
        },
    ),
    "onnx of noise": ("onnxruntime", {"model.onnx": NOISE}),
    "onnx that reads elsewhere": ("onnxruntime", {"model.onnx": outside}),
}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (80, 60, 3), np.uint8))
    return path


@pytest.mark.parametrize("case", FILES)
def test_predict_and_measure_survive(
    case: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime, files = FILES[case]
    made = tmp_path / "made"
    made.mkdir()
    for name, content in files.items():
        (made / name).write_bytes(content(made / name) if callable(content) else content)
    target = tmp_path / "bundle"
    bundle.write(
        target,
        made / next(iter(files)),
        arch=small_arch(),
        runtime=runtime,
        recipe=recipe("float"),
        skeleton=Skeleton(name="chain", joints=tuple(f"j{i}" for i in range(17)), edges=((0, 1),), root=0),
        data=Data(name="none"),
    )
    assert main(["predict", str(photo), "--model", str(target), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith(f"error: {target / next(iter(files))}: "), said
    assert not (tmp_path / "out").exists()
    assert main(["measure", str(target), "--rounds=3", "--calls=3", "--budget=0.3", "--json"]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "local" in line]
    assert told and "Traceback" not in "".join(told)


class Mine:
    """What a pickle may do to its reader."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kind", ["pickle", "endless header", "lying offsets", "no arch"])
def test_a_checkpoint_is_data(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, mark = tmp_path / "net.safetensors", tmp_path / "it-ran"
    header = b'{"w":{"dtype":"F32","shape":[9999999],"data_offsets":[0,39999996]}}'
    path.write_bytes(
        {
            "pickle": pickle.dumps(Mine(mark)),
            "endless header": (2**62).to_bytes(8, "little") + NOISE,
            "lying offsets": len(header).to_bytes(8, "little") + header,
            "no arch": (2).to_bytes(8, "little") + b"{}",
        }[kind]
    )
    assert main(["export", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith(f"error: {path}: ")
    assert not mark.exists() and not (tmp_path / "out").exists()
