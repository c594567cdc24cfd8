"""Latency at full input size, of networks with random weights, which are as fast as trained ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arch.network import build
from arch.space import Arch
from benchmarks.intervals import ratio_interval
from explore.measure.config import MeasureConfig
from explore.measure.latency import measure, retry_disturbed
from quantize import operator_check, runtimes
from quantize.checkpoint import save_network
from quantize.convert import Converter
from quantize.recipes import recipe
from quantize.runtimes import Array

RULES = MeasureConfig(rounds=8, calls=5, max_seconds=60.0)


def latencies(arch: Arch, names: Sequence[str], recipes: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """Return a row for each runtime and recipe, measured in interleaved rounds.

    A row has latency_ms, and speedup over the runtime's float file with its 95% interval (speedup_low, speedup_high).

    Raises:
        ConversionError: a converter failed.
        Disturbed: other processes disturbed every attempt.
    """
    x = noise_images(arch.input_size)
    calls: dict[str, Callable[[], None]] = {}
    for name in names:
        for recipe_name in recipes:
            if not operator_check.reasons(arch, name, recipe(recipe_name)):
                calls[f"{name} {recipe_name}"] = (
                    runtimes.get(name).load(export(arch, name, recipe_name, folder)).prepare(x[:1])
                )
    found = retry_disturbed(lambda: measure(calls, RULES, f"{names[0]} float"))
    rows = []
    for key, latency in found.items():
        name, recipe_name = key.split(" ")
        plain = found[f"{name} float"]
        low, high = ratio_interval(plain, latency)
        rows.append(
            {"part": "scale", "network": arch.name, "weights": "random", "runtime": name, "recipe": recipe_name}
            | {"latency_ms": latency.median_ms, "speedup": plain.median_ms / latency.median_ms}
            | {"speedup_low": low, "speedup_high": high}
        )
    return rows


def export(arch: Arch, runtime: str, recipe_name: str, folder: Path) -> Path:
    """Return the file with random weights; export it unless `folder` has it."""
    target = folder / arch.id / f"{runtime}-{recipe_name}"
    path = target / runtimes.get(runtime).FILES[0]
    if not path.exists():
        weights = folder / arch.id / "random.safetensors"
        save_network(weights, build(arch, 0))
        with Converter(folder / "converter.log") as converter:
            converter.export(arch, weights, runtime, recipe(recipe_name), noise_images(arch.input_size), target)
    return path


def noise_images(size: int, count: int = 24) -> Array:
    """Return normalised noise (count, 3, size, size), for calibration where accuracy does not matter."""
    return np.random.default_rng(0).normal(size=(count, 3, size, size)).clip(-2, 2).astype(np.float32)
