"""Latency at the size that phones run: networks with random weights, whose speed is that of trained ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arch.network import build
from arch.space import Arch
from explore.bench.intervals import of_ratio
from explore.config import MeasureConfig
from explore.measure.protocol import Disturbed, measure
from quantize import audit, runtimes
from quantize.convert import Converter
from quantize.recipes import recipe
from quantize.runtimes import Array
from quantize.weights import save_weights

ATTEMPTS = 3


def latencies(
    arch: Arch, names: Sequence[str], recipes: Sequence[str], folder: Path, settings: MeasureConfig
) -> list[dict[str, Any]]:
    """A row a runtime and recipe, all timed in one run in turns: latency_ms, and speedup over the runtime's float file, which
    lies in 95% of cases between speedup_low and speedup_high.

    Raises:
        ConversionError: a converter failed.
        Disturbed: other processes kept disturbing.
    """
    x = pictures(arch.input)
    calls: dict[str, Callable[[], None]] = {}
    for name in names:
        for made_by in recipes:
            if not audit.reasons(arch, name, recipe(made_by)):
                calls[f"{name} {made_by}"] = runtimes.get(name).load(made(arch, name, made_by, folder)).prepare(x[:1])
    for attempt in range(ATTEMPTS):
        try:
            found = measure(calls, settings, f"{names[0]} float")
            break
        except Disturbed:
            if attempt == ATTEMPTS - 1:
                raise
    rows = []
    for key, latency in found.items():
        name, made_by = key.split(" ")
        plain = found[f"{name} float"]
        low, high = of_ratio(plain, latency)
        rows.append(
            {"part": "scale", "network": arch.name, "weights": "random", "runtime": name, "recipe": made_by}
            | {"latency_ms": latency.median_ms, "speedup": plain.median_ms / latency.median_ms}
            | {"speedup_low": low, "speedup_high": high}
        )
    return rows


def made(arch: Arch, runtime: str, made_by: str, folder: Path) -> Path:
    """The file with weights of seed 0, made unless `folder` has it."""
    target = folder / arch.id / f"{runtime}-{made_by}"
    path = target / runtimes.get(runtime).FILES[0]
    if not path.exists():
        weights = folder / arch.id / "random.safetensors"
        save_weights(build(arch, 0), weights)
        with Converter(folder / "converter.log") as converter:
            converter.export(arch, weights, runtime, recipe(made_by), pictures(arch.input), target)
    return path


def pictures(size: int, count: int = 24) -> Array:
    """Normalised noise: no ranges that matter come from it."""
    return np.random.default_rng(0).normal(size=(count, 3, size, size)).clip(-2, 2).astype(np.float32)
