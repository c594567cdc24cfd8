"""Boxes from a file: JSON or CSV, one entry a person, by picture, by frame or for all."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveFloat, ValidationError

from arch.errors import InputError
from explore.data.crop import clip_box

COLUMNS = ("file", "frame", "person", "x", "y", "w", "h", "root_depth_mm")


class Entry(BaseModel):
    """A person of a picture. `file` and `frame` left away: of every picture, of every frame."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] = Field(description="x, y, w, h px")
    file: str | None = None
    frame: int | None = Field(None, ge=0)
    person: int | None = Field(None, ge=1)
    root_depth_mm: PositiveFloat | None = None
    root_cam: tuple[FiniteFloat, FiniteFloat, PositiveFloat] | None = Field(
        None, description="camera mm of the root joint, as RootNet writes it"
    )

    @property
    def depth(self) -> float | None:
        return self.root_cam[2] if self.root_depth_mm is None and self.root_cam else self.root_depth_mm


@dataclass(frozen=True)
class Box:
    """A person's place: bbox (4,) x, y, w, h px inside the picture; root_depth mm where it is known."""

    number: int
    bbox: np.ndarray
    root_depth: float | None = None


def read_boxes(path: Path) -> list[Entry]:
    """The entries of a file.

    Raises:
        InputError: it cannot be read, or an entry makes no sense.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = _of_csv(path, text) if path.suffix.lower() == ".csv" else json.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError, csv.Error) as error:
        raise InputError(f"--boxes {path}: cannot be read ({' '.join(str(error).split())}); give JSON or CSV") from None
    if not isinstance(values, list) or not values:
        raise InputError(f'--boxes {path}: give a list of boxes: [{{"file": "a.jpg", "bbox": [x, y, w, h]}}, ...]')
    entries = []
    for place, value in enumerate(values, 1):
        try:
            entries.append(Entry.model_validate(value))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "entry"
            raise InputError(f"--boxes {path}: entry {place}: {key}: {first['msg']}; correct it") from None
    return entries


def _of_csv(path: Path, text: str) -> list[dict[str, Any]]:
    rows = csv.DictReader(text.splitlines())
    names = rows.fieldnames or []
    if not {"x", "y", "w", "h"} <= set(names):
        raise InputError(f"--boxes {path}: its first line names {', '.join(names)}; give {','.join(COLUMNS)} (x to h)")
    made = []
    for row in rows:
        own: Mapping[str, Any] = {key: value for key, value in row.items() if value}
        made.append({**own, "bbox": [own.get(side) for side in "xywh"]})
    return made


def boxes_of(entries: Sequence[Entry], option: str, name: str, frame: int, width: int, height: int) -> list[Box]:
    """Those of one picture (a photo is frame 0) of width x height px, people numbered from 1 where not numbered.

    Raises:
        InputError: a box without area, or outside the picture; it names the option that the box came by.
    """
    made: list[Box] = []
    for entry in entries:
        other = entry.file is not None and PurePath(entry.file) != PurePath(name) and entry.file != PurePath(name).name
        if other or (entry.frame is not None and entry.frame != frame):
            continue
        try:
            bbox = clip_box(entry.bbox, width, height)
        except ValueError as error:
            given = ",".join(f"{value:g}" for value in entry.bbox)
            spot = name if entry.frame is None else f"{name}, frame {frame}"
            raise InputError(
                f"{spot}: {option} {given}: {error}; give x,y,w,h in pixels within {width} x {height}"
            ) from None
        made.append(Box(entry.person or len(made) + 1, bbox, entry.depth))
    return made
