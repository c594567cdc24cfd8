"""Validation of data sets: report every problem, where a reader stops at the first one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from arch.fields import MAX_JOINTS
from explore.data.config import Human36MOptions
from explore.data.crop import clip_box, project
from explore.data.images import read_frame, read_mask, stored_orientation
from explore.data.readers import human36m, load_function
from explore.data.readers.common import as_array, require
from explore.data.readers.human36m import Camera, Subject
from explore.data.sample import Dataset, evenly_spread
from explore.data.sample_errors import SampleError, SampleErrors, SplitNotFound
from explore.data.sheet import Frame
from explore.data.skeleton import H36M17, Skeleton
from explore.data.skeleton_checks import median_bone_lengths, problems_2d, problems_3d

MAX_OUTSIDE = 0.25  # distance of a joint from its box, as a fraction of the box's longer side
MAX_NOT_ORTHOGONAL = 1e-3
MAX_REPROJECTION_PX = 5.0  # mean over a frame, for images of about 1000 px


@dataclass
class SubjectReport:
    """Counts and statistics of one subject, or of one split if a data set has no subjects.

    grey: decoded images of one channel, which are valid
    bones_mm: median bone lengths, by the name of the outer joint
    stray_px: for each frame, the distance of the outermost joint from its box
    reprojection_px: for each frame with annotated px, the mean distance of the projected joints from them
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
    """Result of a validation.

    problems: (kind, one line that names the file), in the order found; good: decoded frames without a problem
    notes: lines that training prints before it starts (`Dataset.notes`); not problems
    parts: the samples of each split that could be opened as training opens it
    """

    root: Path
    skeleton: Skeleton
    subjects: dict[int | str, SubjectReport] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    good: list[Frame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parts: dict[str, Dataset] = field(default_factory=dict)

    def add(self, kind: str, line: str) -> None:
        self.problems.append((kind, line))


Progress = Callable[[float, str], None]


def validate(reader: str, root: Path, decode: int, progress: Progress, options: Any = None) -> Report:
    """Check a folder in the layout of a reader, all subjects and splits in it.

    options: of the reader, as training has them
    decode: number of images to decode per subject (Human3.6M) or split, evenly spread; all must exist

    Raises:
        InputError: no annotations at all.
    """
    if reader == "human36m":
        return _check_human36m(root, decode, progress, options or Human36MOptions())
    return _check(reader, root, decode, progress, options)


# ---- Human3.6M, subject by subject ----


def _check_human36m(root: Path, decode: int, progress: Progress, options: Human36MOptions) -> Report:
    folder = root / "annotations"
    found = (re.fullmatch(r"Human36M_subject(\d+)_data\.json", file.name) for file in folder.glob("*_data.json"))
    numbers = sorted(int(match[1]) for match in found if match)
    if not numbers:
        raise InputError(f"{folder}: no Human36M_subjectN_data.json there; give the folder that holds annotations/")
    report = Report(root, H36M17)
    for index, number in enumerate(numbers):
        report.subjects[number] = SubjectReport()

        def within(share: float, text: str, index: int = index) -> None:
            progress((index + share) / len(numbers), text)

        before = len(report.problems)
        try:
            _check_subject(report, Subject(root, number, hashlib.sha256()), decode, within)
            if len(report.problems) == before:  # report what only the reader rejects
                errors = SampleErrors(report_all=True)
                human36m.load(root, "train", Human36MOptions(train_subjects=(number,), train_step=1), errors)
                report.problems += [(error.kind, str(error)) for error in errors.found]
        except InputError as error:
            report.add("annotations", str(error))
    for split in ("train", "test"):
        try:
            report.parts[split] = human36m.load(root, split, options, SampleErrors(report_all=True))
        except InputError as error:
            place = str(error).partition(": ")[0]
            if place == str(folder) or not any(line.startswith(f"{place}: ") for _, line in report.problems):
                report.add("parts", str(error))
    return report


def _check_subject(report: Report, subject: Subject, decode: int, progress: Progress) -> None:
    counts = report.subjects[subject.number]
    counts.frames = len(subject.annotations)
    cameras = dict(_check_cameras(report, subject))
    counts.cameras = len(cameras)
    if not subject.annotations:
        report.add("annotations", f"{subject.path['data']}: no annotations in it; fetch the file again")
    decoded = set(evenly_spread(len(subject.annotations), decode))
    names: list[str] = []
    joints: list[np.ndarray] = []
    for index, annotation in enumerate(subject.annotations):
        progress(index / len(subject.annotations), f"S{subject.number}")
        try:
            frame = subject.frame(annotation, cameras)
            given_box = require(annotation, "bbox", frame.where)
        except InputError as error:
            report.add("annotations", str(error))
            continue
        before = len(report.problems)
        camera, file = frame.camera, report.root / frame.image.file
        cam = frame.world @ camera["R"].T + camera["t"]
        px = project(np.where(cam[:, 2:] > 0, cam, np.nan), camera["f"], camera["c"])
        bbox = None
        try:
            bbox = clip_box(given_box, *frame.image.size)
        except (ValueError, TypeError) as error:
            counts.bad_boxes += 1
            report.add("box", f"{frame.where}: bbox {error}; give x, y, w, h in px of {file.name}")
        if (cam[frame.vis, 2] <= 0).any():
            counts.behind += 1
            report.add("camera", f"{frame.where}: joints lie behind camera {frame.camera_index}; correct its R and t")
        else:
            if bbox is not None:
                advice = f"camera {frame.camera_index}, box or joints belong to another frame"
                _check_inside_box(report, counts, "reprojection", frame.where, px[frame.vis], bbox, advice)
            if annotation.get("keypoints_img") is not None:
                keypoints = as_array(annotation["keypoints_img"])
                if keypoints.ndim != 2 or keypoints.shape[0] != len(px) or keypoints.shape[1] < 2:
                    report.add("reprojection", f"{frame.where}: keypoints_img is not {len(px)} x 2; correct it")
                else:
                    advice = f"from keypoints_img; correct camera {frame.camera_index}"
                    _check_reprojection(report, counts, frame.where, px[frame.vis], keypoints[frame.vis, :2], advice)
        if not file.is_file():
            counts.missing += 1
            report.add("missing", f"{file}: image missing; restore it or drop its entry")
        elif index in decoded:
            _check_image(report, counts, file, frame.image.size)
            if bbox is not None and len(report.problems) == before:
                entry = frame.image.entry
                caption = f"S{subject.number} {entry.get('action_name', entry['action_idx'])}"
                report.good.append(Frame(file, bbox, px, caption))
        names.append(frame.where)
        joints.append(cam)
    if joints:
        counts.bones_mm = median_bone_lengths(H36M17, np.stack(joints))
        report.problems += problems_3d(H36M17, np.stack(joints), names, str(subject.path["joint_3d"]))


def _check_cameras(report: Report, subject: Subject) -> Iterator[tuple[str, Camera]]:
    """Yield the cameras that can be read, and report those with an impossible R or f."""
    path = subject.path["camera"]
    for index, entry in subject.cameras.items():
        try:
            camera = human36m.parse_camera(entry, index, path)
        except InputError as error:
            report.add("camera", str(error))
            continue
        rotation = camera["R"]
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > MAX_NOT_ORTHOGONAL or np.linalg.det(rotation) < 0:
            report.add("camera", f"{path}: camera {index}: R is not a rotation; correct it")
        if (camera["f"] <= 0).any():
            report.add("camera", f"{path}: camera {index}: f is not positive; give it in px")
        yield index, camera


# ---- all other readers, split by split ----


def _check(reader: str, root: Path, decode: int, progress: Progress, options: Any) -> Report:
    report: Report | None = None
    absent: dict[str, str] = {}
    for split in ("train", "test"):
        errors = SampleErrors(report_all=True)
        try:
            data = load_function(reader)(root, split, options, errors)
        except SplitNotFound as error:
            absent[split] = str(error)
            continue
        except InputError as error:
            report = report or Report(root, Skeleton("", (), (), ()))
            report.subjects[split] = _counts_of(errors)
            report.problems += [(found.kind, str(found)) for found in errors.found]
            if error not in errors.found:
                report.add("annotations", str(error))
            continue
        report = report or Report(root, data.skeleton)
        report.skeleton = data.skeleton
        report.parts[split] = data
        report.subjects[split] = _counts_of(errors)
        report.subjects[split].frames += len(data)
        report.subjects[split].cameras = len(np.unique(data.camera)) if data.has_depth.any() else 0
        report.problems += [(error.kind, str(error)) for error in errors.found]
        report.notes += data.notes
        _check_samples(report, report.subjects[split], data, decode, progress)
    if report is None:
        raise InputError(
            next(line for line in reversed(absent.values()) if not line.startswith("data "))
        )  # names a file
    report.notes = list(dict.fromkeys(report.notes))
    if len(report.skeleton) > MAX_JOINTS:
        joints = len(report.skeleton)
        report.add("joints", f"{root}: {joints} joints; networks have at most {MAX_JOINTS}, leave some out")
    report.notes += [f"no {split} part: {line}" for split, line in absent.items()]
    if report.parts and not any(data.has_depth.any() for data in report.parts.values()):
        report.notes.append(f"{root}: in 2D only; train on it in a mix, after a set in 3D: A*0.5+{reader}:{root}*0.5")
    return report


def _counts_of(errors: SampleErrors) -> SubjectReport:
    """Return the counts of the samples that cannot be used."""
    kinds = [error.kind for error in errors.found]
    return SubjectReport(
        frames=len(kinds),
        missing=kinds.count("missing"),
        bad_boxes=kinds.count("box"),
        behind=kinds.count("camera"),
    )


def _check_samples(report: Report, counts: SubjectReport, data: Dataset, decode: int, progress: Progress) -> None:
    names = [f"{data.path(index)}" for index in range(len(data))]
    cam = np.where(data.has_depth[:, None, None] & (data.vis[..., None] > 0), data.joints_cam, np.nan)
    px, group = data.joints_img[..., :2], f"{data.root} ({data.split})"
    if data.has_depth.any():
        counts.bones_mm = median_bone_lengths(data.skeleton, cam)
        report.problems += problems_3d(data.skeleton, cam, names, group)
    report.problems += problems_2d(data.skeleton, px, data.vis, group)
    decoded = set(evenly_spread(len(data), decode))
    for index, name in enumerate(names):
        progress(index / len(data), data.split)
        before = len(report.problems)
        visible = data.vis[index] > 0
        advice = "box or joints belong to another person"
        _check_inside_box(report, counts, "box", name, px[index][visible], data.bbox[index], advice)
        if data.has_depth[index]:
            projected = project(data.joints_cam[index][visible], data.f[index], data.c[index])
            advice = "from their pixels; correct f and c, or the joints"
            _check_reprojection(report, counts, name, projected, px[index][visible], advice)
        if index in decoded:
            _check_image(report, counts, data.path(index), (int(data.size[index, 0]), int(data.size[index, 1])))
            if data.masks and data.masks[index]:
                _check_mask(report, data.root / data.masks[index], data.size[index])
            if len(report.problems) == before:
                shown = np.where(visible[:, None], px[index], np.nan)
                caption = f"{data.split} {data.action[index]}"
                report.good.append(Frame(data.path(index), data.bbox[index], shown, caption))


# ---- checks of one frame ----


def _check_inside_box(
    report: Report, counts: SubjectReport, kind: str, where: str, px: np.ndarray, bbox: np.ndarray, advice: str
) -> None:
    """Check joints (J, 2) against their box: they may protrude a little, and a box is clipped at the image border."""
    x, y, w, h = bbox
    outside = np.maximum(np.array([x, y]) - px, px - [x + w, y + h]).clip(min=0)
    distance = float(np.linalg.norm(outside, axis=1).max()) if len(px) else 0.0
    counts.stray_px.append(distance)
    if distance > MAX_OUTSIDE * max(w, h):
        report.add(kind, f"{where}: a joint lies {distance:.0f} px outside its box of {w:.0f} x {h:.0f}; {advice}")


def _check_reprojection(
    report: Report, counts: SubjectReport, where: str, projected: np.ndarray, px: np.ndarray, advice: str
) -> None:
    if not len(px):
        return
    error = float(np.linalg.norm(projected - px, axis=1).mean())
    counts.reprojection_px.append(error)
    if error > MAX_REPROJECTION_PX:
        report.add("reprojection", f"{where}: joints project {error:.1f} px {advice}")


def _check_image(report: Report, counts: SubjectReport, file: Path, size: tuple[int, int]) -> None:
    counts.decoded += 1
    try:
        image, _ = read_frame(file, size)
    except SampleError as error:
        counts.broken += error.kind == "broken"
        report.add(error.kind, str(error))
        return
    counts.grey += bool((image == image[..., :1]).all())
    orientation = stored_orientation(file)
    if orientation != 1:
        problem = f"EXIF orientation {orientation} is ignored, since annotations refer to stored pixels"
        report.add("orientation", f"{file}: {problem}; store the image rotated and drop the tag")


def _check_mask(report: Report, file: Path, size: np.ndarray) -> None:
    """Check that a mask can be decoded and has the shape of its image, up to rounding."""
    try:
        height, width = read_mask(file).shape
    except SampleError as error:
        report.add(error.kind, str(error))
        return
    if abs(width * size[1] - height * size[0]) > size.max():
        report.add(
            "size", f"{file}: a mask of {width} x {height} for an image of {size[0]} x {size[1]}; cover the whole image"
        )
