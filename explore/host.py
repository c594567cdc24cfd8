"""What the processes of one user on one machine share while they run: locks that die with their holders."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from arch.errors import InputError


def host_folder() -> Path:
    """The folder of this user's locks on this machine.

    Raises:
        InputError: somebody else has it.
    """
    folder = Path(tempfile.gettempdir()) / f"edgepose-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise InputError(f"{folder}: belongs to somebody else; delete it, or set TMPDIR to a folder of your own")
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file lock of `path`; the kernel frees it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(path: Path) -> TextIOWrapper | None:
    """The open file that holds the lock of `path` until closed; None when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a")  # noqa: SIM115 - held open as long as the lock
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
