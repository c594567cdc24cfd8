"""Runtimes as parameters of tests, which skip those whose library is an extra and missing; model files and run.py, run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arch.decode import unscale_depths
from quantize import runtimes
from quantize.runtimes import RUNTIMES, Array, executorch
from tests.helpers.networks import Case

needs_executorch = pytest.mark.skipif(not executorch.is_installed(), reason=executorch.NOT_INSTALLED)
ALL = [pytest.param(name, marks=[needs_executorch] if name == "executorch" else []) for name in RUNTIMES]
every_runtime = pytest.mark.parametrize("runtime", ALL)


def run_file(runtime: str, path: Path, given: Case) -> Array:
    """Return the raw output of a file for the unseen images, on the scale of torch."""
    session = runtimes.get(runtime).load(path)
    raw = session.run(given.unseen)
    session.close()
    assert raw.dtype == np.float32 and raw.shape == given.raw.shape
    return unscale_depths(raw, given.arch, runtimes.depth_scale(runtime, given.arch))


def snr(ours: Array, reference: Array) -> float:
    """Return the signal-to-noise ratio in dB."""
    return float(10 * np.log10((reference**2).mean() / ((ours - reference) ** 2).mean()))


def run_py(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program of a bundle without this project on the module path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-P", str(folder / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/", env=environment)
