"""Model files with uint8 input: the same joints as with float32 input, described in the manifest, run by run.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arch.decode import decode
from arch.heads import HEADS
from explore.export import golden
from explore.export.exporter import normalise
from explore.measure.probe import runtimes as probe
from quantize import bundle, runtimes
from quantize.convert import Converter
from quantize.recipes import Recipe, recipe
from quantize.runtimes.protocol import to_pixels
from quantize.tensors import describe_input, describe_output
from tests.helpers.networks import Case, small_arch, write_bundle
from tests.helpers.runtimes import run_py

UINT8 = recipe("int8-static").with_input("uint8")


def crops(count: int = 3) -> np.ndarray:
    """Return smooth RGB images (count, 64, 64, 3) uint8."""
    rng = np.random.default_rng(0)
    small = (Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)) for _ in range(count))
    return np.stack([np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC)) for image in small])


def test_pixels_of_a_normalised_crop_are_exact() -> None:
    values = np.arange(256, dtype=np.uint8)
    image = np.stack([values.reshape(16, 16)] * 3, 2)[None]
    assert (to_pixels(normalise(image)) == image).all() and (probe.to_pixels(normalise(image)) == image).all()


def test_names_and_hashes_of_recipes() -> None:
    assert UINT8.name == "int8-static-uint8" and UINT8.with_input("uint8") is UINT8
    assert "input_dtype" not in recipe("int8-static").identity and UINT8.identity["input_dtype"] == "uint8"
    assert Recipe.model_validate(recipe("float").identity) == recipe("float")


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_uint8_files_give_the_same_joints(
    runtime: str,
    case: Callable[[str], Case],
    converter: Converter,
    exported: Callable[[str, str, str], Path],
    tmp_path: Path,
) -> None:
    given = case("heatmap-2.5d")
    model = converter.export(given.arch, given.weights, runtime, UINT8, given.images, tmp_path / "m", timeout_s=600)
    check(runtime, model, exported(runtime, "heatmap-2.5d", "int8-static"), given, tmp_path)


def test_uint8_litert_file_gives_the_same_joints(
    case: Callable[[str], Case], exported: Callable[[str, str, str], Path], tmp_path: Path
) -> None:
    """The input is changed after the conversion, which takes long, so the test changes that of an existing file."""
    from quantize.runtimes import litert

    given, model = case("heatmap-2.5d"), exported("litert", "heatmap-2.5d", "int8-static")
    changed = tmp_path / "m" / "model.tflite"
    changed.parent.mkdir()
    changed.write_bytes(litert._described(model.read_bytes(), given.arch, UINT8))
    check("litert", changed, model, given, tmp_path)
    summary = litert.inspect(changed)
    assert summary.partitions == 1 and summary.delegated == 1.0
    details = litert.interpreter(changed, 1).get_signature_list()
    assert details["serving_default"] == {"inputs": ["image"], "outputs": ["raw"]}


def check(runtime: str, model: Path, float_input: Path, given: Case, tmp_path: Path) -> None:
    """Compare a file with uint8 input with one of float32 input: in a session, in the measuring program and in run.py."""
    images, scale = crops(), runtimes.depth_scale(runtime, given.arch)
    raws = [runtimes.get(runtime).load(path).run(normalise(images)) for path in (model, float_input)]
    found, wanted = (decode(raw, given.arch, scale) for raw in raws)
    assert np.abs(found - wanted).max() < 1e-3
    measured = probe.RUNTIMES[runtime](str(model), 1)
    measured.put(normalise(images[:1]))
    measured.run()
    assert np.abs(decode(measured.take(), given.arch, scale) - wanted[:1]).max() < 1e-3
    made = write_bundle(tmp_path / "b", model, runtime, recipe=UINT8)
    (entry,) = made.manifest.inputs
    assert (entry.dtype, entry.layout, entry.shape, entry.range) == ("uint8", "NHWC", (1, 64, 64, 3), (0, 255))
    made = bundle.add_golden(made, golden.stored_predictions(made))
    done = run_py(made.path, "--check")
    assert done.returncode == 0 and "FAIL" not in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("quantization", ["float", "int8-static"])
def test_onnx_files_import_used_opsets_only(exported: Callable[[str, str, str], Path], quantization: str) -> None:
    """ONNX Runtime 1.16 knows opset 19 and files of IR version 9, and rejects imports of domains it does not know."""
    import onnx

    model = onnx.load(str(exported("onnxruntime", "heatmap-2.5d", quantization)))
    assert {opset.domain for opset in model.opset_import} == {node.domain for node in model.graph.node}
    assert model.ir_version <= 9 and all(opset.version <= 19 for opset in model.opset_import)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
def test_manifest_describes_the_tensors(head: str, runtime: str) -> None:
    arch = small_arch(head)
    scale = runtimes.depth_scale(runtime, arch)
    image, raw = describe_input(arch, runtime, "float32"), describe_output(arch, runtime, scale)
    assert image.name == "image" and image.shape[image.layout.index("C")] == 3
    assert image.range == (-2.118, 2.64)  # of normalised black and white
    axis = {"NHWC": 3, "NCHW": 1, "NJB": 2}[raw.layout]
    assert sum(part.count for part in raw.parts) == raw.shape[axis]
    assert int(np.prod(raw.shape)) == int(np.prod(HEADS[head].raw_shape(arch.head_spec)))
    assert [part.scale for part in raw.parts if part.name == "depths"] == [scale] * (head == "heatmap-2.5d")


def test_manifest_names_parents(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    made = write_bundle(tmp_path / "b", tmp_path / "model.onnx")
    values = json.loads((made.path / "manifest.json").read_text())
    assert values["skeleton"]["parents"][:4] == [-1, 0, 1, 2]
    assert values["outputs"][0]["layout"] == "NCHW" and values["inputs"][0]["dtype"] == "float32"
