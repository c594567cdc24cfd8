"""`data convert`: a custom set from landmarks of MediaPipe Pose (JSON, CSV) or joints of SMPL (NPZ, JSON).

The images stay where they are: SET/images is a link to their folder. Depths are as accurate as those of the source.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError, shortened
from arch.files import read_regular, write_atomic
from explore.data.crop import clip_box, project
from explore.data.images import image_size
from explore.data.label.annotations import category_of
from explore.data.label.filters import translation
from explore.data.label.mapping import joint_map
from explore.data.readers.common import as_array, read_json
from explore.data.sample_errors import SampleError
from explore.data.skeleton import BLAZEPOSE33, Skeleton, skeleton_from_edges

FILE_KEYS = ("file", "file_name", "image", "imgname", "path", "photo")
PX_KEYS = ("landmarks", "pose_landmarks", "poseLandmarks")
WORLD_KEYS = ("world_landmarks", "worldLandmarks", "pose_world_landmarks", "poseWorldLandmarks")
MARGIN = 0.1  # of the joints' extent, added to the box on each side
MIN_VISIBLE_JOINTS = 4  # visible joints that place a person in front of the camera

_LEGS = [(f"{side}_{part}", f"{side}_{parent}") for part, parent in (("Knee", "Hip"), ("Ankle", "Knee"), ("Foot", "Ankle")) for side in "LR"]  # fmt: skip
_ARMS = [(f"{side}_{part}", f"{side}_{parent}") for part, parent in (("Shoulder", "Collar"), ("Elbow", "Shoulder"), ("Wrist", "Elbow"), ("Hand", "Wrist")) for side in "LR"]  # fmt: skip
SMPL_NAMES = (
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot", "R_Foot",
    "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist", "R_Wrist",
    "L_Hand", "R_Hand",
)  # fmt: skip
SMPL_PARENTS = dict([
    ("L_Hip", "Pelvis"), ("R_Hip", "Pelvis"), ("Spine1", "Pelvis"), ("Spine2", "Spine1"), ("Spine3", "Spine2"),
    ("Neck", "Spine3"), ("L_Collar", "Spine3"), ("R_Collar", "Spine3"), ("Head", "Neck"), *_LEGS, *_ARMS,
])  # fmt: skip
BODY = 22  # joints without hands, as in SMPL-X and SMPL-H


@dataclass(frozen=True)
class Pose:
    """A person of a source.

    px: (J, 2) px, or None without; cam: (J, 3) mm, relative to any point unless `placed`, or None without 3D; vis: (J,)
    """

    file: str
    where: str
    px: np.ndarray | None
    cam: np.ndarray | None
    vis: np.ndarray
    placed: bool = False


@dataclass(frozen=True)
class Converted:
    """Counts of a conversion.

    left_out: one line for each person that cannot be used; skipped: one line for each image that cannot be read
    """

    images: int
    people: int
    in_3d: int
    left_out: tuple[str, ...]
    skipped: tuple[str, ...]


def convert(source: Path, kind: str, images: Path, out: Path, split: str, focal: float | None) -> Converted:
    """Write OUT/annotations/SPLIT.json and link OUT/images to `images`. Images that cannot be read are skipped.

    focal: px; None: the longer side of each image, which makes depths approximate

    Raises:
        InputError: the source is invalid, no person is left, or OUT has this split already.
    """
    if not source.is_file():
        raise InputError(f"{source}: no such file; give a file of landmarks or joints")
    path = out / "annotations" / f"{split}.json"
    if path.exists():
        raise InputError(f"--out {path}: exists; remove it, or give another folder or --split")
    if not images.is_dir():
        raise InputError(f"--images {images}: no such folder; give the folder that file names are relative to")
    link = out / "images"
    if os.path.lexists(link) and link.resolve() != images.resolve():
        raise InputError(f"--out {link}: holds other images; give another folder")
    sizes: dict[str, tuple[int, int]] = {}
    skipped: dict[str, str] = {}

    def size_of(file: str) -> tuple[int, int] | None:
        parts = Path(file).parts
        if not file or Path(file).is_absolute() or ".." in parts:
            raise InputError(f"{source}: file {file!r:.80} is not a path below {images}; correct it")
        if file not in sizes and file not in skipped:
            try:
                sizes[file] = image_size(images / file)
            except SampleError as error:
                skipped[file] = str(error)
        return sizes.get(file)

    read = _mediapipe if kind == "mediapipe" else _smpl
    skeleton, poses = read(source, size_of)
    content: dict[str, Any] = {
        "categories": [{"id": 1, **category_of(skeleton)}],
        "images": [],
        "annotations": [],
    }
    left_out = []
    numbers = {file: number for number, file in enumerate(sizes, 1)}  # the reader reads all sizes
    for pose in poses:
        try:
            annotation = _annotation(pose, skeleton, sizes[pose.file], focal)
        except ValueError as error:
            left_out.append(f"{pose.where}: {error}")
            continue
        content["annotations"].append(
            {
                "id": len(content["annotations"]) + 1,
                "image_id": numbers[pose.file],
                "category_id": 1,
                **annotation,
            }
        )
    for number, (file, size) in enumerate(sizes.items(), 1):
        f, c = _camera(size, focal)
        content["images"].append({"id": number, "file_name": file, "width": size[0], "height": size[1], "f": f.tolist(), "c": c.tolist()})  # fmt: skip
    if not content["annotations"]:
        reasons = [
            *max(left_out, list(skipped.values()), key=len),
            f"{source}: no people in it, see docs/data.md for its keys",
        ]
        others = len(left_out) + len(skipped) - 1
        raise InputError(f"{reasons[0]}{f' (and {others} more)' if others > 0 else ''}; nothing is written")
    if not link.exists():
        out.mkdir(parents=True, exist_ok=True)
        try:
            link.symlink_to(images.resolve(), target_is_directory=True)
        except OSError as error:
            raise InputError(
                f"--out {link}: cannot be linked ({error.strerror}); give a folder on another disk"
            ) from None
    write_atomic(path, json.dumps(content) + "\n")
    in_3d = sum("keypoints_cam" in annotation for annotation in content["annotations"])
    return Converted(len(sizes), len(content["annotations"]), in_3d, tuple(left_out), tuple(skipped.values()))


def _camera(size: tuple[int, int], focal: float | None) -> tuple[np.ndarray, np.ndarray]:
    return np.full(2, focal or float(max(size))), np.array(size, float) / 2


def _annotation(pose: Pose, skeleton: Skeleton, size: tuple[int, int], focal: float | None) -> dict[str, Any]:
    """Return the keys of one person. ValueError: it cannot be used, with the reason."""
    f, c = _camera(size, focal)
    px, cam, vis = pose.px, pose.cam, pose.vis.clip(0, 1)
    seen = vis > 0
    if any(given is not None and not np.isfinite(given[seen]).all() for given in (px, cam)):
        raise ValueError("a joint is not finite")
    if cam is not None and px is not None and not pose.placed:
        cam = cam + translation(cam[seen], px[seen], f, c)
    if cam is not None and (cam[seen, 2] <= 0).any():
        raise ValueError("lies behind the camera; give the focal length, or translations")
    if px is None:
        assert cam is not None
        px = project(np.where(cam[:, 2:] > 0, cam, [0.0, 0.0, 1.0]), f, c)
    if seen.sum() < MIN_VISIBLE_JOINTS:
        raise ValueError(f"fewer than {MIN_VISIBLE_JOINTS} joints are visible")
    low, high = px[seen].min(0), px[seen].max(0)
    margin = MARGIN * (high - low)
    box = clip_box([*(low - margin), *(high - low + 2 * margin)], *size)
    flat = np.c_[np.where(seen[:, None], px, 0), np.where(seen, 2, 0)]
    values = {
        "bbox": box.round(2).tolist(),
        "keypoints": flat.round(3).ravel().tolist(),
        "num_keypoints": int(seen.sum()),
    }
    values["visibility"] = vis.round(4).tolist()
    if cam is not None and seen[skeleton.root]:
        values["keypoints_cam"] = np.where(seen[:, None], cam, 0).round(2).tolist()
    return values


# ---- MediaPipe Pose ----


def _mediapipe(source: Path, size_of: Any) -> tuple[Skeleton, list[Pose]]:
    """Read 33 landmarks of each person: x, y as fractions of the image, and any world landmarks in metres."""
    entries = _csv_entries(source) if source.suffix.lower() == ".csv" else _json_entries(source)
    to_ours = joint_map(BLAZEPOSE33, "")
    poses = []
    for number, entry in enumerate(entries, 1):
        where = f"{source}: entry {number}"
        file = _file_of(entry, where)
        for flat, world in _people(entry, where):
            points = _points(flat, where)
            if (size := size_of(file)) is None:
                continue
            seen = to_ours.visibility @ np.where(np.isfinite(points[:, 3]), points[:, 3], 1.0)
            px = to_ours.image @ (points[:, :2] * size)
            cam = None if world is None else to_ours.world @ _points(world, where)[:, :3] * 1000
            poses.append(Pose(file, where, px, cam, np.where(seen > 0.05, seen, 0)))
    return to_ours.skeleton, poses


def _json_entries(source: Path) -> list[Any]:
    content = read_json(source, missing="give the file of landmarks")
    if isinstance(content, dict):
        content = next(
            (content[key] for key in ("frames", "images", "results") if isinstance(content.get(key), list)), [content]
        )
    return content if isinstance(content, list) else []


def _csv_entries(source: Path) -> list[Any]:
    """Return entries of a CSV file: the columns file, x0, y0, z0, v0, x1, ..., and wx0, wy0, wz0 for world landmarks.

    Numbers may start at 1; v may be called visibility.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_regular(source).decode("utf-8-sig"))))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{source}: {shortened(error)}; give a CSV file with the columns file, x0, y0, z0, v0, ..."
        ) from None
    entries = []
    for row in rows:
        columns: dict[tuple[str, int], str] = {}
        for name, text in row.items():
            if match := re.fullmatch(r"(w?[xyz]|v|visibility)_?(\d{1,3})", str(name).strip().lower()):
                columns[match[1].replace("visibility", "v"), int(match[2])] = text
        first = 0 if ("x", 0) in columns else 1
        entry: dict[str, Any] = {str(key).strip().lower(): value for key, value in row.items() if key is not None}
        for key, letters in (("landmarks", ("x", "y", "z", "v")), ("world_landmarks", ("wx", "wy", "wz", "v"))):
            if (letters[0], first) in columns:
                entry[key] = [
                    [columns.get((letter, first + joint), "nan") or "nan" for letter in letters] for joint in range(33)
                ]
        entries.append(entry)
    return entries


def _file_of(entry: Any, where: str) -> str:
    file = next((entry[key] for key in FILE_KEYS if entry.get(key)), None) if isinstance(entry, dict) else None
    if not isinstance(file, str):
        raise InputError(f"{where}: no file; name the image of each entry under 'file'")
    return file


def _people(entry: dict[str, Any], where: str) -> list[tuple[Any, Any]]:
    """Return landmarks and world landmarks (None without) of each person of an entry."""
    flat, world = (next((entry[key] for key in keys if entry.get(key)), None) for keys in (PX_KEYS, WORLD_KEYS))
    if flat is None:
        return []  # nobody was found
    several = isinstance(flat, list) and flat and isinstance(flat[0], list) and flat[0] and not _is_number(flat[0][0])
    people, worlds = (flat, world) if several else ([flat], None if world is None else [world])
    if worlds is not None and (not isinstance(worlds, list) or len(worlds) != len(people)):
        raise InputError(f"{where}: landmarks and world landmarks of different numbers of people; correct them")
    return list(zip(people, worlds or [None] * len(people), strict=True))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | str)


def _points(landmarks: Any, where: str) -> np.ndarray:
    """Return 33 landmarks {x, y, z, visibility} or [x, y, z, visibility] as (33, 4); visibility may be missing."""
    rows = [
        [point.get("x"), point.get("y"), point.get("z", 0.0), point.get("visibility", 1.0)]
        if isinstance(point, dict)
        else [*point, *[1.0] * (4 - len(point))][:4] if isinstance(point, list) else []
        for point in (landmarks if isinstance(landmarks, list) else [])
    ]  # fmt: skip
    found = as_array(rows)
    if found.shape != (len(BLAZEPOSE33), 4):
        raise InputError(f"{where}: not 33 landmarks of x, y, z, visibility; give those of MediaPipe Pose")
    return found


# ---- SMPL ----


def _smpl(source: Path, size_of: Any) -> tuple[Skeleton, list[Pose]]:
    """Read imgname (N,), joints (N, 22 or more, 3) m in camera axes, and transl (N, 3) m if joints lack it."""
    content = _arrays(source)
    file_key = next((key for key in FILE_KEYS if key in content), None)
    joint_key = next((key for key in ("joints", "joints3d", "joints_3d", "smpl_joints") if key in content), None)
    if file_key is None or joint_key is None:
        raise InputError(f"{source}: no imgname or joints; give files (N,) and joints (N, 24, 3) in m, camera axes")
    files = [
        os.fsdecode(file) if isinstance(file, bytes) else str(file) for file in np.ravel(content[file_key]).tolist()
    ]
    joints = as_array(content[joint_key])
    if joints.ndim != 3 or joints.shape[1] < BODY or joints.shape[2] != 3 or len(files) != len(joints):
        raise InputError(f"{source}: {joint_key} is {joints.shape}; give (N, 24, 3) for SMPL, (N, 22, 3) for SMPL-X")
    if "transl" in content:
        moved = as_array(content["transl"])
        if moved.size != 3 * len(joints):
            raise InputError(f"{source}: transl has {moved.size} values; give (N, 3)")
        joints = joints + moved.reshape(-1, 1, 3)
    count = len(SMPL_NAMES) if joints.shape[1] in (24, 45, 49) else BODY
    names = SMPL_NAMES[:count]
    edges = [(names.index(SMPL_PARENTS[name]), index) for index, name in enumerate(names) if name in SMPL_PARENTS]
    skeleton = skeleton_from_edges("custom", names, edges, "Pelvis")
    vis = np.ones(count)
    poses = [
        Pose(file, f"{source}: person {number}", None, cam[:count] * 1000, vis, True)
        for number, (file, cam) in enumerate(zip(files, joints, strict=True), 1)
    ]
    return skeleton, [pose for pose in poses if size_of(pose.file)]


def _arrays(source: Path) -> dict[str, Any]:
    if source.suffix.lower() != ".npz":
        content = read_json(source, missing="give the file of joints")
        return content if isinstance(content, dict) else {}
    try:
        with np.load(io.BytesIO(read_regular(source)), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise InputError(
            f"{source}: not an NPZ file of plain arrays ({shortened(error)}); save it with numpy.savez"
        ) from None
