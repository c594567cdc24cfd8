"""A file of unknown origin never ends the process that asked."""

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


class Faulty:
    """A session that fails as its file's text says."""

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
    ("how", "said"),
    [
        ("abort", "faulty crashed on it with SIGABRT; the file is refused"),
        ("hang", "did not run it within 3 s"),
        ("nan", "its answer to an empty picture is not finite"),
        ("greedy", "faulty failed on it .*MemoryError"),
        ("raise", r"faulty failed on it \(RuntimeError: shape"),
    ],
)
def test_faults_are_told(how: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, "faulty", __name__)
    (tmp_path / "model").write_text(how)
    with pytest.raises(InputError, match=said) as caught:
        probe(tmp_path / "model", "faulty", 32, timeout_s=3 if how == "hang" else 60)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{tmp_path / 'model'}: ")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_good_file_passes_and_half_of_it_does_not(
    runtime: str, exported: Callable[[str, str, str], Path], tmp_path: Path
) -> None:
    model = exported(runtime, "depthmap", "float")
    probe(model, runtime, 64)
    for name in runtimes.get(runtime).FILES:
        data = (model.parent / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cannot load it: .*; the file is refused"):
        probe(tmp_path / model.name, runtime, 64)
