"""The journal of a labelled set: everything that the teacher returned, one line for each image.

Filters and joint maps are applied to the journal afterwards, so that they can be changed without the teacher. A run
that was interrupted continues after the last complete line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from arch.errors import InputError, describe

FILE = "labels.jsonl"
COLUMNS = 9  # of `PersonRecord.joints`


class Header(BaseModel):
    """First line of a journal: the teacher, the hash of its weights, and the names of its joints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = 1
    teacher: str
    fingerprint: str
    skeleton: str
    joints: tuple[str, ...]


class PersonRecord(BaseModel):
    """One labelled person.

    joints: for each joint x, y, depth in px of the stored image; x, y, z mm relative to the hips; visibility; distance
        between image and mirror image in px and in mm
    mask, mask_box: file relative to masks/, and the bounds x, y, w, h px of the person in it
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    presence: float
    joints: list[list[float]]
    mask: str = ""
    mask_box: tuple[float, float, float, float] | None = None

    @property
    def table(self) -> np.ndarray:
        """`joints` as an array (K, 9)."""
        return np.asarray(self.joints, np.float64).reshape(-1, COLUMNS)


class ShotRecord(BaseModel):
    """One image. scale: px of the stored image per px of the source; people: empty if nobody was found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    source: str
    image: str = ""
    unit: int
    width: int
    height: int
    scale: float
    focal: float
    people: list[PersonRecord]


class Journal:
    """The file FOLDER/labels.jsonl, to which records are appended. keys: of the images in it.

    Raises:
        InputError: the folder was labelled by another teacher, or the file is damaged.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.path = folder / FILE
        self.keys: set[str] = set()
        if self.path.is_file():
            self._drop_partial_line()
        if self.path.is_file() and self.path.stat().st_size:
            self._check(header)
            self.keys = {record.key for record in self.records()}
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - open until `close`
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "w", encoding="utf-8")  # noqa: SIM115
            self._write(header)

    def add(self, record: ShotRecord) -> None:
        """Append a record; it survives the end of the process."""
        self._write(record)
        self.keys.add(record.key)

    def records(self) -> Iterator[ShotRecord]:
        """Yield all records in the order in which they were written."""
        with open(self.path, encoding="utf-8") as file:
            next(file)
            for number, line in enumerate(file, 2):
                try:
                    yield ShotRecord.model_validate_json(line)
                except ValidationError as error:
                    reason = describe(error, ShotRecord)
                    raise InputError(f"{self.path}: line {number}: {reason}; delete the line") from None

    def close(self) -> None:
        self._file.close()

    def _write(self, record: BaseModel) -> None:
        self._file.write(json.dumps(record.model_dump(mode="json"), separators=(",", ":")) + "\n")
        self._file.flush()

    def _drop_partial_line(self) -> None:
        """Cut off a last line that an interrupted run left incomplete."""
        with open(self.path, "rb+") as file:
            data = file.read()
            if not data.endswith(b"\n"):
                file.truncate(data.rfind(b"\n") + 1)
                os.fsync(file.fileno())

    def _check(self, header: Header) -> None:
        with open(self.path, encoding="utf-8") as file:
            first = next(file)
        try:
            found = Header.model_validate_json(first)
        except ValidationError as error:
            raise InputError(f"{self.path}: line 1: {describe(error, Header)}; give another --out") from None
        if found != header.model_copy(update={"teacher": found.teacher}):  # which may be written in another way
            raise InputError(
                f"{self.path}: labelled by {found.teacher} ({found.fingerprint[:8]}), not {header.teacher} "
                f"({header.fingerprint[:8]}); give another --out, or the same --teacher"
            )
