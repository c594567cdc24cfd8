"""Test runs of model files of unknown origin in a child process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arch.errors import InputError
from quantize import runtimes
from quantize.probe import probe
from quantize.runtimes import RUNTIMES
from tests.helpers.networks import small_arch
from tests.helpers.runtimes import every_runtime


class Faulty:
    """A session that fails in the way that the text of its file gives."""

    def __init__(self, how: str) -> None:
        self.how = how

    def run(self, x: np.ndarray) -> np.ndarray:
        match self.how:
            case "abort":
                os.abort()
            case "hang":
                time.sleep(600)
            case "nan":
                return np.full((1, 4), np.nan)
            case "greedy":
                return np.ones((1 << 36,), np.uint8)
            case "raise":
                raise RuntimeError("shape (1, 4) is not (1, 5)")
        return np.zeros((1, 4))


def load(path: Path, threads: int) -> Any:
    return Faulty(path.read_text())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("abort", "rejected: faulty crashed with SIGABRT"),
        ("hang", "rejected: faulty did not run it within 3 s"),
        ("nan", "its output for a black image is not finite"),
        ("greedy", "faulty failed .*MemoryError"),
        ("raise", r"faulty failed \(RuntimeError: shape"),
    ],
)
def test_faults_are_reported(how: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, "faulty", __name__)
    (tmp_path / "model").write_text(how)
    with pytest.raises(InputError, match=message) as caught:
        probe(tmp_path / "model", "faulty", small_arch(), timeout_s=3 if how == "hang" else 60)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{tmp_path / 'model'}: ")


@every_runtime
def test_valid_file_passes_and_half_of_it_fails(
    runtime: str, exported: Callable[[str, str, str], Path], tmp_path: Path
) -> None:
    model = exported(runtime, "heatmap-2.5d", "float")
    probe(model, runtime, small_arch())
    for name in runtimes.get(runtime).FILES:
        data = (model.parent / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"rejected: .*cannot load it: "):
        probe(tmp_path / model.name, runtime, small_arch())
