"""Helpers shared by the readers: JSON with checked keys, image entries, and people collected into a `Dataset`."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from arch.errors import InputError, shortened
from arch.files import read_regular
from explore.data.crop import clip_box
from explore.data.sample import Dataset
from explore.data.sample_errors import SampleError, SampleErrors, SplitNotFound
from explore.data.skeleton import COCO17, Skeleton

# ---- JSON ----


def read_json(path: Path, digest: Any = None, missing: str = "give the folder that holds it") -> Any:
    """Return the content of a JSON file and add its bytes to `digest`, if given.

    Raises:
        SplitNotFound: no such file; `missing` is the advice.
        InputError: not JSON.
    """
    if not path.exists():
        raise SplitNotFound(f"{path}: missing; {missing}")
    try:
        data = read_regular(path)
        if digest is not None:
            digest.update(data)
        return json.loads(data, parse_int=_parse_int)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; {missing}") from None
    except (ValueError, RecursionError) as error:
        reason = shortened(error, 200)
        raise InputError(f"{path}: not valid JSON ({reason}); fetch the file again, it may be truncated") from error


def _parse_int(digits: str) -> int | float:
    """Return an integer of 64 bits, else a float, which numpy can compute with."""
    return int(digits) if len(digits) < 19 else float(digits)


def read_object(path: Path, digest: Any = None, missing: str = "give the folder that holds it") -> dict[str, Any]:
    """Return the object in a JSON file; see `read_json`."""
    value = read_json(path, digest, missing)
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is expected, not a {type(value).__name__}")
    return value


def require_list(entry: Any, key: str, where: object) -> list[Any]:
    """Return the list `entry[key]`, or raise an InputError."""
    value = require(entry, key, where)
    if not isinstance(value, list):
        raise InputError(f"{where}: {key}: a list is expected, not a {type(value).__name__}; correct it")
    return value


def require_id(entry: Any, key: str, where: object) -> int | str:
    """Return the number or text `entry[key]`, or raise an InputError."""
    value = require(entry, key, where)
    if not isinstance(value, int | str):
        raise InputError(f"{where}: {key} {shortened(repr(value))} is not an id; give a number")
    return value


def require(entry: Any, key: str, where: object) -> Any:
    """Return `entry[key]`, or raise an InputError that names the key and `where` it is missing."""
    if not isinstance(entry, dict) or key not in entry:
        raise InputError(f"{where}: key {key!r} is missing; the file must follow the layout of its data set")
    return entry[key]


def as_array(value: Any) -> np.ndarray:
    """Return float64 numbers; a ragged or non-numeric value becomes an empty array, which no expected shape fits."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return np.empty(0)


def require_array(entry: Any, key: str, shape: tuple[int, ...], where: object) -> np.ndarray:
    """Return `entry[key]`, flat or nested, as an array of `shape`. InputError: another number of values."""
    value = as_array(require(entry, key, where))
    if value.size != np.prod(shape):
        expected = " x ".join(str(length) for length in shape)
        raise InputError(f"{where}: {key} has {value.size} values; give {expected}")
    return value.reshape(shape)


def whole_number(value: Any) -> int | None:
    """Return the whole number that a JSON value is (120 or 120.0), or None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and float(value).is_integer() else None


def check_finite(values: np.ndarray, where: str) -> np.ndarray:
    """Return the values, or raise a SampleError if one is not finite."""
    if not np.isfinite(values).all():
        raise SampleError("joints", f"{where}: joints are not finite numbers; correct or drop the frame")
    return values


def finite_array(entry: Any, key: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Return `entry[key]` as `require_array` does, or raise a SampleError if a value is not finite."""
    return check_finite(require_array(entry, key, shape, where), where)


def flat_keypoints(annotation: Any, joints: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return COCO's flat `keypoints` [x, y, visibility, ...] as px (J, 2) and vis (J,), which is 0 or 1."""
    found = require_array(annotation, "keypoints", (joints, 3), where)
    return found[:, :2], (found[:, 2] > 0).astype(float)


def located(annotation: Any, cam: np.ndarray, where: str) -> np.ndarray:
    """Return vis (J,) of joints that are annotated in 3D also where they are occluded (MuCo-3DHP and MuPoTS-3D).

    A joint with `keypoints_vis` 0 has vis 0 only if its coordinates (J, 3) cannot be a position, such as 0, 0, 0.
    """
    if "keypoints_vis" not in annotation:
        return np.ones(len(cam))
    visible = require_array(annotation, "keypoints_vis", (len(cam),), where) > 0
    return (visible | (np.isfinite(cam).all(1) & (cam[:, 2] > 0))).astype(float)


def check_subjects(folder: Path, split: str, chosen: Iterable[int], present: set[int]) -> None:
    """Raise an InputError if the folder lacks a subject of a split."""
    missing, there = (", ".join(map(str, sorted(numbers))) for numbers in (set(chosen) - present, present))
    if missing:
        raise InputError(
            f"{folder}: the {split} part lacks subject {missing}; add its files, or choose among {there} with "
            f"--dataset.{split}-subjects"
        )


# ---- images ----


@dataclass(frozen=True)
class ImageEntry:
    """One image of an annotation file.

    file: relative to the root of the data set; size: (width, height) px; where: name of the entry in messages
    """

    entry: dict[str, Any]
    file: str
    size: tuple[int, int]
    where: str


def image_entry(entry: Any, where: str, folder: Path, root: Path) -> ImageEntry:
    """Return a checked entry. folder: what its file name is relative to.

    Raises:
        InputError: a size that is not positive whole pixels, or a file name that leads out of `folder`.
    """
    name, *sides = (require(entry, key, where) for key in ("file_name", "width", "height"))
    width, height = (whole_number(side) or 0 for side in sides)
    if width <= 0 or height <= 0:
        raise InputError(f"{where}: width, height are not pixels; correct them")
    path = PureWindowsPath(name if isinstance(name, str) else "")  # splits at both separators
    if not path.parts or ".." in path.parts or path.anchor:
        raise InputError(f"{where}: file_name is not a path below {folder}: {shortened(repr(name))}; correct it")
    # a backslash is a separator, unless a file has it in its name
    file = folder / name if "\\" not in name or os.path.isfile(folder / name) else folder.joinpath(*path.parts)
    return ImageEntry(entry, file.relative_to(root).as_posix(), (width, height), where)


def image_table(content: dict[str, Any], path: Path, folder: Path, root: Path) -> dict[Any, ImageEntry]:
    """Return the `images` of a COCO-style file by id."""
    found: dict[Any, ImageEntry] = {}
    for entry in require_list(content, "images", path):
        number = require_id(entry, "id", f"{path}: image")
        image = image_entry(entry, f"{path}: image {number}", folder, root)
        if number in found and found[number].file != image.file:
            raise InputError(f"{image.where}: the id repeats, {found[number].file} has it too; give each image its own")
        found[number] = image
    return found


def find_image(images: dict[Any, Any], annotation: Any, where: str) -> Any:
    """Return the image that an annotation refers to, or raise a SampleError."""
    number = require_id(annotation, "image_id", where)
    if number not in images:
        like = f"; ids are like {next(iter(images))!r}" if images else ""
        raise SampleError("missing", f"{where}: image_id {number!r} is not among the images{like}; add the image")
    return images[number]


def check_exists(image: ImageEntry, root: Path, where: str) -> None:
    """Raise a SampleError if the image file does not exist."""
    if not os.path.isfile(root / image.file):
        annotations = where.split(": ")[0]
        raise SampleError(
            "missing", f"{root / image.file}: image missing, {annotations} lists it; restore it or drop its entry"
        )


# ---- people to columns ----


@dataclass(frozen=True)
class Person:
    """One row of a Dataset; see Sample.

    bbox: x, y, w, h px as annotated; px: joints (J, 2) px; joints_cam: (J, 3) mm, or None without 3D; vis: (J,) weights
    up to 1; where 0, px and joints_cam are placeholders of any value; where: name of the annotation in messages;
    mask: image file of the person's mask, relative to the root of the data set
    """

    where: str
    image: ImageEntry
    bbox: Any
    px: np.ndarray
    joints_cam: np.ndarray | None
    vis: np.ndarray
    f: np.ndarray
    c: np.ndarray
    subject: int = 0
    action: str = ""
    camera: int = 0
    frame: int = 0
    depth_weight: float = 1.0
    mask: str = ""


@dataclass
class DatasetBuilder:
    """Collects the people of one split under the rule of explore.data.sample_errors and builds a Dataset from them."""

    name: str
    split: str
    root: Path
    skeleton: Skeleton
    errors: SampleErrors
    digest: Any = field(default_factory=hashlib.sha256)
    people: list[Person] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    seen: int = 0

    def __post_init__(self) -> None:
        if self.split not in ("train", "test"):
            raise InputError(f"split {self.split!r} is unknown; give train or test")

    def file_of_split(self, files: dict[str, str]) -> str:
        """Return the entry of `files` for this split. SplitNotFound: the data set has no such split."""
        if self.split not in files:
            option = " with --dataset.test-on READER:PATH" if self.split == "test" else ""
            raise SplitNotFound(
                f"data {self.name}: has a {' and '.join(files)} split only; name another set for the {self.split} "
                f"split{option}"
            )
        return files[self.split]

    def collect(self, entries: Iterable[Any], person: Callable[[Any], Person | None]) -> None:
        """Add `person(entry)` for every entry; people who are no samples are left out, and a SampleError is counted."""
        for entry in entries:
            try:
                found = person(entry)
                if found is None:
                    continue
                if reason := self._unusable(found):
                    self.left_out[reason] += 1
                    continue
                found = replace(self._checked_joints(found), bbox=_clipped_box(found))
                check_exists(found.image, self.root, found.where)
                self.people.append(found)
            except SampleError as error:
                self.errors.add(error)
            self.seen += 1

    def _unusable(self, person: Person) -> str:
        """Return why a person is no sample, or an empty string."""
        if not (person.vis > 0).any():
            return "without a visible joint"
        hidden = [joint for joint in self.skeleton.depth_joints if person.vis[joint] <= 0]
        if hidden and person.joints_cam is not None:
            return f"with a hidden root ({self.skeleton.names[hidden[0]]}), which 3D needs"
        return ""

    def _checked_joints(self, person: Person) -> Person:
        """Return the person without the coordinates of hidden joints."""
        visible, cam = person.vis > 0, person.joints_cam
        check_finite(person.px[visible], person.where)
        px = np.where(visible[:, None], person.px, 0.0)
        if cam is not None:
            check_finite(cam[visible], person.where)
            if (cam[visible, 2] <= 0).any():
                raise SampleError("camera", f"{person.where}: joints lie behind the camera; correct them or the camera")
            cam = np.where(visible[:, None], cam, np.nan)
        return replace(person, px=px, joints_cam=cam, vis=np.where(visible, person.vis, 0).astype(np.float32))

    def collect_negatives(self, images: Iterable[ImageEntry]) -> None:
        """Add images without people to a training split; a missing file is counted."""
        joints = len(self.skeleton)
        for image in images:
            try:
                check_exists(image, self.root, image.where)
                whole, unknown = np.array([0.0, 0.0, *image.size]), np.zeros((joints, 2))
                f, c = np.full(2, float(max(image.size))), np.array(image.size) / 2
                self.people.append(Person(image.where, image, whole, unknown, None, np.zeros(joints, np.float32), f, c))
            except SampleError as error:
                self.errors.add(error)
            self.seen += 1

    def collect_coco(
        self, path: Path, folder: Path, person: Callable[[Any, ImageEntry, str], Person | None], content: Any = None
    ) -> None:
        """Add the people of a COCO-style annotation file, without crowds and people without joints.

        folder: what file names are relative to; person: (annotation, image, where) -> Person, or None to leave it out;
        content: of the file, if it has been read already
        """
        content = content or read_object(path, self.digest)
        images = image_table(content, path, folder, self.root)

        def from_annotation(annotation: Any) -> Person | None:
            where = f"{path}: annotation {require(annotation, 'id', path)}"
            if annotation.get("iscrowd"):
                self.left_out["crowd"] += 1
                return None
            if annotation.get("num_keypoints") == 0:
                self.left_out["without a visible joint"] += 1
                return None
            return person(annotation, find_image(images, annotation, where), where)

        self.collect(require_list(content, "annotations", path), from_annotation)

    def build(self, empty: str) -> Dataset:
        """Return the Dataset.

        Raises:
            InputError: no people, with `empty` or their first error as the message, or too many sample errors.
        """
        skipped = self.errors.check_limit(self.seen, self.split)
        if not self.people:
            if self.errors.found:
                raise self.errors.found[0]
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            raise InputError(f"{empty} (left out: {reasons})" if reasons else empty)
        for person in self.people:
            self.digest.update(os.fsencode(person.image.file))
        people = self.people

        def column(name: str) -> np.ndarray:
            return np.array([getattr(person, name) for person in people])

        unknown = np.full((len(self.skeleton), 3), np.nan)
        cam = np.stack([unknown if person.joints_cam is None else person.joints_cam for person in people])
        reference = self.skeleton.reference_depth(cam)
        depth = cam[..., 2:] - reference[:, None, None]
        return Dataset(
            name=self.name,
            split=self.split,
            root=self.root,
            skeleton=self.skeleton,
            hash=self.digest.hexdigest()[:12],
            files=tuple(person.image.file for person in people),
            size=np.array([person.image.size for person in people]),
            bbox=column("bbox"),
            joints_img=np.nan_to_num(np.concatenate([column("px"), depth], -1)),
            joints_cam=cam,
            vis=column("vis"),
            depth_weight=np.array([0.0 if person.joints_cam is None else person.depth_weight for person in people]),
            root_depth=reference,
            f=column("f"),
            c=column("c"),
            subject=column("subject"),
            action=tuple(person.action for person in people),
            camera=column("camera"),
            frame=column("frame"),
            skipped=skipped,
            left_out=dict(self.left_out),
            masks=tuple(person.mask for person in people) if any(person.mask for person in people) else (),
        ).scorable()


def _clipped_box(person: Person) -> np.ndarray:
    """Return the part of the box inside the image; SampleError for a box without area."""
    try:
        return clip_box(person.bbox, *person.image.size)
    except (ValueError, TypeError) as error:
        raise SampleError(
            "box", f"{person.where}: bbox {error}; give x, y, w, h in px of {person.image.file}"
        ) from error


def with_coco_midpoints(
    px: np.ndarray, vis: np.ndarray, cam: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Append Thorax and Pelvis, the midpoints of shoulders and hips, to COCO's 17 joints: px, vis and camera mm."""
    for part in ("Shoulder", "Hip"):
        pair = [COCO17.index(f"{side}_{part}") for side in "LR"]  # the midpoint is visible if both joints are
        px, vis = np.vstack([px, px[pair].mean(0)]), np.append(vis, vis[pair].min())
        cam = None if cam is None else np.vstack([cam, cam[pair].mean(0)])
    return px, vis, cam
