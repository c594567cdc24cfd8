"""Person boxes given by the user, on the command line or in a JSON or CSV file."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveFloat, ValidationError

from arch.errors import InputError, describe, shortened
from arch.files import read_regular
from explore.data.crop import clip_box
from explore.predict.inputs import COMPLETE, PHOTO_SUFFIXES, VIDEO_SUFFIXES

COLUMNS = ("file", "frame", "person", "x", "y", "w", "h", "root_depth_mm")
FILE_KEYS = (
    "file",
    "file_name",
    "filename",
    "image",
    "image_name",
    "image_path",
    "img",
    "path",
    "photo",
    "video",
)
IMAGE_ID = "image_id"  # of RootNet's results and COCO; a number that names no file
NAMED = 5  # names in an error message


class BoxEntry(BaseModel):
    """One person in one image. Without `file` it applies to the only input, without `frame` to every frame."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] = Field(description="x, y, w, h px")
    file: str | None = None
    image_id: int | str | None = None
    frame: int | None = Field(None, ge=0)
    person: int | None = Field(None, ge=1)
    root_depth_mm: PositiveFloat | None = None
    root_cam: tuple[FiniteFloat, FiniteFloat, PositiveFloat] | None = Field(
        None, description="root joint in camera mm, the format of RootNet"
    )

    @property
    def depth(self) -> float | None:
        """Depth of the root joint in mm, or None if the entry has none."""
        return self.root_cam[2] if self.root_depth_mm is None and self.root_cam else self.root_depth_mm


@dataclass(frozen=True)
class Box:
    """A person's box (4,) as x, y, w, h px inside the image, and the depth of the root joint in mm if it is known."""

    number: int
    bbox: np.ndarray
    root_depth: float | None = None


def read_boxes(path: Path) -> list[BoxEntry]:
    """Read the entries of a JSON or CSV file.

    Raises:
        InputError: the file cannot be read, or an entry is invalid.
    """
    try:
        text = read_regular(path).decode("utf-8-sig")
        values = _parse_csv(path, text) if path.suffix.lower() == ".csv" else json.loads(text)
    except InputError:
        raise
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"--boxes {path}: cannot be read ({shortened(error, 200)}); give JSON or CSV") from None
    if not isinstance(values, list) or not values:
        raise InputError(f'--boxes {path}: not a list of boxes; write [{{"file": "a.jpg", "bbox": [x, y, w, h]}}, ...]')
    entries = []
    for number, value in enumerate(values, 1):
        try:
            entries.append(BoxEntry.model_validate(_with_file(value)))
        except ValidationError as error:
            raise InputError(f"--boxes {path}: entry {number}: {describe(error, BoxEntry)}; correct it") from None
    return entries


def _with_file(value: Any) -> Any:
    """Return the values of an entry with the name of its image under `file`."""
    if not isinstance(value, dict):
        return value
    names = {str(key).strip().lower(): content for key, content in value.items()}
    texts = {key: content for key, content in names.items() if isinstance(content, str) and content}
    files = [text for text in texts.values() if PurePath(text).suffix.lower() in PHOTO_SUFFIXES + VIDEO_SUFFIXES]
    found = next((texts[key] for key in (*FILE_KEYS, IMAGE_ID) if key in texts), files[0] if files else None)
    return value if found is None else {**value, "file": found}


def is_of(entry: BoxEntry, name: str) -> bool:
    """Return whether an entry applies to the input `name`; its `file` may be the last parts of the input's path."""
    if entry.file is None:
        return True
    parts = _parts(entry.file)
    return parts == _parts(name)[-len(parts) :]


def _parts(name: str) -> tuple[str, ...]:
    return PurePath(name.replace("\\", "/")).parts


def check_files(entries: Sequence[BoxEntry], option: str, inputs: Mapping[str, int | None]) -> list[str]:
    """Check that the entries belong to the inputs, and return the names of files that are not among them.

    Args:
        inputs: name of each photo or video, and its number of frames if that is known.

    Raises:
        InputError: entries without a file though there are several inputs, names that match no input while an input
            has no boxes, or frames that do not exist.
    """
    nameless = [number for number, entry in enumerate(entries, 1) if entry.file is None]
    several = len(inputs) > 1 or len({entry.image_id for entry in entries}) > 1
    if nameless and (several or len(nameless) < len(entries)):
        raise InputError(f"{option}: entry {nameless[0]}: no file; name the photo or video of each box under 'file'")
    unmatched = dict.fromkeys(
        entry.file for entry in entries if entry.file and not any(is_of(entry, n) for n in inputs)
    )
    bare = [name for name in inputs if not any(is_of(entry, name) for entry in entries)]
    suggested = {file: _similar(file, bare, bare == list(inputs)) for file in unmatched}
    if unmatched and (bare == list(inputs) or any(suggested.values())):
        shown = [f"'{file}'" + (f" (did you mean '{near}'?)" if near else "") for file, near in suggested.items()]
        shown.sort(key=lambda text: "did you mean" not in text)
        more = f" and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
        raise InputError(f"{option}: file: {', '.join(shown[:NAMED])}{more}: matches no input; correct the names")
    for name, count in inputs.items():
        last = math.inf if count is None else count if count == 1 else count / COMPLETE  # videos announce it roughly
        late = [entry.frame for entry in entries if is_of(entry, name) and entry.frame and entry.frame >= last]
        if late:
            raise InputError(f"{option}: frame {late[0]}: {name} has {count} frames, counted from 0; correct the frame")
    return [file for file in unmatched if file]


def _similar(file: str, names: Sequence[str], other_numbers: bool) -> str | None:
    """Return the name most similar to `file`; without `other_numbers`, `a-1.jpg` is not similar to `a-2.jpg`."""
    wanted = _parts(file)[-1].lower()
    candidates = {_parts(name)[-1].lower(): _parts(name)[-1] for name in names}
    if not other_numbers:
        candidates = {
            low: name for low, name in candidates.items() if re.findall(r"\d+", low) == re.findall(r"\d+", wanted)
        }
    near = get_close_matches(wanted, candidates, 1)
    return candidates[near[0]] if near else None


def _parse_csv(path: Path, text: str) -> list[dict[str, Any]]:
    rows = csv.DictReader(text.splitlines())
    names = rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or []]
    if missing := [name for name in "xywh" if name not in names]:
        raise InputError(f"--boxes {path}: no column {', '.join(missing)}; the first line must be {','.join(COLUMNS)}, "
                         "where only x,y,w,h are required")  # fmt: skip
    values = []
    for row in rows:
        filled: Mapping[str, Any] = {key: value for key, value in row.items() if value}
        values.append({**filled, "bbox": [filled.get(side) for side in "xywh"]})
    return values


def boxes_of_frame(
    entries: Sequence[BoxEntry], option: str, name: str, frame: int, width: int, height: int
) -> list[Box]:
    """Return the boxes of one image of width x height px; a photo is frame 0.

    Persons without a number get the smallest free ones. option: the option that gave the boxes, for error messages.

    Raises:
        InputError: a box without area or outside the image.
    """
    own = [entry for entry in entries if is_of(entry, name) and entry.frame in (None, frame)]
    free = itertools.filterfalse({entry.person for entry in own}.__contains__, itertools.count(1))
    boxes: list[Box] = []
    for entry in own:
        try:
            bbox = clip_box(entry.bbox, width, height)
        except ValueError as error:
            given = ",".join(f"{value:g}" for value in entry.bbox)
            place = name if entry.frame is None else f"{name}, frame {frame}"
            raise InputError(
                f"{place}: {option} {given}: {error}; give x,y,w,h in px within {width} x {height}"
            ) from None
        boxes.append(Box(entry.person or next(free), bbox, entry.depth))
    return boxes
