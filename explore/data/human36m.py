"""Human3.6M in the layout of the Integral, 3DMPPE and MobileHumanPose readers.

ROOT/annotations/Human36M_subjectN_data.json      images and annotations, COCO style
ROOT/annotations/Human36M_subjectN_camera.json    {"cam": {R, t mm, f, c}}, x_cam = R x_world + t
ROOT/annotations/Human36M_subjectN_joint_3d.json  [action][subaction][frame] -> 17 x 3 world mm
ROOT/images/...                                   (or the pictures in ROOT itself)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from arch.errors import InputError
from explore.data.crop import clip_box
from explore.data.sample import Dataset
from explore.data.skeleton import H36M17, H36M18

# Protocol -> (train subjects, train step, test subjects, test step). Protocol 2 is the one with MPJPE,
# protocol 1 the one with PA-MPJPE (Section 4 of the paper).
PROTOCOLS = {
    1: ((1, 5, 6, 7, 8, 9), 5, (11,), 64),
    2: ((1, 5, 6, 7, 8), 5, (9, 11), 64),
}


class Human36MOptions(BaseModel):
    """Which subjects, and every how many frames; None takes what the protocol says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: int = Field(default=2, ge=1, le=2)
    train_subjects: tuple[int, ...] | None = None
    test_subjects: tuple[int, ...] | None = None
    train_step: int | None = Field(default=None, ge=1)
    test_step: int | None = Field(default=None, ge=1)

    def part(self, split: str) -> tuple[tuple[int, ...], int]:
        """(subjects, step) of `train` or `test`."""
        train, train_step, test, test_step = PROTOCOLS[self.protocol]
        if split == "train":
            return self.train_subjects or train, self.train_step or train_step
        if split == "test":
            return self.test_subjects or test, self.test_step or test_step
        raise InputError(f"split {split!r} is unknown: give train or test")


def load(root: str | Path, split: str, options: Human36MOptions | None = None, name: str = "human36m") -> Dataset:
    """Read one split. Thorax is appended: 18 joints. Raises InputError for whatever the files lack."""
    options = options or Human36MOptions()
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
        rows += _read_subject(root, images, subject, step, digest)
    if not rows:
        raise InputError(f"{folder}: no frame of subjects {_listed(subjects)} at step {step}; lower {split}_step")
    for row in rows:
        digest.update(row.file.encode())
    return _columns(rows, name, split, root, digest.hexdigest()[:12])


@dataclass(frozen=True)
class _Row:
    file: str
    size: tuple[int, int]
    bbox: np.ndarray
    world: np.ndarray
    vis: np.ndarray
    camera: dict[str, np.ndarray]
    subject: int
    action: str
    camera_index: int
    frame: int


def _read_subject(root: Path, images: Path, subject: int, step: int, digest: Any) -> list[_Row]:
    """The rows of one subject. The step counts along annotations, as the reference readers do."""
    path = {
        kind: root / "annotations" / f"Human36M_subject{subject}_{kind}.json" for kind in ("data", "camera", "joint_3d")
    }
    content = {kind: _read_json(file, digest) for kind, file in path.items()}
    pictures = {
        _need(image, "id", f"{path['data']}: image"): image for image in _need(content["data"], "images", path["data"])
    }
    cameras = {index: _camera(value, index, path["camera"]) for index, value in content["camera"].items()}
    annotations = sorted(
        _need(content["data"], "annotations", path["data"]), key=lambda a: _need(a, "id", path["data"])
    )
    rows = []
    for annotation in annotations[::step]:
        where = f"{path['data']}: annotation {annotation['id']}"
        picture = pictures.get(_need(annotation, "image_id", where))
        if picture is None:
            raise InputError(f"{where}: image_id {annotation['image_id']} is not among the images; add the image")
        action, subaction, camera, frame, name, width, height = (
            _need(picture, key, f"{path['data']}: image {picture['id']}")
            for key in ("action_idx", "subaction_idx", "cam_idx", "frame_idx", "file_name", "width", "height")
        )
        if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
            raise InputError(f"{path['data']}: image {picture['id']}: width, height are not pixels; correct them")
        if not isinstance(name, str) or not name or ".." in Path(name).parts or Path(name).is_absolute():
            raise InputError(f"{path['data']}: image {picture['id']}: file_name is no path below {images}; correct it")
        if str(camera) not in cameras:
            raise InputError(f"{path['camera']}: camera {camera} is missing, image {name} was taken with it; add it")
        world = _joints(content["joint_3d"], (action, subaction, frame), path["joint_3d"])
        vis = _array(_need(annotation, "keypoints_vis", where)).astype(np.float32)
        if vis.shape != (len(H36M17),):
            raise InputError(f"{where}: keypoints_vis has {vis.size} values; give {len(H36M17)}")
        try:
            bbox = clip_box(_need(annotation, "bbox", where), width, height)
        except ValueError as error:
            raise InputError(f"{where}: bbox {error}; give x, y, w, h in pixels of {name}") from error
        file = images / name
        if not file.is_file():
            raise InputError(f"{file}: image missing, {path['data'].name} names it; restore it or drop its entry")
        rows.append(
            _Row(
                file.relative_to(root).as_posix(), (width, height), bbox, world, vis, cameras[str(camera)],
                subject, str(picture.get("action_name", action)), int(camera), int(frame),
            )
        )  # fmt: skip
    return rows


def _read_json(path: Path, digest: Any) -> dict[str, Any]:
    if not path.is_file():
        have = sorted({file.name.split("_")[1] for file in path.parent.glob("Human36M_subject*_*.json")})
        raise InputError(
            f"{path}: missing; the folder has {_listed(have)}: choose train_subjects and test_subjects among them"
        )
    data = path.read_bytes()
    digest.update(data)
    try:
        value = json.loads(data)
    except ValueError as error:
        raise InputError(f"{path}: not whole JSON ({error}); fetch the file again, it may be cut off") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is expected, not a {type(value).__name__}")
    return value


def _need(entry: Any, key: str, where: object) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise InputError(f"{where}: key {key!r} is missing; the file must follow the Human3.6M layout")
    return entry[key]


def _camera(entry: Any, index: str, path: Path) -> dict[str, np.ndarray]:
    camera = {}
    for key, shape in (("R", (3, 3)), ("t", (3,)), ("f", (2,)), ("c", (2,))):
        value = _array(_need(entry, key, f"{path}: camera {index}"))
        if value.size != np.prod(shape) or not np.isfinite(value).all():
            raise InputError(f"{path}: camera {index}: {key} is not {shape} finite numbers; correct it")
        camera[key] = value.reshape(shape)
    return camera


def _joints(tree: Any, keys: tuple[int, int, int], path: Path) -> np.ndarray:
    said = "[" + "][".join(str(key) for key in keys) + "]"
    for key in keys:
        tree = tree.get(str(key)) if isinstance(tree, dict) else None
        if tree is None:
            raise InputError(f"{path}: joints of action, subaction, frame {said} are missing; add them")
    joints = _array(tree)
    if joints.shape != (len(H36M17), 3):
        raise InputError(f"{path}: {said} is not {len(H36M17)} x 3 numbers; correct it")
    if not np.isfinite(joints).all():
        raise InputError(f"{path}: {said} has joints that are not finite numbers; correct or drop the frame")
    return joints


def _array(value: Any) -> np.ndarray:
    """Numbers as float64; a ragged or non-numeric value becomes an empty array, refused by its shape."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return np.empty(0)


def _columns(rows: list[_Row], name: str, split: str, root: Path, digest: str) -> Dataset:
    world = np.stack([row.world for row in rows])
    vis = np.stack([row.vis for row in rows])
    shoulders = [H36M17.index("L_Shoulder"), H36M17.index("R_Shoulder")]
    world = np.concatenate([world, world[:, shoulders].mean(1, keepdims=True)], 1)
    vis = np.concatenate([vis, vis[:, shoulders].min(1, keepdims=True)], 1)
    rotation, t, f, c = (np.stack([row.camera[key] for row in rows]) for key in "Rtfc")
    camera = np.einsum("nab,njb->nja", rotation, world) + t[:, None]
    behind = np.nonzero((camera[..., 2] <= 0).any(1))[0]
    if len(behind):
        row = rows[behind[0]]
        raise InputError(
            f"{root}: joints of {row.file} lie behind camera {row.camera_index}; "
            f"correct its R and t in Human36M_subject{row.subject}_camera.json"
        )
    pixels = project(camera, f[:, None], c[:, None])
    depth = camera[..., 2:] - camera[:, H36M18.root, None, 2:]
    return Dataset(
        name=name,
        split=split,
        root=root,
        skeleton=H36M18,
        hash=digest,
        files=tuple(row.file for row in rows),
        size=np.array([row.size for row in rows]),
        bbox=np.stack([row.bbox for row in rows]),
        joints_img=np.concatenate([pixels, depth], -1),
        joints_cam=camera,
        vis=vis,
        root_depth=camera[:, H36M18.root, 2],
        f=f,
        c=c,
        subject=np.array([row.subject for row in rows]),
        action=tuple(row.action for row in rows),
        camera=np.array([row.camera_index for row in rows]),
        frame=np.array([row.frame for row in rows]),
    )


def project(camera: np.ndarray, f: np.ndarray, c: np.ndarray) -> np.ndarray:
    """(..., 3) camera mm to (..., 2) px."""
    return camera[..., :2] / camera[..., 2:] * f + c


def _listed(values: Any) -> str:
    return ", ".join(str(value) for value in values) or "nothing"
