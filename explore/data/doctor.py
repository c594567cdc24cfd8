"""A doctor for data sets: reads everything it can and lists what is wrong, where a reader stops at the first fault."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from explore.data.crop import clip_box, read_image
from explore.data.human36m import Human36MOptions, _camera, _joints, load
from explore.data.sheet import Frame
from explore.data.skeleton import H36M17, Skeleton
from explore.data.table import array, need, project, read_json

SHINS = (("R_Knee", "R_Ankle"), ("L_Knee", "L_Ankle"))
SHIN_MM = (200.0, 700.0)  # of anyone from a child to a giant
STRAY = 0.25  # shares of the box's longer side that a joint may lie outside its box
NOT_ORTHOGONAL = 1e-3
REPROJECTION_PX = 5.0  # mean over a frame, for pictures of about 1000 px


@dataclass
class Subject:
    """What was found of one subject.

    stray_px: how far the joint farthest out projects outside its box, a frame each
    reprojection_px: mean distance of projected joints from keypoints_img, a frame each that has them
    """

    frames: int = 0
    cameras: int = 0
    missing: int = 0
    broken: int = 0
    decoded: int = 0
    bad_boxes: int = 0
    behind: int = 0
    stray_px: list[float] = field(default_factory=list)
    reprojection_px: list[float] = field(default_factory=list)


@dataclass
class Report:
    """The findings. problems: (kind, one line that names the file), in the order found."""

    root: Path
    skeleton: Skeleton
    subjects: dict[int, Subject] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    good: list[Frame] = field(default_factory=list)

    def add(self, kind: str, line: str) -> None:
        self.problems.append((kind, line))


Progress = Callable[[float, str], None]


def check_human36m(root: Path, decode: int, progress: Progress) -> Report:
    """Check a folder in the Human3.6M layout, every subject in it.

    decode: pictures decoded a subject, evenly spread; the existence of all of them is checked.

    Raises:
        InputError: no annotations at all there.
    """
    folder = root / "annotations"
    found = (re.fullmatch(r"Human36M_subject(\d+)_data\.json", file.name) for file in folder.glob("*_data.json"))
    numbers = sorted(int(match[1]) for match in found if match)
    if not numbers:
        raise InputError(f"{folder}: no Human36M_subjectN_data.json there; give the folder that holds annotations/")
    report = Report(root, H36M17)
    for index, number in enumerate(numbers):
        report.subjects[number] = Subject()

        def within(share: float, text: str, index: int = index) -> None:
            progress((index + share) / len(numbers), text)

        before = len(report.problems)
        try:
            _check_subject(report, number, decode, within)
            if len(report.problems) == before:  # whatever the reader would still refuse
                load(root, "train", Human36MOptions(train_subjects=(number,), train_step=1))
        except InputError as error:
            report.add("annotations", str(error))
    return report


def _check_subject(report: Report, number: int, decode: int, progress: Progress) -> None:
    stem = report.root / "annotations" / f"Human36M_subject{number}"
    path = {kind: stem.with_name(f"{stem.name}_{kind}.json") for kind in ("data", "camera", "joint_3d")}
    content = {kind: read_json(file, hashlib.sha256()) for kind, file in path.items()}
    pictures = {need(image, "id", path["data"]): image for image in need(content["data"], "images", path["data"])}
    annotations = need(content["data"], "annotations", path["data"])
    subject = report.subjects[number]
    subject.frames = len(annotations)
    cameras = dict(_check_cameras(report, content["camera"], path["camera"]))
    subject.cameras = len(cameras)
    if not annotations:
        report.add("annotations", f"{path['data']}: no annotations in it; fetch the file again")
    decoded = set(np.linspace(0, len(annotations) - 1, min(decode, len(annotations))).round().astype(int).tolist())
    shins: list[float] = []
    for index, annotation in enumerate(annotations):
        progress(index / len(annotations), f"S{number}")
        try:
            frame = _Frame(report, number, annotation, pictures, cameras, content["joint_3d"], path)
        except InputError as error:
            report.add("annotations", str(error))
            continue
        if _check_frame(report, subject, frame, index in decoded):
            caption = f"S{number} {frame.action}"
            report.good.append(Frame(frame.file, frame.bbox, frame.px, caption))
        shins += frame.shins
    if shins and not SHIN_MM[0] < np.median(shins) < SHIN_MM[1]:
        median = np.median(shins)
        report.add("joints", f"{path['joint_3d']}: shins are {median:.3g} long, not mm; convert the joints to mm")


def _check_cameras(report: Report, entries: dict[str, Any], path: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """The cameras that can be read; those that no lens can have are reported."""
    for index, entry in entries.items():
        try:
            camera = _camera(entry, index, path)
        except InputError as error:
            report.add("camera", str(error))
            continue
        rotation = camera["R"]
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > NOT_ORTHOGONAL or np.linalg.det(rotation) < 0:
            report.add("camera", f"{path}: camera {index}: R is no rotation; correct it")
        if (camera["f"] <= 0).any():
            report.add("camera", f"{path}: camera {index}: f is not positive; give it in px")
        yield index, camera


class _Frame:
    """One annotation with the things it refers to. InputError where they cannot be found or read."""

    def __init__(
        self,
        report: Report,
        number: int,
        annotation: Any,
        pictures: dict[Any, Any],
        cameras: dict[str, dict[str, np.ndarray]],
        joints: Any,
        path: dict[str, Path],
    ) -> None:
        self.where = f"{path['data']}: annotation {need(annotation, 'id', path['data'])}"
        image_id = need(annotation, "image_id", self.where)
        if image_id not in pictures:
            raise InputError(f"{self.where}: image_id {image_id} is not among the images; add the image")
        picture = pictures[image_id]
        place = f"{path['data']}: image {image_id}"
        keys = ("action_idx", "subaction_idx", "cam_idx", "frame_idx", "file_name", "width", "height")
        action, subaction, self.camera_index, index, name, self.width, self.height = (
            need(picture, key, place) for key in keys
        )
        if not (isinstance(self.width, int) and isinstance(self.height, int) and min(self.width, self.height) > 0):
            raise InputError(f"{place}: width, height are not pixels; correct them")
        if not isinstance(name, str) or not name:
            raise InputError(f"{place}: file_name is no path; correct it")
        images = report.root / "images" if (report.root / "images").is_dir() else report.root
        self.file = images / name
        self.action = str(picture.get("action_name", action))
        if str(self.camera_index) not in cameras:
            raise InputError(f"{path['camera']}: camera {self.camera_index} is missing, {self.where} needs it; add it")
        camera = cameras[str(self.camera_index)]
        self.given_box = need(annotation, "bbox", self.where)
        self.keypoints = annotation.get("keypoints_img")
        self.bbox = np.zeros(4)
        world = _joints(joints, (action, subaction, index), path["joint_3d"])
        self.cam = world @ camera["R"].T + camera["t"]
        self.px = project(np.maximum(self.cam, [-np.inf, -np.inf, 1.0]), camera["f"], camera["c"])
        ends = [[H36M17.index(name) for name in shin] for shin in SHINS]
        self.shins = [float(np.linalg.norm(world[a] - world[b])) for a, b in ends]


def _check_frame(report: Report, subject: Subject, frame: _Frame, decode: bool) -> bool:
    """Report the faults of one frame. True: a picture to be shown, read and without a fault."""
    before = len(report.problems)
    try:
        frame.bbox = clip_box(frame.given_box, frame.width, frame.height)
    except (ValueError, TypeError) as error:
        subject.bad_boxes += 1
        report.add("box", f"{frame.where}: bbox {error}; give x, y, w, h in px of {frame.file.name}")
    if (frame.cam[:, 2] <= 0).any():
        subject.behind += 1
        report.add("camera", f"{frame.where}: joints lie behind camera {frame.camera_index}; correct its R and t")
    else:
        _check_projection(report, subject, frame)
    if not frame.file.is_file():
        subject.missing += 1
        report.add("missing", f"{frame.file}: image missing; restore it or drop its entry")
    elif decode:
        _check_picture(report, subject, frame)
    return decode and len(report.problems) == before


def _check_projection(report: Report, subject: Subject, frame: _Frame) -> None:
    if frame.bbox.any():
        x, y, w, h = frame.bbox
        outside = np.maximum(np.array([x, y]) - frame.px, frame.px - [x + w, y + h]).clip(min=0)
        stray = float(np.linalg.norm(outside, axis=1).max())
        subject.stray_px.append(stray)
        if stray > STRAY * max(w, h):
            report.add(
                "reprojection",
                f"{frame.where}: a joint projects {stray:.0f} px outside its box of {w:.0f} x {h:.0f}; "
                f"camera {frame.camera_index}, box or joints belong to another frame",
            )
    if frame.keypoints is not None:
        keypoints = array(frame.keypoints)
        if keypoints.ndim != 2 or keypoints.shape[0] != len(frame.px) or keypoints.shape[1] < 2:
            report.add("reprojection", f"{frame.where}: keypoints_img is not {len(frame.px)} x 2; correct it")
            return
        error = float(np.linalg.norm(keypoints[:, :2] - frame.px, axis=1).mean())
        subject.reprojection_px.append(error)
        if error > REPROJECTION_PX:
            said = f"joints project {error:.1f} px from keypoints_img; correct camera {frame.camera_index}"
            report.add("reprojection", f"{frame.where}: {said}")


def _check_picture(report: Report, subject: Subject, frame: _Frame) -> None:
    subject.decoded += 1
    try:
        height, width = read_image(frame.file).shape[:2]
    except InputError as error:
        subject.broken += 1
        report.add("broken", str(error))
        return
    if (width, height) != (frame.width, frame.height):
        said = f"the picture is {width} x {height}, annotated {frame.width} x {frame.height}"
        report.add("size", f"{frame.file}: {said}; correct width and height")


CHECKS: dict[str, Callable[[Path, int, Progress], Report]] = {"human36m": check_human36m}
