"""TensorFlow as a second opinion, and SavedModel for tool chains that start there. It is an extra: 1.9 GB."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from arch.errors import InputError
from arch.network import PoseNet
from quantize.convert import PROJECT, ConversionError
from quantize.runtimes import Array

TIMEOUT_S = 600.0


def check() -> None:
    """Refuse where TensorFlow is missing.

    Raises:
        InputError: with the command that installs it.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError("tensorflow: is not installed (1.9 GB); run: pip install 'edgepose[tensorflow]'")


def run_tflite(model: Path, x: Array) -> Array:
    """Raw output, as torch has it, of a .tflite in `tf.lite.Interpreter`; x (N, 3, S, S) normalised RGB.

    Raises:
        ConversionError: TensorFlow failed on it.
    """
    return _child("tflite", model.absolute(), x)


def save_model(net: PoseNet, folder: Path, x: Array) -> Array:
    """Write the float network as a SavedModel into a folder; returns its raw output on x, as torch has it.

    `serving_default` takes `image` (1, S, S, 3), normalised RGB, and gives `raw`, channels last.

    Raises:
        ConversionError: TensorFlow failed on it.
    """
    from quantize.graph import save_folded_onnx

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "model.onnx")
        save_folded_onnx(net, path)
        return _child("saved-model", path, x, str(folder.absolute()))


def _child(task: str, source: Path, x: Array, *more: str) -> Array:
    environment = os.environ | {"PYTHONPATH": str(PROJECT) + os.pathsep + os.environ.get("PYTHONPATH", "")}
    with tempfile.TemporaryDirectory() as scratch:
        pictures, answers = Path(scratch, "pictures.npy"), Path(scratch, "answers.npy")
        np.save(pictures, np.ascontiguousarray(x.transpose(0, 2, 3, 1)), allow_pickle=False)
        command = [sys.executable, "-m", "quantize.tensorflow_child", task, str(source), str(pictures), str(answers)]
        try:
            done = subprocess.run(
                [*command, *more], capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, env=environment
            )
        except subprocess.TimeoutExpired:
            raise ConversionError(f"tensorflow: {task} took longer than {TIMEOUT_S:g} s and was stopped") from None
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
            raise ConversionError(f"tensorflow: {task} of {source.name} failed: {last[0][:300]}")
        raw: Array = np.load(answers, allow_pickle=False)
    return raw.transpose(0, 3, 1, 2) if raw.ndim == 4 else raw
