"""A runtime that never becomes ready in a converter process. Known to `bench faults` alone."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from arch.space import Arch
from quantize.recipes import Recipe

FILES = ("model.none",)


def unsupported(arch: Arch, recipe: Recipe) -> list[str]:
    return []


def export(net: Any, folder: Path, recipe: Recipe, calibration: Any) -> Path:
    raise NotImplementedError("no converter gets here")


def load(path: Path, threads: int = 1) -> Any:
    raise NotImplementedError("nothing was ever made to be loaded")


def inspect(path: Path) -> Any:
    raise NotImplementedError("nothing was ever made to be looked at")


while getattr(sys.modules["__main__"].__spec__, "name", "") == "quantize.convert_child":
    time.sleep(60)
