"""Child processes of `quantize` that compute a model's outputs with a large library, such as TensorFlow."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from quantize import child_process
from quantize.convert import ConversionError
from quantize.runtimes import Array


def outputs_of(module: str, title: str, inputs: Array, *arguments: str, timeout_s: float) -> tuple[Array, str]:
    """Run `python -m module INPUTS OUTPUTS ARGUMENTS`, where INPUTS and OUTPUTS are files of one array each.

    Returns:
        The outputs, and the text that the child printed.

    Raises:
        ConversionError: the child failed, or took longer than `timeout_s`; the message starts with `title`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given, outputs = Path(scratch, "inputs.npy"), Path(scratch, "outputs.npy")
        np.save(given, inputs, allow_pickle=False)
        try:
            done = child_process.run_module(module, str(given), str(outputs), *arguments, timeout_s=timeout_s)
        except subprocess.TimeoutExpired:
            raise ConversionError(f"{title}: took longer than {timeout_s:g} s and was stopped") from None
        if done.returncode:
            raise ConversionError(f"{title}: {child_process.failure(done)}")
        raw: Array = np.load(outputs, allow_pickle=False)
    return raw, done.stdout
