"""Latency protocol: repeatability, agreement with the runtimes' own tools, and the order of the paper's Table 10."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import Claim, latency_steady, latency_table10, latency_tools
from benchmarks.latency_table10 import File
from explore.host import default_cache
from explore.measure.rows import Model
from explore.measure.untrained import Conversion, convert_models
from quantize.recipes import recipe

PARTS = (latency_steady, latency_tools, latency_table10)
CONFIG = {part.__name__.rpartition("_")[2]: part.CONFIG for part in PARTS}


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return rows and claims of the three parts; model files are cached.

    Raises:
        ConversionError: an export failed.
    """
    models = make_models(lambda share: progress(0.5 * share))
    rows: list[dict[str, Any]] = []
    claims: list[Claim] = []
    for index, part in enumerate(PARTS):
        more, found = part.run(models)
        rows += more
        claims += found
        progress(0.5 + 0.5 * (index + 1) / len(PARTS))
    return rows, claims


def make_models(progress: Callable[[float], None]) -> dict[File, Model]:
    """Export the files that the cache lacks, about half of the duration of a first run; return all models."""
    folder = default_cache() / "bench-latency"
    wanted = list(dict.fromkeys(file for part in PARTS for file in part.files()))
    jobs = [
        Conversion(arch, runtime, recipe(name), folder / f"{arch.id}-{runtime}-{name}")
        for arch, runtime, name in wanted
    ]
    models: dict[File, Model] = {}
    for file, model in zip(wanted, convert_models(jobs, 0, folder), strict=True):
        models[file] = model
        progress(len(models) / len(jobs))
    return models
