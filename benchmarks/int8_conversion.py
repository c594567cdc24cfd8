"""Duration of a conversion, in a new converter process and in a warm one."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from arch.network import build
from arch.space import named_arch
from benchmarks.int8_full_size import noise_images
from quantize.checkpoint import save_network
from quantize.convert import Converter
from quantize.recipes import recipe

FULL, SEARCHED = "paper-XS-relu", "paper-XS-relu@64"


def conversion_seconds(runtimes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return a row for each runtime: seconds to convert XS to int8-static, cold and warm, at 256 px and 64 px.

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
    save_network(weights, build(arch, 0))
    x = noise_images(arch.input_size)
    began = time.monotonic()
    converter.export(arch, weights, runtime, recipe("int8-static"), x, folder)
    return time.monotonic() - began
