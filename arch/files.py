"""Atomic writing of files and folders, and hashes."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from arch.errors import InputError

# A temporary file names its process, so that the next run removes what a killed one left (`remove_leftovers`).
LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-\w+(?P<old>-old)?\.part(\.\w+)?", re.DOTALL)
FILE_SUFFIXES = (".png", ".jpg", ".jpeg", ".mp4", ".webm", ".json", ".html", ".zip", ".safetensors", ".task", ".tflite")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errno of a write that freed space would let succeed
MAX_KEPT_NAME = 100  # bytes of a file's name in that of its temporary file


def read_regular(path: str | Path, limit: int = -1) -> bytes:
    """Return the content of a regular file, or its first `limit` bytes.

    Raises:
        OSError: it cannot be read, or is a folder, or a pipe, socket or device, which might block.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        return file.read(limit)


def write_atomic(path: str | Path, data: bytes | str, durable: bool = True) -> None:
    """Write `data` to `path` by renaming a temporary file, so that a reader never sees a partial file.

    durable: wait for the disk; without, the file may be incomplete after a loss of power

    Raises:
        OSError: with the path as its `filename`, also where the disk is full.
    """
    path = Path(path)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path.name), suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data.encode(errors="backslashreplace") if isinstance(data, str) else data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def remove_leftovers(folder: str | Path, recursive: bool = False) -> None:
    """Remove the temporary files and folders that killed processes of this machine left in `folder`.

    A folder that a killed process had moved aside, to replace it, is moved back.
    """
    found = []
    for root, folders, files in os.walk(folder):  # unlike rglob, goes on if a folder vanishes meanwhile
        found += [Path(root, name) for name in (*folders, *files) if name.startswith(".")]
        if not recursive:
            break
    for path in found:
        match = LEFTOVER.fullmatch(path.name)
        if match is None or match["host"] != _host() or _is_running(int(match["pid"])):
            continue
        if match["old"] and not path.with_name(match["name"]).exists():
            with suppress(FileNotFoundError):
                path.rename(path.with_name(match["name"]))
        else:
            _remove(path)


def temporary_prefix(name: str) -> str:
    """Return the prefix of a temporary file, which is named after this process and the file `name`."""
    kept = os.fsencode(name)[:MAX_KEPT_NAME].decode(errors="ignore") or "_"
    return f".{kept}.{_host()}-{os.getpid()}-"


@functools.cache
def process_space() -> str:
    """Return a text for the running system and its process namespace, in which process numbers are unique."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and namespace.is_symlink():
        return f"{boot.read_text().strip()} {os.readlink(namespace)}"
    return os.uname().nodename


@functools.cache
def _host() -> str:
    return hashlib.sha256(process_space().encode()).hexdigest()[:8]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name `path` in an error of the system that names no file, as that of a full disk, or its temporary file."""
    try:
        yield
    except OSError as error:
        is_temporary = isinstance(error.filename, str) and LEFTOVER.fullmatch(Path(error.filename).name)
        if error.errno is not None and (error.filename is None or is_temporary):
            error.filename = str(path)
        raise


def check_output(path: str | Path, where: str, suffix: str = "") -> None:
    """Check that `write_atomic` can write a file, by a temporary file in the nearest folder that exists.

    suffix: that its name must have, such as .png; empty: any

    Raises:
        InputError: it cannot; the message starts with `where` and the path.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise InputError(f"{where} {path}: {kind}; give the path of a file")
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(f"{where} {path}: the file is read-only; give another path")
        _try_writing(path.absolute().parents, path, where)
    except OSError as error:
        raise InputError(f"{where} {path}: {error.strerror}; give a path that can be written") from None
    if not path.name.lower().endswith(suffix):
        raise InputError(f"{where} {path}: the file is written as {suffix}; give a name that ends in {suffix}")


def check_output_folder(path: str | Path, where: str) -> None:
    """Check that files can be written into a folder, which need not exist yet; leave nothing behind.

    Raises:
        InputError: they cannot; the message starts with `where` and the path.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_dir():
            raise InputError(f"{where} {path}: not a folder; give the path of a folder")
        if path.suffix.lower() in FILE_SUFFIXES and not path.exists():
            raise InputError(f"{where} {path}: the name of a {path.suffix} file; give the path of a folder")
        _try_writing((path.absolute(), *path.absolute().parents), path, where)
    except OSError as error:
        raise InputError(f"{where} {path}: {error.strerror}; give a folder that can be written") from None


def _try_writing(folders: Iterable[Path], path: Path, where: str) -> None:
    """Write and remove a temporary file in the first of `folders` that exists."""
    folder = next(place for place in folders if place.exists())
    if not folder.is_dir():
        raise InputError(f"{where} {path}: {folder} is not a folder; give another path")
    with suppress(FileNotFoundError):
        os.lstat(folder / path.name)  # its name may be too long
    with tempfile.NamedTemporaryFile(dir=folder, prefix=temporary_prefix(path.name), suffix=".part") as file:
        file.write(bytes(4096))  # a full disk accepts an empty file
        file.flush()


@contextmanager
def atomic_dir(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `path` if the block succeeds; after an exception, `path` is unchanged."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=temporary_prefix(path.name), suffix=".part"))
    old = temporary.with_name(temporary.name.removesuffix(".part") + "-old.part")
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        _remove(old)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sha256_file(path: str | Path) -> str:
    """Return the hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(value: Any, digits: int = 12) -> str:
    """Return the hash of a JSON-serialisable value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
