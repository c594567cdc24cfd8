"""The measurement lane: while one process times a model, training on the same machine stands still.

Workers take the lane shared for every training step or conversion, and a measurement takes it alone. The kernel frees
both locks when a process dies, so nothing is left locked behind.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Lane:
    """Two lock files in `folder`: a gate that all pass, which a waiting measurement holds shut, and the lane itself."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._gate = open(folder / "gate.lock", "a")  # noqa: SIM115 - held open as long as the lane
        self._lane = open(folder / "lane.lock", "a")  # noqa: SIM115

    @contextmanager
    def work(self) -> Iterator[None]:
        """Work that would disturb a measurement; waits while one runs or waits."""
        fcntl.flock(self._gate, fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        fcntl.flock(self._lane, fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(self._lane, fcntl.LOCK_UN)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """A measurement: nobody else works meanwhile."""
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._lane, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lane, fcntl.LOCK_UN)
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def close(self) -> None:
        self._gate.close()
        self._lane.close()
