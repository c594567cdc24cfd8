"""Human3.6M in the layout of the Integral, 3DMPPE and MobileHumanPose readers.

ROOT/annotations/Human36M_subjectN_data.json      images and annotations, COCO style
ROOT/annotations/Human36M_subjectN_camera.json    {"cam": {R, t mm, f, c}}, x_cam = R x_world + t
ROOT/annotations/Human36M_subjectN_joint_3d.json  [action][subaction][frame] -> 17 x 3 world mm
ROOT/images/...                                   (or the images in ROOT itself)
ROOT/bbox_root/bbox_root_human36m_output.json     optional, from a detector: [{image_id, bbox, root_cam mm}]

Every n-th frame is selected by its number (frame_idx), as the reference readers do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from arch.decode import BOX_PADDING
from arch.errors import InputError
from explore.data.config import Human36MOptions
from explore.data.crop import project
from explore.data.readers import common
from explore.data.readers.common import ImageEntry, require
from explore.data.sample import Dataset
from explore.data.sample_errors import SampleError, SampleErrors
from explore.data.skeleton import H36M17, H36M18

SHOULDERS = [H36M17.index("L_Shoulder"), H36M17.index("R_Shoulder")]

Camera = dict[str, np.ndarray]  # R (3, 3), t (3,) mm, f (2,) px, c (2,) px


def load(
    root: str | Path,
    split: str,
    options: Human36MOptions | None = None,
    errors: SampleErrors | None = None,
    name: str = "human36m",
) -> Dataset:
    """Read one split, with Thorax appended: 18 joints. Raises InputError by the rule of explore.data.sample_errors.

    With `options.detected`, the boxes and root depths of the test split come from a detector; its joints are the
    annotated ones.
    """
    options = options or Human36MOptions()
    subjects, step = options.part(split)
    builder = common.DatasetBuilder(name, split, Path(root), H36M18, errors or SampleErrors())
    folder = builder.root / "annotations"
    if not folder.is_dir():
        raise InputError(f"{root}: no annotations folder; give the folder that holds annotations/ and images/")
    if not any(folder.iterdir()):
        raise InputError(f"{folder}: empty; put Human36M_subjectN_data.json, _camera.json and _joint_3d.json there")
    common.check_subjects(folder, split, subjects, _subjects_of(folder.iterdir()))
    for number in dict.fromkeys(subjects):
        subject = Subject(builder.root, number, builder.digest)
        cameras = {
            index: parse_camera(entry, index, subject.path["camera"]) for index, entry in subject.cameras.items()
        }
        builder.collect(subject.annotations_at(step), partial(_person, subject, cameras))
    if not builder.seen:
        advice = f"lower dataset.{split}-step" if step > 1 else f"choose other dataset.{split}-subjects"
        raise InputError(f"{folder}: no frame of subjects {', '.join(map(str, subjects))} at step {step}; {advice}")
    data = builder.build(f"{folder}: none of {builder.seen} frames can be used; run data check")
    return _with_detections(data, builder, options.detected) if options.detected and split == "test" else data


@dataclass(frozen=True)
class Frame:
    """One annotation with its image, camera and joints.

    where: its name in messages; number: of the frame; world: joints (17, 3) mm, NaN where hidden; vis: (17,) bool
    """

    where: str
    annotation: dict[str, Any]
    image: ImageEntry
    number: int
    camera_index: int
    camera: Camera
    world: np.ndarray
    vis: np.ndarray


class Subject:
    """The annotation files of one subject. Their bytes are added to `digest`.

    path: of the files, by kind (data, camera, joint_3d); cameras: raw entries by index
    """

    def __init__(self, root: Path, number: int, digest: Any) -> None:
        self.root, self.number = root, number
        folder = root / "annotations"
        self.path = {kind: folder / f"Human36M_subject{number}_{kind}.json" for kind in ("data", "camera", "joint_3d")}
        missing = "restore it; other files of the subject are there"
        data, self.cameras, self.joints = (common.read_object(file, digest, missing) for file in self.path.values())
        where = f"{self.path['data']}: image"
        images = common.require_list(data, "images", self.path["data"])
        self.images = {common.require_id(image, "id", where): image for image in images}
        self.annotations = common.require_list(data, "annotations", self.path["data"])
        self.image_folder = root / "images" if (root / "images").is_dir() else root

    def annotations_at(self, step: int) -> Iterator[Any]:
        """Yield the annotations, by id, of images whose frame number is a multiple of `step`."""
        path = self.path["data"]

        def order(annotation: Any) -> tuple[bool, int | str]:
            number = common.require_id(annotation, "id", path)
            return isinstance(number, str), number

        for annotation in sorted(self.annotations, key=order):
            number = common.require_id(annotation, "image_id", f"{path}: annotation {annotation['id']}")
            image = self.images.get(number)  # if it is missing, `frame` says so
            if image is None or _index(image, "frame_idx", f"{path}: image {number}") % step == 0:
                yield annotation

    def frame(self, annotation: Any, cameras: dict[str, Camera]) -> Frame:
        """Return the annotation with everything it refers to.

        Raises:
            InputError: an entry that is missing or invalid.
            SampleError: joints that are missing, or visible ones that are not finite.
        """
        where = f"{self.path['data']}: annotation {require(annotation, 'id', self.path['data'])}"
        entry = common.find_image(self.images, annotation, where)
        image = common.image_entry(entry, f"{self.path['data']}: image {entry['id']}", self.image_folder, self.root)
        keys = ("action_idx", "subaction_idx", "cam_idx", "frame_idx")
        action, subaction, camera, number = (_index(entry, key, image.where) for key in keys)
        if str(camera) not in cameras:
            raise InputError(f"{self.path['camera']}: camera {camera} is missing, image {image.file} needs it; add it")
        vis = common.as_array(require(annotation, "keypoints_vis", where)) > 0
        if vis.shape != (len(H36M17),):
            raise InputError(f"{where}: keypoints_vis has {vis.size} values; give {len(H36M17)}")
        world = self._world_joints((action, subaction, number), vis)
        return Frame(where, annotation, image, number, camera, cameras[str(camera)], world, vis)

    def _world_joints(self, keys: tuple[int, int, int], vis: np.ndarray) -> np.ndarray:
        path = self.path["joint_3d"]
        tree: Any = self.joints
        place = "[" + "][".join(str(key) for key in keys) + "]"
        for key in keys:
            tree = tree.get(str(key)) if isinstance(tree, dict) else None
            if tree is None:
                raise SampleError("joints", f"{path}: joints of action, subaction, frame {place} are missing; add them")
        joints = common.as_array(tree)
        if joints.shape != (len(H36M17), 3):
            raise InputError(f"{path}: {place} is not {len(H36M17)} x 3 numbers; correct it")
        common.check_finite(joints[vis], f"{path}: {place}")
        return np.where(vis[:, None], joints, np.nan)


def _index(entry: Any, key: str, where: str) -> int:
    """Return the whole number `entry[key]`."""
    number = common.whole_number(require(entry, key, where))
    if number is None:
        raise InputError(f"{where}: {key} is not a whole number; correct it")
    return number


def _person(subject: Subject, cameras: dict[str, Camera], annotation: Any) -> common.Person:
    frame = subject.frame(annotation, cameras)
    entry, camera = frame.image.entry, frame.camera
    vis = np.append(frame.vis, frame.vis[SHOULDERS].all())
    world = np.vstack([frame.world, frame.world[SHOULDERS].mean(0)])
    cam = world @ camera["R"].T + camera["t"]
    bbox = require(frame.annotation, "bbox", frame.where)
    if (cam[vis, 2] <= 0).any():
        problem = f"{subject.root}: joints of {frame.image.file} lie behind camera {frame.camera_index}"
        raise SampleError("camera", f"{problem}; correct its R and t in {subject.path['camera'].name}")
    px = project(np.where(cam[:, 2:] > 0, cam, np.nan), camera["f"], camera["c"])
    return common.Person(
        frame.where, frame.image, bbox, px, cam, vis, camera["f"], camera["c"], subject.number,
        str(entry.get("action_name", entry["action_idx"])), frame.camera_index, frame.number,
    )  # fmt: skip


def parse_camera(entry: Any, index: str, path: Path) -> Camera:
    """Return a camera's R, t, f and c as arrays. InputError: a key that is missing or has the wrong shape."""
    camera = {}
    for key, shape in (("R", (3, 3)), ("t", (3,)), ("f", (2,)), ("c", (2,))):
        value = common.as_array(require(entry, key, f"{path}: camera {index}"))
        if value.size != np.prod(shape) or not np.isfinite(value).all():
            raise InputError(f"{path}: camera {index}: {key} is not {shape} finite numbers; correct it")
        camera[key] = value.reshape(shape)
    return camera


def _with_detections(data: Dataset, builder: common.DatasetBuilder, file: str) -> Dataset:
    """Replace boxes and root depths by those of a detector."""
    found = _read_detections(builder.root / file, builder.digest)
    numbers = [str(person.image.entry["id"]) for person in builder.people]
    missing = [person.image for person, number in zip(builder.people, numbers, strict=True) if number not in found]
    if missing:
        first = f"image_id {missing[0].entry['id']} ({missing[0].file})"
        raise InputError(
            f"{builder.root}: dataset.detected: no detection of {first} and {len(missing) - 1} more; add them"
        )
    return replace(
        data,
        hash=builder.digest.hexdigest()[:12],
        bbox=np.stack([found[number][0] for number in numbers]),
        root_depth=np.array([found[number][1] for number in numbers]),
    )


def _read_detections(path: Path, digest: Any) -> dict[str, tuple[np.ndarray, float]]:
    """Return box (x, y, w, h px, tight) and root depth mm by image id."""
    entries = common.read_json(path, digest, "dataset.detected names it")
    found = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        where = f"{path}: entry {index}"
        x, y, w, h = common.finite_array(entry, "bbox", (4,), where)
        depth = common.finite_array(entry, "root_cam", (3,), where)[2]
        if w <= 0 or h <= 0 or depth <= 0:
            raise InputError(f"{where}: bbox has no area, or the root lies behind the camera; correct it")
        # Detected boxes are square and include the padding of the crop already.
        tight = np.array([x + w / 2, y + h / 2, w / BOX_PADDING, h / BOX_PADDING])
        found[str(require(entry, "image_id", where))] = (tight - [*(tight[2:] / 2), 0, 0], float(depth))
    return found


def _subjects_of(files: Iterable[Path]) -> set[int]:
    found = (re.match(r"Human36M_subject(\d+)_", file.name) for file in files)
    return {int(match[1]) for match in found if match}
