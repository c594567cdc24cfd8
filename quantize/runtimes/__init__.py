"""Registry of runtimes: names and modules. A module is imported when the runtime is used."""

from __future__ import annotations

import importlib
from typing import cast

from arch.errors import InputError, not_one_of
from arch.heads import HEADS
from arch.space import Arch
from quantize.runtimes.operators import ModelSummary
from quantize.runtimes.protocol import Array, Runtime, Session

__all__ = ["RUNTIMES", "Array", "ModelSummary", "Runtime", "Session", "depth_scale", "get"]

RUNTIMES: dict[str, str] = {
    "litert": "quantize.runtimes.litert",
    "openvino": "quantize.runtimes.openvino",
    "onnxruntime": "quantize.runtimes.onnxruntime",
    "executorch": "quantize.runtimes.executorch",
}


def get(name: str) -> Runtime:
    """Return a runtime by its name. Its libraries are imported when it exports or loads a file.

    Raises:
        InputError: no such runtime.
    """
    if name not in RUNTIMES:
        raise InputError(f"runtime: {not_one_of(name, RUNTIMES)}")
    return cast(Runtime, importlib.import_module(RUNTIMES[name]))


def depth_scale(runtime: str, arch: Arch) -> float:
    """Return the `depth_scale` to pass to `arch.decode` for a file of this runtime."""
    return get(runtime).DEPTH_SCALE if HEADS[arch.head].DEPTH_VALUES else 1.0
