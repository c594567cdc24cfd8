"""The embedded data set: rendered people with exact joints, on disk in the Human3.6M layout.

A subject stands for a group of bodies that no other subject shares; the action is the kind of pose. Every
subject has sixteen fixed cameras around it; people stand freely in the world so that a camera sees them well.
Every frame comes from a generator of its own, seeded by (seed, split, index): the same frame whatever the
number of workers and the order of work.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from arch.errors import InputError
from arch.files import content_hash, write_atomic
from explore.data import human36m
from explore.data.crop import jpeg_is_whole
from explore.data.human36m import Human36MOptions
from explore.data.sample import Dataset
from explore.data.synthetic.body import Body, load_body, skin
from explore.data.synthetic.motion import Motion, open_motion
from explore.data.synthetic.pose import (
    ARCHETYPES,
    bone_rotations,
    rotation_x,
    rotation_z,
    sample_pose,
)  # fmt: skip
from explore.data.synthetic.render import View, render
from explore.data.synthetic.retarget import rotations_from_joints, turned_to_front

VERSION = 1  # of the pictures: raise it when the same seed gives others
TRAIN_SUBJECTS, TEST_SUBJECTS = (1, 5, 6, 7, 8), (9, 11)
SPLITS = {"train": TRAIN_SUBJECTS, "test": TEST_SUBJECTS}
CAMERAS = 16
FIRST_ACTION = 2  # Human3.6M counts its actions from 2
STATURE = (1.45, 2.0)  # m

PROCEDURAL, CAPTURED = "procedural", "cmu:"
CAPTURED_ACTION = "motion"
_opened = lru_cache(maxsize=2)(open_motion)

# rows and columns: camera x, y, z from model x, y, z (right is left, down is minus up, forward is back)
_FACING = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


class SyntheticConfig(BaseModel):
    """What is rendered.

    level: easy (seen from the front, plain backgrounds) or full (from all around, clutter, things in the way)
    size:  side of the square frames, px
    poses: procedural, cmu:FOLDER of captured motion (explore.data.synthetic.motion), or procedural+cmu:FOLDER, where
           one or the other is drawn for each frame
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["easy", "full"] = "easy"
    seed: int = Field(default=0, ge=0)
    size: int = Field(default=128, ge=32, le=1024)
    train: int = Field(default=4000, ge=1)
    test: int = Field(default=400, ge=1)
    poses: str = Field(default=PROCEDURAL, pattern=rf"^({PROCEDURAL}|({PROCEDURAL}\+)?{CAPTURED}.+)$")

    @property
    def motion(self) -> Motion | None:
        """The captured motion that poses come from; None without. InputError: files that cannot be read."""
        _, captured, folder = self.poses.partition(CAPTURED)
        return _opened(Path(folder)) if captured else None

    @property
    def facts(self) -> dict[str, Any]:
        """What the pictures depend on: captured motion by its content, wherever it lies."""
        values = self.model_dump(exclude={"poses"})
        motion = self.motion
        if motion:
            values["poses"] = self.poses.partition(CAPTURED)[0] + CAPTURED + motion.hash
        return values

    @property
    def name(self) -> str:
        return f"synthetic-{self.level}-{content_hash({'version': VERSION, **self.facts})}"


def default_cache() -> Path:
    """Where rendered sets are kept: EDGEPOSE_CACHE, or ~/.cache/edgepose."""
    given = os.environ.get("EDGEPOSE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "edgepose"


def render_dataset(
    root: Path,
    config: SyntheticConfig,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render the set into its own folder under `root`, named by the configuration's hash; return that folder.

    A finished set is reused, an interrupted one goes on with the frames that are missing. Annotations are
    written last, whole; dataset.json after them says that the set is finished. progress(done, total) is called
    as frames come in. With more than one worker the caller's __main__ must be importable (spawned processes).
    """
    folder = Path(root) / config.name
    finished = folder / "dataset.json"
    total = config.train + config.test
    if finished.is_file():
        _check_same(finished, config)
        if progress:
            progress(total, total)
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); point EDGEPOSE_CACHE elsewhere") from error
    tasks = [(folder, config, split, index) for split in SPLITS for index in range(getattr(config, split))]
    records = []
    for record in _map(tasks, workers):
        records.append(record)
        if progress:
            progress(len(records), total)
    _write_annotations(folder, config, records)
    summary = {"version": VERSION, "config": config.facts, "frames": total, "name": config.name}
    write_atomic(finished, json.dumps(summary, indent=1))
    return folder


def _check_same(finished: Path, config: SyntheticConfig) -> None:
    try:
        made_with = json.loads(finished.read_text())["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{finished}: damaged ({error}); delete the folder, it is rendered again") from error
    if made_with != config.facts:
        raise InputError(f"{finished}: config is not the one asked for; delete the folder, it is rendered again")


# ---- work ----

Task = tuple[Path, SyntheticConfig, str, int]


def _map(tasks: list[Task], workers: int) -> Iterator[dict[str, Any]]:
    if workers <= 1:
        yield from map(_frame_on_disk, tasks)
        return
    with _single_threaded_children():
        context = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
        records = executor.map(_frame_on_disk, tasks, chunksize=8)
    try:
        yield from records
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends the work
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot end its workers; they notice and go."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Processes started inside do their linear algebra on one thread: the workers share the cores already."""
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
    """Render one frame unless it lies there already; return its annotation."""
    folder, config, split, index = task
    stage = set_stage(config, split, index)
    path = folder / "images" / stage.file
    if not (path.is_file() and jpeg_is_whole(path.read_bytes())):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(picture(config, split, index, stage))
        os.replace(temporary, path)
    return stage.record


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
def cameras(seed: int, subject: int, size: int) -> tuple[Camera, ...]:
    """The subject's cameras, evenly around the world's origin and all looking at a point above it."""
    rng = np.random.default_rng((seed, 2, subject))
    found = []
    for index in range(CAMERAS):
        azimuth = 2 * np.pi * index / CAMERAS
        pitch = np.deg2rad(np.clip(rng.normal(8, 10), -15, 40))
        rotation = rotation_z(np.deg2rad(rng.normal(0, 3))) @ rotation_x(pitch) @ _FACING @ rotation_z(azimuth)
        focal = size * rng.uniform(1.6, 2.4)
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
def bodies_of() -> dict[int, np.ndarray]:
    """Subject -> indices into the baked shapes. The same for every seed: a test body is never trained on."""
    body = load_body()
    statures = np.array([np.ptp(body.rest(shape)[0][:, 2]) for shape in body.shapes])
    usable = np.nonzero((statures > STATURE[0]) & (statures < STATURE[1]))[0]
    usable = np.random.default_rng(0).permutation(usable)
    subjects = TRAIN_SUBJECTS + TEST_SUBJECTS
    return {subject: np.sort(usable[place :: len(subjects)]) for place, subject in enumerate(subjects)}


@dataclass(frozen=True)
class Stage:
    """A person before a camera, ready to be rendered, with the annotation that belongs to it."""

    file: str
    record: dict[str, Any]
    rest: np.ndarray
    heads: np.ndarray
    transforms: np.ndarray
    view: View


def set_stage(config: SyntheticConfig, split: str, index: int) -> Stage:
    """Body, pose, camera and joints of one frame; no picture yet."""
    rng = _generator(config, split, index, "stage")
    body = load_body()
    subject = SPLITS[split][index % len(SPLITS[split])]
    shape = body.shapes[rng.choice(bodies_of()[subject])]
    rest, heads = body.rest(shape)
    kind, rotations = _pose(config, split, rng, body, heads)
    transforms, places = body.pose(heads, rotations)
    vertices = skin(transforms, rest)
    joints = body.joints(vertices, places)

    camera_index = int(rng.integers(CAMERAS))
    camera = cameras(config.seed, subject, config.size)[camera_index]
    facing = np.deg2rad(rng.normal(0, 40)) if config.level == "easy" else rng.uniform(0, 2 * np.pi)
    turn = rotation_z(facing - camera.azimuth)
    rotation = camera.rotation @ turn
    shift = _fit_into_frame(rng, vertices @ rotation.T, camera, config.size)
    view = View(rotation, shift / 1000, camera.f, camera.c)
    uv = view.project(view.place(vertices))
    low, high = np.clip(uv.min(0), 0, config.size), np.clip(uv.max(0), 0, config.size)

    world = 1000 * joints @ turn.T + camera.rotation.T @ (shift - camera.shift)
    action = FIRST_ACTION + [*ARCHETYPES, CAPTURED_ACTION].index(kind)
    clip = f"s_{subject:02d}_act_{action:02d}_subact_01_ca_{camera_index + 1:02d}"
    file = f"{clip}/{clip}_{index + 1:06d}.jpg"
    record = {
        "split": split,
        "subject": subject,
        "world": np.round(world, 3).tolist(),
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
    return Stage(file, record, rest, heads, transforms, view)


def _pose(
    config: SyntheticConfig, split: str, rng: np.random.Generator, body: Body, heads: np.ndarray
) -> tuple[str, dict[str, np.ndarray]]:
    """The action's name and the rotations of the body's bones."""
    motion = config.motion
    if motion and (config.poses.startswith(CAPTURED) or rng.random() < 0.5):
        return CAPTURED_ACTION, rotations_from_joints(body, heads, turned_to_front(motion.draw(rng, split)))
    pose = sample_pose(rng)
    return pose.kind, bone_rotations(body, heads, pose)


def _fit_into_frame(rng: np.random.Generator, points: np.ndarray, camera: Camera, size: int) -> np.ndarray:
    """Where the person must stand, mm in camera axes, to fill a drawn share of the frame about its middle."""
    points = 1000 * points[::7]
    wanted = size * rng.uniform(0.62, 0.9)
    middle = size / 2 + rng.normal(0, 0.03 * size, 2)
    centre = (points.min(0) + points.max(0)) / 2
    spot = np.array([0, 0, 4500.0])
    for _ in range(4):
        placed = points - centre + spot
        uv = placed[:, :2] / placed[:, 2:] * camera.f + camera.c
        low, high = uv.min(0), uv.max(0)
        spot[2] *= (high - low).max() / wanted
        spot[:2] += (middle - (low + high) / 2) * spot[2] / camera.f
    return spot - centre


def picture(config: SyntheticConfig, split: str, index: int, stage: Stage | None = None) -> bytes:
    """The frame as JPEG."""
    stage = stage or set_stage(config, split, index)
    rng = _generator(config, split, index, "look")
    image = render(
        rng, load_body(), stage.rest, stage.heads, stage.transforms, stage.view, config.size,
        easy=config.level == "easy",
    )  # fmt: skip
    quality = int(rng.integers(70, 95))
    _, data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    return data.tobytes()


def _generator(config: SyntheticConfig, split: str, index: int, purpose: str) -> np.random.Generator:
    key = (config.seed, list(SPLITS).index(split), index, ("stage", "look").index(purpose))
    return np.random.default_rng(key)


# ---- annotations ----


def _write_annotations(folder: Path, config: SyntheticConfig, records: list[dict[str, Any]]) -> None:
    for subject in TRAIN_SUBJECTS + TEST_SUBJECTS:
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
                for number, camera in enumerate(cameras(config.seed, subject, config.size))
            },
            "joint_3d": tree,
        }  # fmt: skip
        for kind, value in content.items():
            write_atomic(folder / "annotations" / f"Human36M_subject{subject}_{kind}.json", json.dumps(value))


def load(folder: Path, split: str) -> Dataset:
    """Read a rendered set back, every frame of it, through the Human3.6M reader."""
    finished = Path(folder) / "dataset.json"
    if not finished.is_file():
        raise InputError(f"{finished}: missing; the set is not finished, render it again")
    made_with = json.loads(finished.read_text())["config"]
    name = f"synthetic-{made_with['level']}" + ("-" + made_with["poses"].split(":")[0] if "poses" in made_with else "")
    options = Human36MOptions(train_subjects=TRAIN_SUBJECTS, test_subjects=TEST_SUBJECTS, train_step=1, test_step=1)
    return human36m.load(folder, split, options, name=name)
