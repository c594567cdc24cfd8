"""The measurement lock: training on a machine pauses while another process of the search measures there."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path


class MeasurementLock:
    """A lock that is held shared by training and conversion, and exclusively by a measurement.

    A second lock file lets a waiting measurement stop new work from starting. The kernel releases both locks when a
    process dies.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._gate = open(folder / "gate.lock", "a")  # noqa: SIM115 - held open as long as the lock
        self._lock = open(folder / "measurement.lock", "a")  # noqa: SIM115

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock for work that would disturb a measurement; wait while one runs or waits."""
        with _held(self._gate, fcntl.LOCK_SH):
            pass
        with _held(self._lock, fcntl.LOCK_SH):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock for a measurement; wait until all other work pauses."""
        with _held(self._gate, fcntl.LOCK_EX), _held(self._lock, fcntl.LOCK_EX):
            yield

    def close(self) -> None:
        self._gate.close()
        self._lock.close()


@contextmanager
def _held(file: TextIOWrapper, kind: int) -> Iterator[None]:
    fcntl.flock(file, kind)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
