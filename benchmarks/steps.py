"""Steps of a benchmark, whose results are kept in a folder: a later run goes on, and processes share the steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from arch.files import write_atomic
from explore.host import locked, try_lock

Progress = Callable[[float], None]


def part_of(progress: Progress, index: int, count: int) -> Progress:
    """Return the progress callback of one of `count` equal parts."""
    return lambda share: progress((index + share) / count)


def run_steps(
    folder: Path, steps: Mapping[str, Callable[[], dict[str, Any]]], progress: Progress, finished_only: bool = False
) -> dict[str, dict[str, Any]]:
    """Run the missing steps and return all results, which are JSON objects, by name.

    With `finished_only`, nothing is run, and the results of missing steps are left out.
    """
    paths = {name: folder / f"{name}.json" for name in steps}

    def run(name: str) -> None:
        write_atomic(paths[name], json.dumps(steps[name]()))
        progress((list(steps).index(name) + 1) / len(steps))

    if not finished_only:
        run_missing(folder, steps, lambda name: paths[name].exists(), run)
    return {name: json.loads(path.read_bytes()) for name, path in paths.items() if path.exists()}


def run_missing(folder: Path, names: Iterable[str], is_done: Callable[[str], bool], run: Callable[[str], None]) -> None:
    """Run the missing steps; one that another process is running comes last and is waited for.

    folder: of the locks that processes hold while they run a step
    """
    for wait in (False, True):
        for name in names:
            lock = folder / f"{name}.lock"
            if is_done(name) or not (wait or _is_free(lock)):
                continue
            with locked(lock):
                if not is_done(name):
                    run(name)


def _is_free(lock: Path) -> bool:
    held = try_lock(lock)
    if held:
        held.close()
    return held is not None
