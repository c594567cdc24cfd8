"""The embedded data set: rendered people with exact joints, stored in the Human3.6M layout.

A subject is a group of body shapes that no other subject shares; the action is the kind of pose. The validation part
has subjects of its own and is stored in a folder below the set, so that it can be added to sets rendered without it. Each subject has
sixteen fixed cameras around it, and people are placed in the world such that one camera frames them well. Each frame
has its own random generator, seeded by (seed, split, index), so that it does not depend on the number of workers or
the order of work.

The 33 landmarks of BlazePose are stored beside the joints, so that the same images serve both skeletons. Sets that were
rendered before landmarks were stored get them on first use, from the geometry alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from arch.decode import BOX_PADDING
from arch.documents import load_written
from arch.errors import InputError
from arch.files import content_hash, remove_leftovers, write_atomic
from explore.data.config import PROCEDURAL, Framing, Human36MOptions, PoseSources, RenderedSkeleton
from explore.data.crop import project
from explore.data.framing import region_of_joints, roi_of
from explore.data.images import jpeg_is_complete
from explore.data.readers import human36m
from explore.data.sample import Dataset
from explore.data.sample_errors import SplitNotFound
from explore.data.skeleton import BLAZEPOSE33, H36M17
from explore.data.synthetic.body import Body, load_body, skin
from explore.data.synthetic.labelled import load_poses
from explore.data.synthetic.motion import load_motion
from explore.data.synthetic.pose import (
    ARCHETYPES,
    FURTHER,
    bone_rotations,
    rotation_x,
    rotation_z,
    sample_pose,
    sample_varied_pose,
)
from explore.data.synthetic.render import Figure, View, render
from explore.data.synthetic.retarget import Joints, face_front, rotations_from_joints
from explore.interrupts import starting_children


class Poses(Protocol):
    """Captured poses. `sample` returns the ends of bones by name, m, of a random pose of a split."""

    @property
    def hash(self) -> str: ...

    def sample(self, rng: np.random.Generator, split: str) -> Joints: ...


VERSIONS = {"easy": 1, "full": 3}  # of the rendered images; increase it when the same seed gives other pixels
TRAIN_SUBJECTS, TEST_SUBJECTS = (1, 5, 6, 7, 8), (9, 11)
VALIDATION_SUBJECTS = (3, 4)
SPLITS = {"train": TRAIN_SUBJECTS, "test": TEST_SUBJECTS, "validation": VALIDATION_SUBJECTS}  # the order seeds frames
CAMERAS = 16
FIRST_ACTION = 2  # Human3.6M counts its actions from 2
STATURE = (1.45, 2.0)  # m
FILL = {"easy": (0.62, 0.9), "full": (0.48, 0.8)}  # fraction of the frame that the person fills
BYSTANDER_P = 0.2  # probability of a second person at the level full
BYSTANDERS = 10**8  # the second person of a frame is that of the frame with this number added

CAPTURED_ACTION = "motion"
VALIDATION = "validation-"  # folder of a validation part, with its number of frames
LOADERS: dict[str, Callable[[Path], Poses]] = {
    "cmu": lru_cache(maxsize=2)(load_motion),
    "labelled": lru_cache(maxsize=2)(load_poses),
}

# rows and columns: camera x, y, z from model x, y, z (right is left, down is minus up, forward is back)
_FACING = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


class SyntheticConfig(BaseModel):
    """Settings of the renderer.

    level: easy (seen from the front, plain backgrounds) or full (seen from all sides and heights, in the surroundings and
           light of panoramas, more clothes, occluders)
    size:  side of the square frames, px
    poses: procedural, cmu:FOLDER of captured motion (explore.data.synthetic.motion), labelled:FOLDER of a labelled set
           (explore.data.synthetic.labelled), or several joined by +, of which one is chosen for each frame; half of the
           frames are procedural where procedural is one of them
    skeleton: joints of the annotations; empty: h36m18. The images do not depend on it
    framing: crops that the frames are made for (explore.data.framing): roi places people such that frames hold their
           regions of interest, too
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["easy", "full"] = "easy"
    seed: int = Field(default=0, ge=0)
    size: int = Field(default=128, ge=32, le=1024)
    train_frames: int = Field(default=4000, ge=1)
    test_frames: int = Field(default=400, ge=1)
    val_frames: int = Field(default=500, ge=1)
    poses: PoseSources = PROCEDURAL
    skeleton: RenderedSkeleton = ""
    framing: Framing = "box"

    @property
    def sources(self) -> list[tuple[str, Poses]]:
        """Kinds and poses of the captured sources of `poses`. InputError: files that cannot be read."""
        parts = (part.partition(":") for part in re.split(r"\+(?=(?:cmu|labelled):)", self.poses))
        return [(kind, LOADERS[kind](Path(folder))) for kind, _, folder in parts if kind != PROCEDURAL]

    @property
    def frames(self) -> int:
        """Number of training and test frames."""
        return self.train_frames + self.test_frames

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that training and test images depend on, with captured motion as the hash of its files."""
        values: dict[str, Any] = {
            "level": self.level, "seed": self.seed, "size": self.size,
            "train": self.train_frames, "test": self.test_frames,
        }  # fmt: skip
        if sources := self.sources:
            kinds = [PROCEDURAL] if self.poses.startswith(PROCEDURAL) else []
            values["poses"] = "+".join(kinds + [f"{kind}:{poses.hash}" for kind, poses in sources])
            values["parts"] = 4  # of the clips, and the fraction of procedural poses: changed in 0.2
        if self.framing != "box":
            values["framing"] = self.framing
        return values

    @property
    def name(self) -> str:
        return f"synthetic-{self.level}-{content_hash({'version': VERSIONS[self.level], **self.facts})}"

    def validation_folder(self, root: Path) -> Path:
        """Return the folder of the validation part below the folder of rendered sets."""
        return root / self.name / f"{VALIDATION}{self.val_frames}"


def render_dataset(
    root: Path,
    config: SyntheticConfig,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render the set into a folder below `root` that is named by the configuration's hash; return the folder.

    A finished set is reused; an interrupted one is continued. Annotations are written after all images, and
    dataset.json, which marks the set as finished, after them. progress(done, total) is called after each frame. With
    more than one worker, the caller's __main__ must be importable, because processes are spawned.

    Raises:
        InputError: a folder that cannot be written or holds another configuration.
    """
    return _render(Path(root) / config.name, config, ("train", "test"), config.facts, workers, progress)


def render_validation(
    root: Path,
    config: SyntheticConfig,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render the validation part of a set into a folder of its own within the set's; otherwise as `render_dataset`."""
    facts = config.facts | {"validation": config.val_frames}
    return _render(config.validation_folder(Path(root)), config, ("validation",), facts, workers, progress)


def _render(
    folder: Path,
    config: SyntheticConfig,
    splits: tuple[str, ...],
    facts: dict[str, Any],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Path:
    """Render splits into a folder; facts: what its images depend on."""
    finished = folder / "dataset.json"
    counts = {"train": config.train_frames, "test": config.test_frames, "validation": config.val_frames}
    tasks = [(folder, config, split, index) for split in splits for index in range(counts[split])]
    total = len(tasks)
    rendered = finished.is_file()
    if rendered:
        _check_same(finished, facts)
        if config.skeleton != BLAZEPOSE33.name or all(landmark_file(folder, split).is_file() for split in splits):
            if progress:
                progress(total, total)
            return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, recursive=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); point EDGEPOSE_CACHE elsewhere") from error
    records = []
    for record in _map(_composed_record if rendered else _frame_on_disk, tasks, workers):
        records.append(record)
        if progress:
            progress(len(records), total)
    _write_landmarks(folder, splits, records)
    if rendered:
        return folder
    _write_annotations(folder, config, splits, records)
    summary = {"version": VERSIONS[config.level], "config": facts, "frames": total, "name": config.name}
    write_atomic(finished, json.dumps(summary, indent=1))
    return folder


def _check_same(finished: Path, facts: dict[str, Any]) -> None:
    try:
        made_with = load_written(finished)["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{finished}: damaged ({error}); delete the folder to render it again") from error
    if made_with != facts:
        raise InputError(f"{finished}: config differs from the requested one; delete the folder to render it again")


# ---- work ----

Task = tuple[Path, SyntheticConfig, str, int]


def _map(work: Callable[[Task], dict[str, Any]], tasks: list[Task], workers: int) -> Iterator[dict[str, Any]]:
    if workers <= 1:
        yield from map(work, tasks)
        return
    with _single_threaded_children(), starting_children():
        context = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
        records = executor.map(work, tasks, chunksize=8)
    try:
        yield from records
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGHUP):  # the parent receives them too and ends the work
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent process dies, which cannot end its workers if it is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Limit the linear algebra of processes started inside to one thread, because the workers share the cores."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _frame_on_disk(task: Task) -> dict[str, Any]:
    """Render one frame unless its file exists; return its annotation."""
    folder, config, split, index = task
    frame = compose_frame(config, split, index)
    path = folder / "images" / frame.file
    if not (path.is_file() and jpeg_is_complete(path.read_bytes())):
        write_atomic(path, render_jpeg(config, split, index, frame), durable=False)
    return frame.record


def _composed_record(task: Task) -> dict[str, Any]:
    """Return the annotation of one frame, without rendering it."""
    _, config, split, index = task
    return compose_frame(config, split, index).record


# ---- one frame ----


@dataclass(frozen=True)
class Camera:
    """One fixed camera: x_cam = rotation @ x_world + shift, mm; f (2,), c (2,) px."""

    rotation: np.ndarray
    shift: np.ndarray
    f: np.ndarray
    c: np.ndarray
    azimuth: float


@lru_cache(maxsize=64)
def cameras(seed: int, subject: int, size: int, level: str) -> tuple[Camera, ...]:
    """Return the cameras of a subject, evenly spaced around the world's origin and directed at a point above it.

    At the level full, a third of them look from above, up to steeply, or from below, and some are close to the person.
    """
    rng = np.random.default_rng((seed, 2, subject))
    wide, nearest = level == "full", 1.1 if level == "full" else 1.6
    found = []
    for index in range(CAMERAS):
        azimuth = 2 * np.pi * index / CAMERAS
        pitch = np.deg2rad(np.clip(rng.normal(8, 10), -15, 40))
        if wide and index % 3 == 0:
            pitch = np.deg2rad(rng.uniform(-25, 60))
        rotation = rotation_z(np.deg2rad(rng.normal(0, 3))) @ rotation_x(pitch) @ _FACING @ rotation_z(azimuth)
        focal = size * rng.uniform(nearest, 2.4)
        found.append(
            Camera(
                rotation=rotation,
                shift=np.array([0, 0, 4500.0]) - rotation @ np.array([0, 0, 900.0]),
                f=np.array([focal, focal * rng.uniform(0.995, 1.005)]),
                c=size / 2 + rng.normal(0, 0.02 * size, 2),
                azimuth=azimuth,
            )
        )
    return tuple(found)


@lru_cache(maxsize=1)
def shapes_of_subjects() -> dict[int, np.ndarray]:
    """Return indices into the baked shapes by subject; no shape is in two. They do not depend on the seed.

    Training and test subjects have the bodies with a stature within STATURE, validation subjects the others, which
    are scaled to it (`_body_scales`).
    """
    usable = np.nonzero(_usable())[0]
    usable = np.random.default_rng(0).permutation(usable)
    subjects = TRAIN_SUBJECTS + TEST_SUBJECTS
    found = {subject: np.sort(usable[place :: len(subjects)]) for place, subject in enumerate(subjects)}
    others = np.nonzero(~_usable())[0]
    return found | {
        subject: others[place :: len(VALIDATION_SUBJECTS)] for place, subject in enumerate(VALIDATION_SUBJECTS)
    }


@lru_cache(maxsize=1)
def _statures() -> np.ndarray:
    """Return the stature of each baked shape, m."""
    body = load_body()
    return np.array([np.ptp(body.rest(shape)[0][:, 2]) for shape in body.shapes])


def _usable() -> np.ndarray:
    statures = _statures()
    usable: np.ndarray = (statures > STATURE[0]) & (statures < STATURE[1])
    return usable


@lru_cache(maxsize=1)
def _body_scales() -> np.ndarray:
    """Return the scale of each baked shape: 1, or for the bodies out of STATURE such that their statures are
    distributed like those within."""
    statures, usable = _statures(), _usable()
    scales = np.ones(len(statures))
    others = np.nonzero(~usable)[0]
    rank = statures[others].argsort().argsort()
    scales[others] = np.quantile(statures[usable], (rank + 0.5) / len(others)) / statures[others]
    return scales


@dataclass(frozen=True)
class ComposedFrame:
    """A posed person in front of a camera, ready to be rendered. file: of the image; record: annotation."""

    file: str
    record: dict[str, Any]
    figure: Figure


def compose_frame(config: SyntheticConfig, split: str, index: int) -> ComposedFrame:
    """Sample body, pose and camera of one frame and compute its annotation, without rendering it."""
    rng = _generator(config, split, index, "geometry")
    body = load_body()
    subject = SPLITS[split][index % len(SPLITS[split])]
    person = rng.choice(shapes_of_subjects()[subject])
    rest, heads = body.rest(body.shapes[person])
    if split == "validation":
        scale = float(_body_scales()[person])
        rest, heads = scale * rest, scale * heads
    kind, rotations = _pose(config, split, rng, body, heads)
    transforms, places = body.pose(heads, rotations)
    vertices = skin(transforms, rest)
    joints, landmarks = body.joints(vertices, places), body.landmarks(vertices, places)

    camera_index = int(rng.integers(CAMERAS))
    camera = cameras(config.seed, subject, config.size, config.level)[camera_index]
    facing = np.deg2rad(rng.normal(0, 40)) if config.level == "easy" else rng.uniform(0, 2 * np.pi)
    turn = rotation_z(facing - camera.azimuth)
    rotation = camera.rotation @ turn
    if config.framing == "roi":
        least, most = (BOX_PADDING * fraction for fraction in FILL[config.level])  # crops as large as of framing box
        shift = _fit_into_frame(rng, joints @ rotation.T, camera, config.size, (least, most), _region_bounds)
    else:
        shift = _fit_into_frame(rng, vertices[::7] @ rotation.T, camera, config.size, FILL[config.level], _bounds)
    view = View(rotation, shift / 1000, camera.f, camera.c)
    uv = view.project(view.place(vertices))
    low, high = np.clip(uv.min(0), 0, config.size), np.clip(uv.max(0), 0, config.size)

    world = 1000 * joints @ turn.T + camera.rotation.T @ (shift - camera.shift)
    action = FIRST_ACTION + [*ARCHETYPES, CAPTURED_ACTION, *FURTHER].index(kind)
    clip = f"s_{subject:02d}_act_{action:02d}_subact_01_ca_{camera_index + 1:02d}"
    file = f"{clip}/{clip}_{index + 1:06d}.jpg"
    record = {
        "split": split,
        "subject": subject,
        "world": np.round(world, 3).tolist(),
        "landmarks": np.round(1000 * view.place(landmarks), 2).astype(np.float32),
        "bbox": np.round(np.concatenate([low, high - low]), 2).tolist(),
        "image": {
            "file_name": file,
            "width": config.size,
            "height": config.size,
            "subject": subject,
            "action_name": kind,
            "action_idx": action,
            "subaction_idx": 1,
            "cam_idx": camera_index + 1,
            "frame_idx": index,
        },
    }
    return ComposedFrame(file, record, Figure(rest, heads, transforms, view))


def _pose(
    config: SyntheticConfig, split: str, rng: np.random.Generator, body: Body, heads: np.ndarray
) -> tuple[str, dict[str, np.ndarray]]:
    """Return the action's name and the rotations of the body's bones."""
    sources = config.sources
    choices = len(sources) * (1 + config.poses.startswith(PROCEDURAL))
    chosen = int(rng.random() * choices) if sources and choices > 1 else 0
    if chosen < len(sources):
        joints = face_front(sources[chosen][1].sample(rng, split))
        return CAPTURED_ACTION, rotations_from_joints(body, heads, joints)
    pose = sample_pose(rng) if config.level == "easy" else sample_varied_pose(rng)
    return pose.kind, bone_rotations(body, heads, pose)


Bounds = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _bounds(uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest coordinates (2,) of points (N, 2)."""
    return uv.min(0), uv.max(0)


def _region_bounds(uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the upright square that holds the region of interest of joints (17, 2) px."""
    region = region_of_joints(uv, np.ones(len(uv), bool), roi_of(H36M17))
    if region is None:  # the joints are in one point
        return _bounds(uv)
    return region.centre - region.extent / 2, region.centre + region.extent / 2


def _fit_into_frame(
    rng: np.random.Generator, points: np.ndarray, camera: Camera, size: int, fill: tuple[float, float], bounds: Bounds
) -> np.ndarray:
    """Return the person's translation, mm in camera axes, at which points (N, 3), m, fill the frame.

    fill: least and largest part of the frame that `bounds` of the points in px are to fill, near its centre
    """
    points = 1000 * points
    wanted = size * rng.uniform(*fill)
    middle = size / 2 + rng.normal(0, 0.03 * size, 2)
    centre = (points.min(0) + points.max(0)) / 2
    spot = np.array([0, 0, 4500.0])
    for _ in range(4):
        placed = points - centre + spot
        uv = placed[:, :2] / placed[:, 2:] * camera.f + camera.c
        low, high = bounds(uv)
        spot[2] *= (high - low).max() / wanted
        spot[:2] += (middle - (low + high) / 2) * spot[2] / camera.f
    return spot - centre


def render_jpeg(config: SyntheticConfig, split: str, index: int, frame: ComposedFrame | None = None) -> bytes:
    """Render a frame to JPEG. frame: as `compose_frame` returns it, if it has been composed already."""
    frame = frame or compose_frame(config, split, index)
    rng = _generator(config, split, index, "appearance")
    easy, bystander = config.level == "easy", None
    if not easy and rng.random() < BYSTANDER_P:
        bystander = _moved_aside(rng, compose_frame(config, split, index + BYSTANDERS).figure, config.size)
    image = render(rng, load_body(), frame.figure, config.size, easy, bystander)
    quality = int(rng.integers(70 if easy else 40, 95))
    _, data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    return data.tobytes()


def _moved_aside(rng: np.random.Generator, figure: Figure, size: int) -> Figure:
    """Return the person further away, to the left or right of the middle."""
    view, scale = figure.view, rng.uniform(0.4, 0.9)
    centre = np.array([rng.choice((-1, 1)) * rng.uniform(0.25, 0.5), rng.uniform(-0.15, 0.1)]) * size + size / 2
    return replace(figure, view=replace(view, f=view.f * scale, c=centre))


def _generator(config: SyntheticConfig, split: str, index: int, purpose: str) -> np.random.Generator:
    key = (config.seed, list(SPLITS).index(split), index, ("geometry", "appearance").index(purpose))
    return np.random.default_rng(key)


# ---- annotations ----


def _write_annotations(
    folder: Path, config: SyntheticConfig, splits: tuple[str, ...], records: list[dict[str, Any]]
) -> None:
    for subject in (subject for split in splits for subject in SPLITS[split]):
        mine = [record for record in records if record["subject"] == subject]
        tree: dict[str, dict[str, dict[str, Any]]] = {}
        for record in mine:
            image = record["image"]
            frames = tree.setdefault(str(image["action_idx"]), {}).setdefault("1", {})
            frames[str(image["frame_idx"])] = record["world"]
        content = {
            "data": {
                "images": [{"id": number, **record["image"]} for number, record in enumerate(mine)],
                "annotations": [
                    {"id": number, "image_id": number, "keypoints_vis": [True] * 17, "bbox": record["bbox"]}
                    for number, record in enumerate(mine)
                ],
            },
            "camera": {
                str(number + 1): {
                    "R": camera.rotation.tolist(), "t": camera.shift.tolist(),
                    "f": camera.f.tolist(), "c": camera.c.tolist(),
                }
                for number, camera in enumerate(cameras(config.seed, subject, config.size, config.level))
            },
            "joint_3d": tree,
        }  # fmt: skip
        for kind, value in content.items():
            write_atomic(folder / "annotations" / f"Human36M_subject{subject}_{kind}.json", json.dumps(value))


def landmark_file(folder: Path, split: str) -> Path:
    """Return the file of the landmarks of BlazePose: (frames, 33, 3) float32, camera mm, by the number of the frame."""
    return folder / "annotations" / f"{BLAZEPOSE33.name}_{split}.npy"


def _write_landmarks(folder: Path, splits: tuple[str, ...], records: list[dict[str, Any]]) -> None:
    for split in splits:
        buffer = BytesIO()
        np.save(buffer, np.stack([record["landmarks"] for record in records if record["split"] == split]))
        write_atomic(landmark_file(folder, split), buffer.getvalue())


def load(folder: Path, split: str, val_frames: int | None = None, skeleton: str = "") -> Dataset:
    """Read all frames of a split of a rendered set with the Human3.6M reader.

    val_frames: of the validation part to read, if several were rendered; by default the largest
    skeleton: blazepose33 for the landmarks of BlazePose; else the 18 joints of the reader

    Raises:
        SplitNotFound: the set has no validation part.
        InputError: an unfinished or damaged set, or one without landmarks.
    """
    part, folder = split, Path(folder)
    if split == "validation":
        part, folder = "test", _validation_part(folder, val_frames)
    finished = folder / "dataset.json"
    if not finished.is_file():
        raise InputError(f"{finished}: missing, the set is not finished; render it again")
    try:
        made_with = {key: str(value) for key, value in load_written(finished)["config"].items()}
        level = made_with["level"]
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{finished}: config: missing or damaged; render the set again") from None
    kinds = re.sub(r":\w+", "", made_with["poses"]) if "poses" in made_with else ""
    name = "-".join(filter(None, ("synthetic", level, kinds)))
    options = Human36MOptions(
        train_subjects=TRAIN_SUBJECTS, test_subjects=SPLITS["test" if part == split else split], train_step=1,
        test_step=1,
    )  # fmt: skip
    data = replace(human36m.load(folder, part, options, name=name), split=split)
    return _with_landmarks(data, folder, split) if skeleton == BLAZEPOSE33.name else data


def _with_landmarks(data: Dataset, folder: Path, split: str) -> Dataset:
    """Return the frames with the landmarks of BlazePose in place of the joints."""
    path = landmark_file(folder, split)
    if not path.is_file():
        raise InputError(f"{path}: missing; render the set again with --dataset.skeleton {BLAZEPOSE33.name}")
    try:
        cam = np.load(path).astype(np.float64)[data.frame]
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path}: damaged ({error}); delete the file to write it again") from error
    reference = BLAZEPOSE33.reference_depth(cam)
    px = project(cam, data.f[:, None], data.c[:, None])
    return replace(
        data,
        skeleton=BLAZEPOSE33,
        hash=content_hash({"joints": data.hash, "skeleton": BLAZEPOSE33.name}),
        joints_img=np.concatenate([px, cam[..., 2:] - reference[:, None, None]], -1),
        joints_cam=cam,
        vis=np.ones(cam.shape[:2], np.float32),
        root_depth=reference,
    )


def _validation_part(folder: Path, val_frames: int | None) -> Path:
    """Return the folder of a finished validation part of a set."""
    counts = {int(path.parent.name.removeprefix(VALIDATION)) for path in folder.glob(f"{VALIDATION}*/dataset.json")}
    if not counts:
        raise SplitNotFound(f"{folder}: has no validation part; render the set again")
    return folder / f"{VALIDATION}{val_frames if val_frames in counts else max(counts)}"
