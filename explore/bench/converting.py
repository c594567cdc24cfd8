"""How long a conversion takes: in a process that starts for it, and in one kept warm as a search keeps it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from arch.network import build
from arch.space import named_arch
from explore.bench.at_scale import pictures
from quantize.convert import Converter
from quantize.recipes import recipe
from quantize.weights import save_weights

FULL, SEARCHED = "paper-XS-relu", "paper-XS-relu@64"


def conversion_seconds(runtimes: tuple[str, ...]) -> list[dict[str, Any]]:
    """A row a runtime: seconds for XS by int8-static, in a new process and in a warm one, at 256 and at 64 px.

    Raises:
        ConversionError: a converter failed.
    """
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for runtime in runtimes:
            row: dict[str, Any] = {"part": "conversion", "network": FULL, "runtime": runtime, "recipe": "int8-static"}
            with Converter(Path(scratch, "converter.log")) as converter:
                for key, name in (("cold_s", FULL), ("warm_s", FULL), ("warm_64px_s", SEARCHED)):
                    row[key] = _seconds(converter, name, runtime, Path(scratch, f"{runtime}-{key}"))
            rows.append(row)
    return rows


def _seconds(converter: Converter, name: str, runtime: str, folder: Path) -> float:
    arch = named_arch(name)
    weights = folder.with_suffix(".safetensors")
    save_weights(build(arch, 0), weights)
    x = pictures(arch.input)
    began = time.monotonic()
    converter.export(arch, weights, runtime, recipe("int8-static"), x, folder)
    return time.monotonic() - began
