"""Bundles as .zip files: reproducible when written, and checked against unsafe content when opened."""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from pathlib import Path

from arch.errors import InputError
from arch.files import write_atomic

MAX_FILES = 32
MAX_BYTES = 2**30  # uncompressed
CHUNK = 2**20
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
DATE = (1980, 1, 1, 0, 0, 0)


def pack(folder: Path, path: Path) -> None:
    """Write the files of `folder` as a .zip without dates, so that equal bundles give equal bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(file.name, DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())
    write_atomic(path, packed.getvalue())


def unpack(path: Path, folder: Path) -> None:
    """Extract a .zip into the existing `folder`.

    Raises:
        InputError: not a .zip, a damaged one, one with anything but regular files at its top level, or one that
            exceeds `MAX_FILES` or `MAX_BYTES`.
    """
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in _checked_entries(archive, path):
                with archive.open(entry) as source, open(folder / entry.filename, "xb") as target:
                    while part := source.read(min(CHUNK, left + 1)):
                        left -= len(part)
                        if left < 0:
                            raise InputError(f"{path}: unpacks to more than {MAX_BYTES >> 20} MiB, the limit")
                        target.write(part)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a readable .zip ({' '.join(str(error).split())}); export it again") from None


def _checked_entries(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MAX_FILES:
        raise InputError(f"{path}: {len(entries)} files; a bundle has at most {MAX_FILES}")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if not NAME.fullmatch(entry.filename) or kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
            raise InputError(
                f"{path}: {entry.filename[:80]!r}: a path, a link or encrypted; a bundle holds regular files only"
            )
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{path}: {entry.filename[:80]!r}: compressed by an unusual method; use deflate")
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise InputError(f"{path}: two files of the same name; export it again")
    return entries
