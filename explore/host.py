"""Locks, temporary files and memory settings that the processes of one user share on a machine."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from arch.errors import InputError
from arch.files import LEFTOVER, remove_leftovers, temporary_prefix

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # parameters of mallopt, from glibc's malloc.h


def host_folder() -> Path:
    """Return the folder of this user's locks on this machine.

    Raises:
        InputError: another user owns the folder.
    """
    base = Path(tempfile.gettempdir())
    if LEFTOVER.fullmatch(base.name):  # see `temporary_files`
        return base.parent
    folder = base / f"edgepose-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; set TMPDIR to a folder that can be written") from None
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise InputError(f"{folder}: owned by another user; delete it, or set TMPDIR to another folder")
    return folder


def started_by() -> str:
    """Return how this program is started: `edgepose` where it is installed, `python explore.py` in a clone."""
    return "edgepose" if Path(sys.argv[0]).stem == "edgepose" else "python explore.py"


def default_cache() -> Path:
    """Return the folder of caches, such as rendered data sets: EDGEPOSE_CACHE, or ~/.cache/edgepose."""
    given = os.environ.get("EDGEPOSE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "edgepose"


def ensure_home() -> str:
    """Set HOME to the folder of this user's locks if no home folder is defined; return a notice.

    Containers often run as a user that has neither the variable HOME nor an entry in the system's list of users.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(host_folder())
        return (
            f"HOME is not set; caches are kept in {host_folder()} (set HOME or EDGEPOSE_CACHE to keep them elsewhere)"
        )
    return ""


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees; glibc only, elsewhere nothing changes.

    By default glibc returns large blocks to the system at once, and the kernel clears them again for the next training
    step: then one of paper-L at 64 px takes up to twice as long (`python -m benchmarks loop`). For decoded images,
    clearing takes longer than decoding.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # -1: never


@contextmanager
def temporary_files() -> Iterator[None]:
    """Keep the temporary files of this process and its children in one folder, and remove it at the end.

    Those of killed processes are removed before. Within another such block, nothing changes.
    """
    folder = host_folder()
    if Path(tempfile.gettempdir()).parent == folder:
        yield
        return
    remove_leftovers(folder)
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    path = tempfile.mkdtemp(dir=folder, prefix=temporary_prefix("t"), suffix=".part")  # short: sockets lie in it
    tempfile.tempdir = os.environ["TMPDIR"] = path
    try:
        yield
    finally:
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[1]
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file lock of `path`; the kernel releases it when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(path: Path) -> TextIOWrapper | None:
    """Return an open file that holds the lock of `path` until it is closed, or None if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a")  # noqa: SIM115 - stays open while the lock is held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
