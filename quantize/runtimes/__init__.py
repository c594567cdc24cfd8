"""The registry of runtimes: a name and the module that knows it. A module is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import cast

from arch.errors import InputError
from arch.heads import HEADS
from arch.space import Arch
from quantize.runtimes.operators import FileAudit
from quantize.runtimes.protocol import Array, Runtime, Session

__all__ = ["RUNTIMES", "Array", "FileAudit", "Runtime", "Session", "depth_gain", "get"]

RUNTIMES: dict[str, str] = {
    "litert": "quantize.runtimes.litert",
    "openvino": "quantize.runtimes.openvino",
    "onnxruntime": "quantize.runtimes.onnxruntime",
}


def get(name: str) -> Runtime:
    """The runtime of that name. Its heavy libraries are imported only when it exports or loads.

    Raises:
        InputError: no such runtime.
    """
    if name not in RUNTIMES:
        raise InputError(f"runtime: '{name}' is not one of {', '.join(RUNTIMES)}")
    return cast(Runtime, importlib.import_module(RUNTIMES[name]))


def depth_gain(runtime: str, arch: Arch) -> float:
    """What `arch.decode` divides the depths by that a file of this runtime puts out."""
    return get(runtime).DEPTH_GAIN if HEADS[arch.head].DEPTH_VALUES else 1.0
