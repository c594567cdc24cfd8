"""Calibrations of several cameras that film one scene: Qualisys (.qca.txt), Pose2Sim or Anipose (.toml), and OpenCV.

OpenCV has no file format for several cameras. `read_calibration` accepts YAML, XML or JSON files of `cv2.FileStorage`
in three layouts, and a folder of such files as if it were one file:

- the result of OpenCV's multi-view calibration: cam_ids, Ks, distortions, rvecs, Ts, image_sizes;
- intri.yml and extri.yml of EasyMocap: names, K_NAME, dist_NAME, Rot_NAME or R_NAME, T_NAME;
- a map for each camera, or a file NAME.yml for each in a folder: camera_matrix, distortion_coefficients, R, T and
  optionally image_width, image_height.
"""

from __future__ import annotations

import json
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from arch.errors import InputError, shortened
from arch.files import read_regular

Array = NDArray[np.float64]

MAX_BYTES = 2_000_000  # of a calibration
OPENCV_SUFFIXES = (".yml", ".yaml", ".json", ".xml")
FACING = np.diag([1.0, -1.0, -1.0])  # from Qualisys' axes (y up, z towards the scene's back) to OpenCV's
SUBPIXELS = 64.0  # Qualisys counts in 1/64 px
SAME_SHAPE = 0.01  # largest relative difference of the aspect ratios of a calibration and a video
INTRINSIC = ("camera_matrix", "cameraMatrix", "matrix", "K")
DISTORTION = ("distortion_coefficients", "distCoeffs", "distortions", "dist")
ROTATION = ("rotation", "R", "rvec", "Rot")
TRANSLATION = ("translation", "T", "t", "tvec")


@dataclass(frozen=True)
class CalibratedCamera:
    """One camera of a calibration: x_cam = rotation @ x_world + translation, projected with OpenCV's lens model.

    Attributes:
        size: (width, height) px, or None if the file does not state it.
        matrix: (3, 3) intrinsics, px.
        distortion: OpenCV's coefficients k1, k2, p1, p2, ...
        rotation, translation: (3, 3) and (3,), in the unit of the calibration.
        unit_mm: that unit in mm, or None if the file does not state it.
    """

    name: str
    size: tuple[int, int] | None
    matrix: Array
    distortion: Array
    rotation: Array
    translation: Array
    unit_mm: float | None = None

    @property
    def f(self) -> Array:
        """Focal lengths (2,), px."""
        return self.matrix[[0, 1], [0, 1]]

    @property
    def c(self) -> Array:
        """Principal point (2,), px."""
        return self.matrix[:2, 2]

    def undistort(self, px: Array) -> Array:
        """Return pixels (N, 2) as coordinates (N, 2) in the plane at depth 1, without lens distortion."""
        points = np.ascontiguousarray(px, np.float64).reshape(-1, 1, 2)
        found: Array = cv2.undistortPoints(points, self.matrix, self.distortion)[:, 0].astype(np.float64)
        return found

    def to_camera(self, world: Array) -> Array:
        """Return world points (..., 3) in this camera's coordinates."""
        return world @ self.rotation.T + self.translation

    def scaled_to(self, width: int, height: int) -> CalibratedCamera:
        """Return the camera of a video that was resized to width x height px.

        Raises:
            ValueError: the video has another aspect ratio than the calibration.
        """
        if self.size is None or self.size == (width, height):
            return replace(self, size=(width, height))
        zoom = np.array([width / self.size[0], height / self.size[1]])
        if abs(zoom[0] / zoom[1] - 1) > SAME_SHAPE:
            raise ValueError(f"is calibrated for {self.size[0]} x {self.size[1]} px")
        matrix = self.matrix.copy()
        matrix[:2] *= zoom[:, None]
        return replace(self, size=(width, height), matrix=matrix)


def read_calibration(path: Path) -> list[CalibratedCamera]:
    """Read a calibration file, or a folder of OpenCV files; the kind follows from the suffix.

    Raises:
        InputError: the file cannot be read, has an unknown layout, lacks a value or describes a fisheye lens.
    """
    if not path.exists():
        raise InputError(f"--views {path}: no such file; give a calibration (.qca.txt, .toml, .yml, .yaml or .json)")
    suffix = path.suffix.lower()
    if path.is_dir() or (suffix in OPENCV_SUFFIXES and not _is_qualisys(path)):
        cameras = _opencv(path)
    elif suffix == ".toml":
        cameras = _toml(path)
    elif suffix in (".txt", ".xml", ".qca"):
        cameras = _qualisys(path)
    else:
        raise InputError(f"--views {path}: unknown kind of file; give .qca.txt, .toml, .yml, .yaml or .json")
    if len(cameras) < 2:
        raise InputError(f"--views {path}: {len(cameras)} cameras in it; triangulation needs at least two")
    return cameras


# ---- Qualisys ----


def _is_qualisys(path: Path) -> bool:
    return path.suffix.lower() == ".xml" and "<fov_video" in path.read_text(errors="replace")


def _qualisys(path: Path) -> list[CalibratedCamera]:
    """Read Qualisys' XML: camera positions in mm, intrinsics in 1/64 px, rotations from the world to Qualisys' axes."""
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"--views {path}: not Qualisys' XML ({error}); export the calibration again") from None
    return [_qualisys_camera(camera, f"--views {path}") for camera in root.findall("cameras/camera")]


def _qualisys_camera(camera: ElementTree.Element, where: str) -> CalibratedCamera:
    name = camera.get("serial", "")
    parts = {tag: camera.find(tag) for tag in ("fov_video", "transform", "intrinsic")}

    def number(tag: str, key: str) -> float:
        part = parts[tag]
        try:
            return float("" if part is None else part.get(key, ""))
        except ValueError:
            raise InputError(
                f"{where}: camera {name}: {tag} {key}: not a number; export the calibration again"
            ) from None

    left, top = number("fov_video", "left"), number("fov_video", "top")
    size = (round(number("fov_video", "right") - left) + 1, round(number("fov_video", "bottom") - top) + 1)
    fu, fv, cu, cv = (
        number("intrinsic", key) / SUBPIXELS for key in ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV")
    )
    keys = ("radialDistortion1", "radialDistortion2", "tangentalDistortion1", "tangentalDistortion2")
    distortion = np.array([number("intrinsic", key) for key in keys])
    rotation = FACING @ np.array([[number("transform", f"r{row}{column}") for column in "123"] for row in "123"])
    position = np.array([number("transform", axis) for axis in "xyz"])
    matrix = np.array([[fu, 0, cu - left], [0, fv, cv - top], [0, 0, 1]])
    return CalibratedCamera(name, size, matrix, distortion, rotation, -rotation @ position, 1.0)


# ---- Pose2Sim, Anipose, OpenCV ----


def _toml(path: Path) -> list[CalibratedCamera]:
    """Read one table for each camera: name, size px, matrix, distortions, rotation (Rodrigues vector), translation."""
    try:
        content = tomllib.loads(read_regular(path, MAX_BYTES).decode())
    except (OSError, ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise InputError(f"--views {path}: not valid TOML ({shortened(error)}); export the calibration again") from None
    return _cameras(content, path)


def _opencv(path: Path) -> list[CalibratedCamera]:
    files = (
        sorted(file for file in path.iterdir() if file.suffix.lower() in OPENCV_SUFFIXES) if path.is_dir() else [path]
    )
    if not files:
        raise InputError(
            f"--views {path}: no {', '.join(OPENCV_SUFFIXES)} files in this folder; give the calibration file"
        )
    contents = {file.stem: _file_storage(file) for file in files}
    merged = {key: value for content in contents.values() for key, value in content.items()}
    if "Ks" in merged:
        return _multiview(merged, path)
    if any(str(key).startswith("K_") for key in merged):
        return _easymocap(merged, path)
    return _cameras(contents if _first(merged, INTRINSIC) is not None else merged, path)


def _file_storage(path: Path) -> dict[str, Any]:
    """Return the content of a file of cv2.FileStorage, or of plain YAML or JSON, as Python values."""
    try:
        text = read_regular(path, MAX_BYTES).decode(errors="replace")
        if text.startswith(("%YAML", "<?xml")) or "opencv-matrix" in text:
            storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
            content = _value(storage.root()) if storage.isOpened() else None
        else:
            content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, cv2.error, SystemError, ValueError, LookupError, RecursionError, yaml.YAMLError) as error:
        reason = shortened(error, 200)
        raise InputError(f"--views {path}: cannot be read ({reason}); write it with cv2.FileStorage") from None
    if not isinstance(content, dict):
        raise InputError(f"--views {path}: no keys in it; write the calibration with cv2.FileStorage")
    return content


def _value(node: cv2.FileNode) -> Any:
    if node.isMap():
        keys = node.keys()
        if "data" in keys and ("rows" in keys or "sizes" in keys):
            return node.mat()
        return {key: _value(node.getNode(key)) for key in keys}
    if node.isSeq():
        return [_value(node.at(index)) for index in range(node.size())]
    return node.string() if node.isString() else node.real() if node.isReal() or node.isInt() else None


def _multiview(content: Mapping[str, Any], path: Path) -> list[CalibratedCamera]:
    """Return the cameras of a file written by OpenCV's sample multiview_calibration.py."""
    count = len(content["Ks"])
    names = str(content.get("cam_ids") or ",".join(f"{index}" for index in range(count))).split(",")
    fisheye = np.ravel(content.get("is_fisheye", np.zeros(count)))
    keys = {
        "matrix": "Ks",
        "distortions": "distortions",
        "rotation": "rvecs",
        "translation": "Ts",
        "size": "image_sizes",
    }
    short = [key for key in keys.values() if (key in content and len(content[key]) != count) or len(names) != count]
    if short:
        raise InputError(f"--views {path}: {short[0]}: not of {count} cameras like Ks; export the calibration again")
    entries = {
        name: {own: content[key][index] for own, key in keys.items() if key in content} | {"fisheye": fisheye[index]}
        for index, name in enumerate(names)
    }
    return _cameras(entries, path)


def _easymocap(content: Mapping[str, Any], path: Path) -> list[CalibratedCamera]:
    names = content.get("names") or [key[2:] for key in content if key.startswith("K_")]
    entries: dict[str, Any] = {}
    for name in map(str, names):
        keys = {"matrix": f"K_{name}", "distortions": f"dist_{name}", "translation": f"T_{name}"}
        keys["rotation"] = f"Rot_{name}" if f"Rot_{name}" in content else f"R_{name}"
        keys |= {"image_width": f"W_{name}", "image_height": f"H_{name}"}
        entries[name] = {own: content[key] for own, key in keys.items() if key in content}
    return _cameras(entries, path)


def _cameras(entries: Mapping[str, Any], path: Path) -> list[CalibratedCamera]:
    """Return the camera of each entry that has intrinsics; others, such as metadata, are left out."""
    return [
        _camera(str(entry.get("name", name)), entry, f"--views {path}: camera {name}")
        for name, entry in entries.items()
        if isinstance(entry, Mapping) and _first(entry, INTRINSIC) is not None
    ]


def _camera(name: str, entry: Mapping[str, Any], where: str) -> CalibratedCamera:
    if bool(np.any(entry.get("fisheye"))):
        raise InputError(f"{where}: a fisheye lens; undistort the video and give its pinhole calibration")
    distortion = _first(entry, DISTORTION)
    rotation = _numbers(entry, ROTATION, (9, 3), where)
    return CalibratedCamera(
        name,
        _size(entry, where),
        _numbers(entry, INTRINSIC, (9,), where).reshape(3, 3),
        np.zeros(4) if distortion is None else _numbers(entry, DISTORTION, (4, 5, 8, 12, 14), where),
        rotation.reshape(3, 3) if rotation.size == 9 else cv2.Rodrigues(rotation)[0].astype(np.float64),
        _numbers(entry, TRANSLATION, (3,), where),
    )


def _size(entry: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    """Return width and height of the images in px, or None if the file does not state them."""
    if "size" not in entry and entry.get("image_width") is not None:
        entry = {"size": [entry["image_width"], entry.get("image_height")]}
    if entry.get("size") is None:
        return None
    width, height = map(round, _numbers(entry, ("size",), (2,), where).tolist())
    if min(width, height) < 1:
        raise InputError(f"{where}: size: {width} x {height} px; export the calibration again")
    return width, height


def _first(entry: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((entry[key] for key in keys if entry.get(key) is not None), None)


def _numbers(entry: Mapping[str, Any], keys: Sequence[str], sizes: Sequence[int], where: str) -> Array:
    """Return the flat numbers of the first of `keys` that an entry has."""
    value = _first(entry, keys)
    if value is None:
        raise InputError(f"{where}: no {' or '.join(keys)}; the file must describe intrinsics and extrinsics")
    try:
        found = np.asarray(value, np.float64).ravel()
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.size not in sizes or not np.isfinite(found).all():
        expected = " or ".join(map(str, sizes))
        raise InputError(f"{where}: {keys[0]}: not {expected} finite numbers; export the calibration again")
    return found


# ---- videos ----


def match_videos(cameras: Sequence[CalibratedCamera], videos: Sequence[Path], path: Path) -> list[CalibratedCamera]:
    """Return the camera of each video: by the camera's name in the file name, else, if no name fits, by order.

    path: of the calibration, for messages

    Raises:
        InputError: fewer than two videos, more videos than cameras, or names that fit only some videos.
    """
    if not 2 <= len(videos) <= len(cameras):
        problem = f"{len(videos)} videos, but the calibration has {len(cameras)} cameras"
        raise InputError(f"--views {path}: {problem} ({_names(cameras)}); give one video for each camera, at least two")
    found = [_by_name(cameras, video) for video in videos]
    if all(camera is None for camera in found) and len(videos) == len(cameras):
        return list(cameras)
    missing = [video.name for video, camera in zip(videos, found, strict=True) if camera is None]
    if missing:
        raise InputError(
            f"--views {path}: {missing[0]}: none of the cameras {_names(cameras)} has this name; name each video like "
            "its camera, or give the calibration of these cameras"
        )
    chosen = [camera for camera in found if camera is not None]
    twice = [camera.name for camera in chosen if sum(other.name == camera.name for other in chosen) > 1]
    if twice:
        raise InputError(f"--views {path}: camera {twice[0]}: two videos have its name; name each like its own camera")
    return chosen


def _by_name(cameras: Sequence[CalibratedCamera], video: Path) -> CalibratedCamera | None:
    stem = video.stem.lower()
    found = [camera for camera in cameras if re.search(rf"(^|[\W_]){re.escape(camera.name.lower())}($|[\W_])", stem)]
    return max(found, key=lambda camera: len(camera.name), default=None)


def _names(cameras: Sequence[CalibratedCamera]) -> str:
    return ", ".join(camera.name for camera in cameras)
