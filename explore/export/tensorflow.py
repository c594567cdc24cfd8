"""TensorFlow, an optional dependency of 1.9 GB: comparison of .tflite files with LiteRT, and export of SavedModels."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from arch.decode import decode, to_normalised
from arch.errors import InputError
from arch.files import atomic_dir
from arch.network import PoseNet
from arch.space import Arch
from explore.data.batches import Evaluation
from explore.export.child import outputs_of
from explore.export.exporter import ExportedModel, Exporter, Predictions, normalise
from quantize.certificate import deviation
from quantize.convert import ConversionError
from quantize.graph import save_folded_onnx
from quantize.runtimes import Array, depth_scale

IMAGES = 100  # of the test split, evenly spaced
FLOAT_MM, INT8_MM = 0.1, 1.0  # tolerated mean deviation; INT8 kernels may round ties differently
TIMEOUT_S = 600.0


def check() -> None:
    """Check that TensorFlow is installed.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError("tensorflow: not installed (1.9 GB); run: pip install 'edgepose[tensorflow]'")


def verify(exporter: Exporter, files: Iterable[ExportedModel], arch: Arch) -> dict[str, dict[str, float]]:
    """Compare `tf.lite.Interpreter` with LiteRT; returns the mean and largest deviation of joints in mm by recipe.

    Raises:
        ConversionError: the mean deviation is larger than tolerated.
    """
    images, step = _every_nth(exporter)
    found = {}
    for name, made in {file.recipe.name: file for file in files}.items():
        raw = _run_child("tflite", made.model.absolute(), normalise(images.images))
        moved = deviation(_camera_mm(images, raw, arch, depth_scale("litert", arch)), made.mm[::step])
        found[name] = {"mean": moved.mean, "max": moved.max}
        if moved.mean > (INT8_MM if made.recipe.quantized else FLOAT_MM):
            raise ConversionError(
                f"tensorflow: {name}: tf.lite.Interpreter and LiteRT differ by {moved.mean:.2f} mm "
                f"({moved.max:.2f} mm at most); do not deploy the file"
            )
    return found


def write_saved_model(exporter: Exporter, net: PoseNet, network: Predictions, folder: Path) -> dict[str, Any]:
    """Write the network as a SavedModel; returns the mean and largest deviation of joints from torch in mm.

    Raises:
        ConversionError: TensorFlow failed, or the deviation is larger than tolerated.
    """
    images, step = _every_nth(exporter)
    with atomic_dir(folder) as written:
        raw = save_model(net, written, normalise(images.images))
        moved = deviation(_camera_mm(images, raw, net.arch), network.mm[::step])
        if moved.mean > FLOAT_MM:
            raise ConversionError(
                f"tensorflow: the SavedModel and torch differ by {moved.mean:.2f} mm; report this as a bug"
            )
    return {"path": str(folder), "mean": moved.mean, "max": moved.max}


def _every_nth(exporter: Exporter) -> tuple[Evaluation, int]:
    """Return evenly spaced test images, and their spacing."""
    test = exporter.evaluator.evaluation
    step = -(-len(test.images) // IMAGES)
    arrays = {field.name: getattr(test, field.name)[::step] for field in fields(test) if field.name != "size"}
    return replace(test, **arrays), step


def _camera_mm(images: Evaluation, raw: Array, arch: Arch, depth_scale: float = 1.0) -> Any:
    return images.to_camera(to_normalised(decode(raw, arch, depth_scale), arch))


def save_model(net: PoseNet, folder: Path, x: Array) -> Array:
    """Write the float network as a SavedModel into `folder`; returns its raw output for normalised RGB (N, 3, S, S).

    The signature `serving_default` has the input `image` (1, S, S, 3), normalised RGB, and the output `raw`, both
    channels last. The returned output is laid out like that of torch.

    Raises:
        ConversionError: TensorFlow failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "model.onnx")
        save_folded_onnx(net, path)
        return _run_child("saved-model", path, x, str(folder.absolute()))


def _run_child(task: str, source: Path, x: Array, *more: str) -> Array:
    """Return the raw output, channels first, for normalised RGB (N, 3, S, S); see `quantize.tensorflow_child`."""
    title = f"tensorflow: {task} of {source.name}"
    images = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    raw, _ = outputs_of("quantize.tensorflow_child", title, images, task, str(source), *more, timeout_s=TIMEOUT_S)
    return raw.transpose(0, 3, 1, 2) if raw.ndim == 4 else raw
