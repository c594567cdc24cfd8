"""Human3.6M in the layout of the Integral, 3DMPPE and MobileHumanPose readers.

ROOT/annotations/Human36M_subjectN_data.json      images and annotations, COCO style
ROOT/annotations/Human36M_subjectN_camera.json    {"cam": {R, t mm, f, c}}, x_cam = R x_world + t
ROOT/annotations/Human36M_subjectN_joint_3d.json  [action][subaction][frame] -> 17 x 3 world mm
ROOT/images/...                                   (or the pictures in ROOT itself)
ROOT/bbox_root/bbox_root_human36m_output.json     optional, of a detector: [{image_id, bbox, root_cam mm}]

Every n-th frame is taken by its number (frame_idx), as the reference readers do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from arch.errors import InputError
from explore.data.crop import PADDING
from explore.data.faults import Faults, SampleFault
from explore.data.sample import Dataset
from explore.data.skeleton import H36M17, H36M18
from explore.data.table import (
    Picture,
    array,
    box,
    finite,
    need,
    numbers,
    picture,
    present,
    project,
    read_content,
    read_json,
)

# Protocol -> (train subjects, train step, test subjects, test step). Protocol 2 is the one with MPJPE,
# protocol 1 the one with PA-MPJPE (Section 4 of the paper).
PROTOCOLS = {
    1: ((1, 5, 6, 7, 8, 9), 5, (11,), 64),
    2: ((1, 5, 6, 7, 8), 5, (9, 11), 64),
}


SHOULDERS = [H36M17.index("L_Shoulder"), H36M17.index("R_Shoulder")]


class Human36MOptions(BaseModel):
    """Which subjects, and every how many frames; None takes what the protocol says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: int = Field(default=2, ge=1, le=2)
    train_subjects: tuple[int, ...] | None = None
    test_subjects: tuple[int, ...] | None = None
    train_step: int | None = Field(default=None, ge=1)
    test_step: int | None = Field(default=None, ge=1)
    detected: str = ""  # file of detected boxes and root depths, which the test part takes in place of the annotated

    def part(self, split: str) -> tuple[tuple[int, ...], int]:
        """(subjects, step) of `train` or `test`."""
        train, train_step, test, test_step = PROTOCOLS[self.protocol]
        if split == "train":
            return self.train_subjects or train, self.train_step or train_step
        if split == "test":
            return self.test_subjects or test, self.test_step or test_step
        raise InputError(f"split {split!r} is unknown: give train or test")


def load(
    root: str | Path,
    split: str,
    options: Human36MOptions | None = None,
    name: str = "human36m",
    faults: Faults | None = None,
) -> Dataset:
    """Read one split. Thorax is appended: 18 joints. Raises InputError by the rule of explore.data.faults.

    With `options.detected` the test part's boxes and root depths are a detector's: its own true joints stay.
    """
    options = options or Human36MOptions()
    faults = faults or Faults()
    root = Path(root)
    subjects, step = options.part(split)
    folder = root / "annotations"
    if not folder.is_dir():
        raise InputError(f"{root}: no annotations folder there; give the folder that holds annotations/ and images/")
    if not any(folder.iterdir()):
        raise InputError(f"{folder}: empty; put Human36M_subjectN_data.json, _camera.json and _joint_3d.json there")
    images = root / "images" if (root / "images").is_dir() else root
    digest = hashlib.sha256()
    rows: list[_Row] = []
    for subject in subjects:
        rows += _read_subject(root, images, subject, step, digest, faults)
    seen = len(rows) + len(faults.found)
    if not seen:
        advice = f"lower {split}_step" if step > 1 else f"choose others as {split}_subjects"
        raise InputError(f"{folder}: no frame of subjects {_listed(subjects)} at step {step}; {advice}")
    rows = _before_the_camera(rows, root, faults)
    skipped = faults.settle(seen, split)
    if not rows:
        raise InputError(f"{folder}: none of {seen} frames can be used; run data check")
    for row in rows:
        digest.update(row.file.encode())
    detections = _detections(root, options.detected, digest) if options.detected and split == "test" else None
    return _columns(rows, name, split, root, digest, skipped, detections)


@dataclass(frozen=True)
class _Row:
    file: str
    size: tuple[int, int]
    image_id: Any
    bbox: np.ndarray
    joints_cam: np.ndarray
    vis: np.ndarray
    camera: dict[str, np.ndarray]
    subject: int
    action: str
    camera_index: int
    frame: int


def _read_subject(root: Path, images: Path, subject: int, step: int, digest: Any, faults: Faults) -> list[_Row]:
    """The rows of one subject, frames whose number is a multiple of `step`."""
    path = {
        kind: root / "annotations" / f"Human36M_subject{subject}_{kind}.json" for kind in ("data", "camera", "joint_3d")
    }
    content = {kind: read_json(file, digest, _present_subjects(file)) for kind, file in path.items()}
    pictures = {
        need(image, "id", f"{path['data']}: image"): image for image in need(content["data"], "images", path["data"])
    }
    cameras = {index: _camera(value, index, path["camera"]) for index, value in content["camera"].items()}
    annotations = sorted(need(content["data"], "annotations", path["data"]), key=lambda a: need(a, "id", path["data"]))
    rows = []
    for annotation in annotations:
        where = f"{path['data']}: annotation {annotation['id']}"
        entry = pictures.get(need(annotation, "image_id", where))
        if entry is None:
            raise InputError(f"{where}: image_id {annotation['image_id']} is not among the images; add the image")
        frame = need(entry, "frame_idx", f"{path['data']}: image {entry['id']}")
        if not isinstance(frame, int):
            raise InputError(f"{path['data']}: image {entry['id']}: frame_idx is no whole number; correct it")
        if frame % step:
            continue
        found = picture(entry, f"{path['data']}: image {entry['id']}", images, root)
        try:
            rows.append(_row(root, found, annotation, where, cameras, content["joint_3d"], path, subject))
        except SampleFault as fault:
            faults.add(fault)
    return rows


def _row(
    root: Path,
    found: Picture,
    annotation: Any,
    where: str,
    cameras: dict[str, dict[str, np.ndarray]],
    joints: Any,
    path: dict[str, Path],
    subject: int,
) -> _Row:
    action, subaction, camera_index, frame = (
        need(found.entry, key, found.where) for key in ("action_idx", "subaction_idx", "cam_idx", "frame_idx")
    )
    camera = cameras.get(str(camera_index))
    if camera is None:
        raise InputError(
            f"{path['camera']}: camera {camera_index} is missing, image {found.file} was taken with it; add it"
        )
    vis = array(need(annotation, "keypoints_vis", where)).astype(np.float32)
    if vis.shape != (len(H36M17),):
        raise InputError(f"{where}: keypoints_vis has {vis.size} values; give {len(H36M17)}")
    world = _joints(joints, (action, subaction, frame), path["joint_3d"])
    bbox = box(annotation, where, found)
    present(root, found, where)
    world = np.vstack([world, world[SHOULDERS].mean(0)])
    return _Row(
        found.file, found.size, annotation["image_id"], bbox, world @ camera["R"].T + camera["t"],
        np.append(vis, vis[SHOULDERS].min()), camera, subject,
        str(found.entry.get("action_name", action)), int(camera_index), int(frame),
    )  # fmt: skip


def _present_subjects(path: Path) -> str:
    have = sorted({file.name.split("_")[1] for file in path.parent.glob("Human36M_subject*_*.json")})
    return f"the folder has {_listed(have)}: choose train_subjects and test_subjects among them"


def _camera(entry: Any, index: str, path: Path) -> dict[str, np.ndarray]:
    camera = {}
    for key, shape in (("R", (3, 3)), ("t", (3,)), ("f", (2,)), ("c", (2,))):
        value = array(need(entry, key, f"{path}: camera {index}"))
        if value.size != np.prod(shape) or not np.isfinite(value).all():
            raise InputError(f"{path}: camera {index}: {key} is not {shape} finite numbers; correct it")
        camera[key] = value.reshape(shape)
    return camera


def _joints(tree: Any, keys: tuple[int, int, int], path: Path) -> np.ndarray:
    said = "[" + "][".join(str(key) for key in keys) + "]"
    for key in keys:
        tree = tree.get(str(key)) if isinstance(tree, dict) else None
        if tree is None:
            raise SampleFault("joints", f"{path}: joints of action, subaction, frame {said} are missing; add them")
    joints = array(tree)
    if joints.shape != (len(H36M17), 3):
        raise InputError(f"{path}: {said} is not {len(H36M17)} x 3 numbers; correct it")
    return finite(joints, f"{path}: {said}")


def _before_the_camera(rows: list[_Row], root: Path, faults: Faults) -> list[_Row]:
    """The rows whose joints all lie before the camera."""
    kept = []
    for row in rows:
        if (row.joints_cam[:, 2] > 0).all():
            kept.append(row)
            continue
        said = f"{root}: joints of {row.file} lie behind camera {row.camera_index}"
        faults.add(SampleFault("camera", f"{said}; correct its R and t in Human36M_subject{row.subject}_camera.json"))
    return kept


def _detections(root: Path, file: str, digest: Any) -> dict[str, tuple[np.ndarray, float]]:
    """Box (x, y, w, h px, tight) and root depth mm by image id."""
    path = Path(file) if Path(file).is_absolute() else root / file
    entries = read_content(path, digest, "dataset.detected names it")
    found = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        where = f"{path}: entry {index}"
        x, y, w, h = finite(numbers(entry, "bbox", (4,), where), where)
        depth = finite(numbers(entry, "root_cam", (3,), where), where)[2]
        if w <= 0 or h <= 0 or depth <= 0:
            raise InputError(f"{where}: bbox has no area, or the root lies behind the camera; correct it")
        # These boxes have the padding of the crop already, and were made square.
        tight = np.array([x + w / 2, y + h / 2, w / PADDING, h / PADDING])
        found[str(need(entry, "image_id", where))] = (tight - [*(tight[2:] / 2), 0, 0], float(depth))
    return found


def _columns(
    rows: list[_Row],
    name: str,
    split: str,
    root: Path,
    digest: Any,
    skipped: dict[str, int],
    detections: dict[str, tuple[np.ndarray, float]] | None,
) -> Dataset:
    camera = np.stack([row.joints_cam for row in rows])
    f, c = (np.stack([row.camera[key] for row in rows]) for key in "fc")
    pixels = project(camera, f[:, None], c[:, None])
    depth = camera[..., 2:] - camera[:, H36M18.root, None, 2:]
    bbox, root_depth = np.stack([row.bbox for row in rows]), camera[:, H36M18.root, 2]
    if detections is not None:
        missing = [row for row in rows if str(row.image_id) not in detections]
        if missing:
            said = f"image_id {missing[0].image_id} ({missing[0].file})"
            raise InputError(f"{root}: dataset.detected: no detection of {said} and {len(missing) - 1} more; add them")
        bbox = np.stack([detections[str(row.image_id)][0] for row in rows])
        root_depth = np.array([detections[str(row.image_id)][1] for row in rows])
    return Dataset(
        name=name,
        split=split,
        root=root,
        skeleton=H36M18,
        hash=digest.hexdigest()[:12],
        files=tuple(row.file for row in rows),
        size=np.array([row.size for row in rows]),
        bbox=bbox,
        joints_img=np.concatenate([pixels, depth], -1),
        joints_cam=camera,
        vis=np.stack([row.vis for row in rows]),
        has_depth=np.ones(len(rows), bool),
        root_depth=root_depth,
        f=f,
        c=c,
        subject=np.array([row.subject for row in rows]),
        action=tuple(row.action for row in rows),
        camera=np.array([row.camera_index for row in rows]),
        frame=np.array([row.frame for row in rows]),
        skipped=skipped,
    )


def _listed(values: Any) -> str:
    return ", ".join(str(value) for value in values) or "nothing"
