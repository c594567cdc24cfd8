"""A bundle as one .zip file: written the same for the same bundle, and opened with as little trust as a folder."""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from pathlib import Path

from arch.errors import InputError
from arch.files import write_atomic

MOST_FILES = 16
MOST_BYTES = 2**30  # unpacked
CHUNK = 2**20
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
DATE = (1980, 1, 1, 0, 0, 0)


def pack(folder: Path, path: Path) -> None:
    """The files of `folder` as a .zip, without dates, so that the same bundle gives the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(file.name, DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())
    write_atomic(path, packed.getvalue())


def unpack(path: Path, folder: Path) -> None:
    """The files of the .zip into `folder`, which exists: plain files side by side, within limits of number and size.

    Raises:
        InputError: no .zip, a damaged one, or one with anything but plain files side by side, or with too much.
    """
    left = MOST_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in _checked(archive, path):
                with archive.open(entry) as source, open(folder / entry.filename, "xb") as target:
                    while part := source.read(min(CHUNK, left + 1)):
                        left -= len(part)
                        if left < 0:
                            raise InputError(f"{path}: unpacks to more than {MOST_BYTES >> 20} MiB; it is refused")
                        target.write(part)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is no readable .zip ({' '.join(str(error).split())}); export it again") from None


def _checked(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MOST_FILES:
        raise InputError(f"{path}: holds {len(entries)} files, a bundle has at most {MOST_FILES}; it is refused")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if not NAME.fullmatch(entry.filename) or kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
            raise InputError(
                f"{path}: {entry.filename[:80]!r} is no plain file of a bundle (a path, a link or encrypted); it is refused"
            )
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise InputError(f"{path}: holds two files of one name; it is refused")
    return entries
