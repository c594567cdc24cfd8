"""Latency: is a ratio steady, does it agree with the runtimes' own tools, is the order that of the paper's Table 10?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from explore.bench import Claim, latency_steady, latency_table10, latency_tools
from explore.data.synthetic.dataset import default_cache
from explore.measure.untrained import Job, make_all
from quantize.convert import ConversionError
from quantize.recipes import recipe

PARTS = (latency_steady, latency_tools, latency_table10)
CONFIG = {part.__name__.rpartition("_")[2]: part.CONFIG for part in PARTS}


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Rows and claims of the three parts; the files that they time are made once and kept in the cache.

    Raises:
        ConversionError: a file could not be made.
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
    """Make what is not in the cache yet; half of the time of a first run."""
    wanted = dict.fromkeys(file for part in PARTS for file in part.files())
    jobs = [Job(arch, runtime, recipe(name), path(arch.id, runtime, name)) for arch, runtime, name in wanted]
    for index, made in enumerate(make_all(jobs, 0, folder())):
        if isinstance(made, ConversionError):
            raise made
        progress((index + 1) / len(jobs))


def folder() -> Path:
    return default_cache() / "bench-latency"


def path(arch_id: str, runtime: str, recipe_name: str) -> Path:
    """Folder of a network's file."""
    return folder() / f"{arch_id}-{runtime}-{recipe_name}"
