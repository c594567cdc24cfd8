"""One rendered frame: body, pose, camera, annotation and image.

A subject is a group of body shapes that no other subject shares; the action is the kind of pose. Each subject has
sixteen fixed cameras around it, and people are placed in the world such that one camera frames them well. Each frame
has its own random generator, seeded by (seed, split, index), so that it does not depend on the number of workers or
the order of work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from arch.decode import BOX_PADDING
from explore.data.config import PROCEDURAL
from explore.data.framing import region_of_joints, roi_of
from explore.data.skeleton import H36M17
from explore.data.synthetic.body import Body, load_body, skin
from explore.data.synthetic.config import SPLITS, TEST_SUBJECTS, TRAIN_SUBJECTS, VALIDATION_SUBJECTS, SyntheticConfig
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
from explore.data.synthetic.retarget import face_front, rotations_from_joints

CAMERAS = 16
FIRST_ACTION = 2  # Human3.6M counts its actions from 2
STATURE = (1.45, 2.0)  # m
FILL = {"easy": (0.62, 0.9), "full": (0.48, 0.8)}  # fraction of the frame that the person fills
BYSTANDER_P = 0.2  # probability of a second person at the level full
BYSTANDERS = 10**8  # the second person of a frame is that of the frame with this number added
CAPTURED_ACTION = "motion"

# rows and columns: camera x, y, z from model x, y, z (right is left, down is minus up, forward is back)
_FACING = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


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
