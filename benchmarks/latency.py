"""Latency protocol: repeatability, agreement with the runtimes' own tools, and the order of the paper's Table 10."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import Claim, latency_steady, latency_table10, latency_tools
from explore.host import default_cache
from explore.measure.untrained import Conversion, convert_all
from quantize.convert import ConversionError
from quantize.recipes import recipe

PARTS = (latency_steady, latency_tools, latency_table10)
CONFIG = {part.__name__.rpartition("_")[2]: part.CONFIG for part in PARTS}


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return rows and claims of the three parts; model files are cached.

    Raises:
        ConversionError: an export failed.
    """
    make_files(lambda share: progress(0.5 * share))
    rows: list[dict[str, Any]] = []
    claims: list[Claim] = []
    for index, part in enumerate(PARTS):
        more, found = part.run(folder())
        rows += more
        claims += found
        progress(0.5 + 0.5 * (index + 1) / len(PARTS))
    return rows, claims


def make_files(progress: Callable[[float], None]) -> None:
    """Export the files that the cache lacks, about half of the duration of a first run."""
    wanted = dict.fromkeys(file for part in PARTS for file in part.files())
    jobs = [Conversion(arch, runtime, recipe(name), path(arch.id, runtime, name)) for arch, runtime, name in wanted]
    for index, made in enumerate(convert_all(jobs, 0, folder())):
        if isinstance(made, ConversionError):
            raise made
        progress((index + 1) / len(jobs))


def folder() -> Path:
    return default_cache() / "bench-latency"


def path(arch_id: str, runtime: str, recipe_name: str) -> Path:
    """Return the folder of a network's model file."""
    return folder() / f"{arch_id}-{runtime}-{recipe_name}"
