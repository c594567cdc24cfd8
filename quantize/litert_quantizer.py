"""The quantizer of LiteRT, which is installed as litert-quantizer or under its former name, ai-edge-quantizer."""

from __future__ import annotations

import importlib
from importlib import util
from typing import Any

PACKAGES = ("litert_quantizer", "ai_edge_quantizer")  # the same interface; the first installed one is used


def module(name: str) -> Any:
    """Import a module of the quantizer, such as `qtyping`.

    Raises:
        ModuleNotFoundError: neither package is installed.
    """
    package = next((package for package in PACKAGES if util.find_spec(package)), PACKAGES[0])
    return importlib.import_module(f"{package}.{name}")
