"""A doctor for data sets: reads everything it can and lists what is wrong, where a reader stops at the first fault."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from explore.data import READERS
from explore.data.anatomy import bone_table, problems_2d, problems_3d
from explore.data.crop import clip_box, read_frame
from explore.data.faults import Absent, Faults, SampleFault
from explore.data.human36m import Human36MOptions, _camera, _joints, load
from explore.data.sample import Dataset
from explore.data.sheet import Frame
from explore.data.skeleton import H36M17, Skeleton
from explore.data.table import array, need, project, read_json

STRAY = 0.25  # shares of the box's longer side that a joint may lie outside its box
NOT_ORTHOGONAL = 1e-3
REPROJECTION_PX = 5.0  # mean over a frame, for pictures of about 1000 px


@dataclass
class Subject:
    """What was found of one subject, or of one split where a set has no subjects.

    grey: pictures of one channel, of the decoded; they are used
    bones_mm: median lengths by the bone's outer joint
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
    grey: int = 0
    bones_mm: dict[str, float] = field(default_factory=dict)
    stray_px: list[float] = field(default_factory=list)
    reprojection_px: list[float] = field(default_factory=list)


@dataclass
class Report:
    """The findings. problems: (kind, one line that names the file), in the order found."""

    root: Path
    skeleton: Skeleton
    subjects: dict[int | str, Subject] = field(default_factory=dict)
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
    decoded = _spread_over(len(annotations), decode)
    bodies: list[tuple[str, np.ndarray]] = []
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
        bodies.append((frame.where, frame.cam))
    if bodies:
        where, cam = [where for where, _ in bodies], np.stack([cam for _, cam in bodies])
        subject.bones_mm = bone_table(H36M17, cam)
        report.problems += problems_3d(H36M17, cam, where, str(path["joint_3d"]))


def _spread_over(count: int, wanted: int) -> set[int]:
    """`wanted` of `count` indices, evenly spread."""
    return set(np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist())


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
        _check_picture(report, subject, frame.file, (frame.width, frame.height))
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


def _check_picture(report: Report, subject: Subject, file: Path, size: tuple[int, int]) -> bool:
    """Decode one picture and report its faults. True: there are none."""
    subject.decoded += 1
    try:
        image, _ = read_frame(file, size)
    except SampleFault as fault:
        subject.broken += fault.kind == "broken"
        report.add(fault.kind, str(fault))
        return False
    subject.grey += bool((image == image[..., :1]).all())
    orientation = _orientation(file)
    if orientation != 1:
        said = f"EXIF orientation {orientation} is ignored, since annotations count stored pixels"
        report.add("orientation", f"{file}: {said}; store the picture turned and drop the tag")
    return orientation == 1


def _orientation(file: Path) -> int:
    from PIL import Image

    with Image.open(file) as picture:
        return int(picture.getexif().get(0x0112, 1))


# ---- all other readers ----


def check_reader(name: str, root: Path, decode: int, progress: Progress) -> Report:
    """Check a folder through its reader, every split there is.

    decode: pictures decoded a split, evenly spread; the existence of all of them is checked.

    Raises:
        InputError: not one split can be found.
    """
    report: Report | None = None
    errors: list[InputError] = []
    for split in ("train", "test"):
        faults = Faults(keep_going=True)
        try:
            data = READERS[name](root, split, None, name, faults)
        except Absent as error:
            errors.append(error)
            continue
        except InputError as error:
            report = report or Report(root, Skeleton("", (), (), ()))
            report.subjects[split] = Subject()
            report.add("annotations", str(error))
            continue
        report = report or Report(root, data.skeleton)
        report.skeleton = data.skeleton
        report.subjects[split] = _subject_of(faults, data)
        report.problems += [(fault.kind, str(fault)) for fault in faults.found]
        _check_columns(report, report.subjects[split], data, decode, progress)
    if report is None:
        raise errors[0]
    return report


def _subject_of(faults: Faults, data: Dataset) -> Subject:
    kinds = [fault.kind for fault in faults.found]
    return Subject(
        frames=len(data) + len(kinds),
        cameras=len(np.unique(data.camera)) if data.has_depth.any() else 0,
        missing=kinds.count("missing"),
        bad_boxes=kinds.count("box"),
        behind=kinds.count("camera"),
    )


def _check_columns(report: Report, subject: Subject, data: Dataset, decode: int, progress: Progress) -> None:
    """What the columns of a split tell, and its pictures."""
    where = [f"{data.path(index)}" for index in range(len(data))]
    cam = np.where(data.has_depth[:, None, None] & (data.vis[..., None] > 0), data.joints_cam, np.nan)
    px, group = data.joints_img[..., :2], f"{data.root} ({data.split})"
    if data.has_depth.any():
        subject.bones_mm = bone_table(data.skeleton, cam)
        report.problems += problems_3d(data.skeleton, cam, where, group)
    report.problems += problems_2d(data.skeleton, px, data.vis, group)
    decoded = _spread_over(len(data), decode)
    for index in range(len(data)):
        progress(index / len(data), data.split)
        before = len(report.problems)
        seen = data.vis[index] > 0
        _check_stray(report, subject, where[index], px[index][seen], data.bbox[index])
        if data.has_depth[index]:
            projected = project(data.joints_cam[index][seen], data.f[index], data.c[index])
            error = float(np.linalg.norm(projected - px[index][seen], axis=1).mean())
            subject.reprojection_px.append(error)
            if error > REPROJECTION_PX:
                said = f"joints project {error:.1f} px from their pixels; correct f and c, or the joints"
                report.add("reprojection", f"{where[index]}: {said}")
        if index in decoded:
            size = (int(data.size[index, 0]), int(data.size[index, 1]))
            good = _check_picture(report, subject, data.path(index), size)
            if good and len(report.problems) == before:
                shown = np.where(seen[:, None], px[index], np.nan)
                caption = f"{data.split} {data.action[index]}"
                report.good.append(Frame(data.path(index), data.bbox[index], shown, caption))


def _check_stray(report: Report, subject: Subject, where: str, px: np.ndarray, bbox: np.ndarray) -> None:
    """How far joints lie outside their box: they may stand out of it a little, and a box is cut at the picture."""
    x, y, w, h = bbox
    outside = np.maximum(np.array([x, y]) - px, px - [x + w, y + h]).clip(min=0)
    stray = float(np.linalg.norm(outside, axis=1).max()) if len(px) else 0.0
    subject.stray_px.append(stray)
    if stray > STRAY * max(w, h):
        said = f"a joint lies {stray:.0f} px outside its box of {w:.0f} x {h:.0f}; box or joints are another's"
        report.add("box", f"{where}: {said}")


CHECKS: dict[str, Callable[[Path, int, Progress], Report]] = {
    name: check_human36m if name == "human36m" else partial(check_reader, name) for name in READERS
}
