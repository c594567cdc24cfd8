"""What the readers share: JSON that is checked while it is read, and people who become a Dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from explore.data.crop import clip_box
from explore.data.faults import Absent, Faults, SampleFault
from explore.data.sample import Dataset
from explore.data.skeleton import Skeleton

# ---- JSON ----


def read_json(path: Path, digest: Any, missing: str = "give the folder that holds it") -> dict[str, Any]:
    """The object in a JSON file; see `read_content`."""
    value = read_content(path, digest, missing)
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is expected, not a {type(value).__name__}")
    return value


def read_content(path: Path, digest: Any, missing: str) -> Any:
    """What a JSON file holds; its bytes go into `digest`. InputError: missing (with that advice) or broken."""
    if not path.is_file():
        raise Absent(f"{path}: missing; {missing}")
    data = path.read_bytes()
    digest.update(data)
    try:
        return json.loads(data)
    except ValueError as error:
        raise InputError(f"{path}: not whole JSON ({error}); fetch the file again, it may be cut off") from error


def need(entry: Any, key: str, where: object) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise InputError(f"{where}: key {key!r} is missing; the file must follow the layout of its data set")
    return entry[key]


def array(value: Any) -> np.ndarray:
    """Numbers as float64; a ragged or non-numeric value becomes an empty array, refused by its shape."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return np.empty(0)


def numbers(entry: Any, key: str, shape: tuple[int, ...], where: object) -> np.ndarray:
    """`entry[key]` as an array of `shape`, given flat or nested. InputError where it is not that many numbers."""
    value = array(need(entry, key, where))
    if value.size != np.prod(shape):
        said = " x ".join(str(length) for length in shape)
        raise InputError(f"{where}: {key} has {value.size} values; give {said}")
    return value.reshape(shape)


# ---- pictures and boxes ----


@dataclass(frozen=True)
class Picture:
    """An image entry. file: relative to the data set's root; where: what errors call it."""

    entry: dict[str, Any]
    file: str
    size: tuple[int, int]
    where: str


def picture_table(content: dict[str, Any], path: Path, folder: Path, root: Path) -> dict[Any, Picture]:
    """The `images` of a COCO-style file by id. folder: what their file names are relative to."""
    table = {}
    for entry in need(content, "images", path):
        number = need(entry, "id", f"{path}: image")
        where = f"{path}: image {number}"
        table[number] = picture(entry, where, folder, root)
    return table


def picture(entry: Any, where: str, folder: Path, root: Path) -> Picture:
    """One image entry. InputError: a size that is no pixels, a file name that leads out of `folder`."""
    name, width, height = (need(entry, key, where) for key in ("file_name", "width", "height"))
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise InputError(f"{where}: width, height are not pixels; correct them")
    if not isinstance(name, str) or not name or ".." in Path(name).parts or Path(name).is_absolute():
        raise InputError(f"{where}: file_name is no path below {folder}; correct it")
    return Picture(entry, (folder / name).relative_to(root).as_posix(), (width, height), where)


def present(root: Path, found: Picture, where: str) -> None:
    """SampleFault where the picture's file is not there."""
    if not (root / found.file).is_file():
        named = where.split(": ")[0]
        raise SampleFault("missing", f"{root / found.file}: image missing, {named} names it; restore it or drop it")


def box(annotation: Any, where: str, found: Picture) -> np.ndarray:
    """The annotation's box inside the picture; SampleFault for one without area."""
    value = need(annotation, "bbox", where)
    try:
        return clip_box(value, *found.size)
    except (ValueError, TypeError) as error:
        raise SampleFault("box", f"{where}: bbox {error}; give x, y, w, h in pixels of {found.file}") from error


def finite(joints: np.ndarray, where: str) -> np.ndarray:
    """SampleFault where a joint is no number."""
    if not np.isfinite(joints).all():
        raise SampleFault("joints", f"{where} has joints that are not finite numbers; correct or drop the frame")
    return joints


def in_front(cam: np.ndarray, where: str) -> np.ndarray:
    """SampleFault where a joint (J, 3) camera mm lies behind the camera."""
    if (cam[..., 2] <= 0).any():
        raise SampleFault("camera", f"{where}: joints lie behind the camera; correct them or the camera")
    return cam


# ---- people to columns ----


@dataclass(frozen=True)
class Person:
    """One row of a Dataset; see Sample. joints_cam is None in a 2D set."""

    picture: Picture
    bbox: np.ndarray
    px: np.ndarray
    joints_cam: np.ndarray | None
    vis: np.ndarray
    f: np.ndarray
    c: np.ndarray
    subject: int = 0
    action: str = ""
    camera: int = 0
    frame: int = 0


@dataclass
class Collector:
    """Gathers the people of a split under the rule of explore.data.faults, and makes a Dataset of them."""

    name: str
    split: str
    root: Path
    skeleton: Skeleton
    faults: Faults
    digest: Any = field(default_factory=hashlib.sha256)
    people: list[Person] = field(default_factory=list)
    seen: int = 0

    def collect(self, entries: Iterable[Any], person: Callable[[Any], Person | None]) -> None:
        """Add `person(entry)` for every entry; None leaves one out, a SampleFault is counted."""
        for entry in entries:
            try:
                found = person(entry)
            except SampleFault as fault:
                self.faults.add(fault)
                self.seen += 1
                continue
            if found is not None:
                self.people.append(found)
                self.seen += 1

    def dataset(self, empty: str) -> Dataset:
        """The Dataset. InputError: no people (the line says `empty`), or too many faults."""
        skipped = self.faults.settle(self.seen, self.split)
        if not self.people:
            raise InputError(empty)
        for person in self.people:
            self.digest.update(person.picture.file.encode())
        return _columns(self, skipped)


def _columns(of: Collector, skipped: dict[str, int]) -> Dataset:
    people, root = of.people, of.skeleton.root
    vis = np.stack([person.vis for person in people]).astype(np.float32)
    unknown = np.full((len(of.skeleton), 3), np.nan)
    cam = np.stack([unknown if person.joints_cam is None else person.joints_cam for person in people])
    has_depth = np.array([person.joints_cam is not None for person in people])
    depth = cam[..., 2:] - cam[:, root, None, 2:]
    img = np.concatenate([np.stack([person.px for person in people]), depth], -1)
    return Dataset(
        name=of.name,
        split=of.split,
        root=of.root,
        skeleton=of.skeleton,
        hash=of.digest.hexdigest()[:12],
        files=tuple(person.picture.file for person in people),
        size=np.array([person.picture.size for person in people]),
        bbox=np.stack([person.bbox for person in people]),
        joints_img=np.nan_to_num(img),
        joints_cam=cam,
        vis=vis,
        has_depth=has_depth,
        root_depth=cam[:, root, 2],
        f=np.stack([person.f for person in people]),
        c=np.stack([person.c for person in people]),
        subject=np.array([person.subject for person in people]),
        action=tuple(person.action for person in people),
        camera=np.array([person.camera for person in people]),
        frame=np.array([person.frame for person in people]),
        skipped=skipped,
    )


def project(camera: np.ndarray, f: np.ndarray, c: np.ndarray) -> np.ndarray:
    """(..., 3) camera mm to (..., 2) px."""
    return camera[..., :2] / camera[..., 2:] * f + c


def midpoint(joints: np.ndarray, vis: np.ndarray, pair: Sequence[int]) -> tuple[np.ndarray, float]:
    """The point between two joints, seen where both are."""
    return joints[list(pair)].mean(0), float(vis[list(pair)].min())


def only(split: str, allowed: dict[str, str], name: str) -> str:
    """The file of a split. InputError for a split that the data set does not have."""
    if split not in ("train", "test"):
        raise InputError(f"split {split!r} is unknown: give train or test")
    if split not in allowed:
        other = " and ".join(allowed)
        raise Absent(f"data {name}: has a {other} part only; name another set for the {split} part")
    return allowed[split]
