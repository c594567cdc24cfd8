"""Steps of a benchmark, whose results are kept in a folder: a later run goes on, and processes share the steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from arch.files import write_atomic
from explore.host import locked, try_lock


def run_steps(
    folder: Path,
    steps: Mapping[str, Callable[[], dict[str, Any]]],
    progress: Callable[[float], None],
    finished_only: bool = False,
) -> dict[str, dict[str, Any]]:
    """Run the missing steps and return all results, which are JSON objects, by name.

    A step that another process is running comes last and is waited for. With `finished_only`, nothing is run, and the
    results of missing steps are left out.
    """
    for wait in () if finished_only else (False, True):
        for turn, (name, step) in enumerate(steps.items()):
            path = folder / f"{name}.json"
            lock = path.with_suffix(".lock")
            if path.exists() or not (wait or _is_free(lock)):
                continue
            with locked(lock):
                if not path.exists():
                    write_atomic(path, json.dumps(step()))
            progress((turn + 1) / len(steps))
    paths = {name: folder / f"{name}.json" for name in steps}
    return {name: json.loads(path.read_bytes()) for name, path in paths.items() if path.exists()}


def _is_free(lock: Path) -> bool:
    held = try_lock(lock)
    if held:
        held.close()
    return held is not None
