"""A runtime whose import never ends in a converter process; used by the benchmark `faults`."""

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
    raise NotImplementedError("unreachable: the import hangs")


def load(path: Path, threads: int = 1) -> Any:
    raise NotImplementedError("no model exists")


def inspect(path: Path) -> Any:
    raise NotImplementedError("no model exists")


while getattr(sys.modules["__main__"].__spec__, "name", "") == "quantize.convert_child":
    time.sleep(60)
