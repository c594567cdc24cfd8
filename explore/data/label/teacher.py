"""Teachers: pose networks that label images, behind a Protocol with a registry.

This package imports nothing of `explore.predict`, which imports `explore.data`. People are found by
`explore.predict.people`, which yields `Shot`s; commands bring the two together.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from arch.errors import InputError, not_one_of
from explore.data.framing import Region
from explore.data.label.config import TEACHERS
from explore.data.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class TeacherPose:
    """The pose of one person with the K joints of the teacher's skeleton.

    image:      (K, 3) x, y in px of the full image, and the depth behind the hips in the same scale
    world:      (K, 3) mm relative to the centre of the hips; x right, y down, z away from the camera, unrotated
    visibility: (K,) probability that the joint is in the image and not occluded
    presence:   probability that the region shows a person
    mask:       (H, W) uint8, 255 where the full image shows the person, or None
    """

    image: np.ndarray
    world: np.ndarray
    visibility: np.ndarray
    presence: float
    mask: np.ndarray | None = None


class Teacher(Protocol):
    """A pose network that labels one person. fingerprint: hash of its weights."""

    name: str
    fingerprint: str
    skeleton: Skeleton

    def label(self, image: np.ndarray, roi: Region) -> TeacherPose:
        """Return the pose of the person in a region of an image (H, W, 3) RGB uint8."""
        ...


def open_teacher(name: str) -> Teacher:
    """Return the teacher `blazepose-lite`, `blazepose-full`, `blazepose-heavy` or `bundle:PATH`.

    Raises:
        InputError: an unknown name, or a model file that is missing or not the expected one.
    """
    kind, _, place = name.partition(":")
    if kind not in TEACHERS or (kind == "bundle") != bool(place):
        known = [key + (":PATH" if key == "bundle" else "") for key in TEACHERS]
        raise InputError(f"--teacher {not_one_of(name, known)}")
    return cast(Teacher, importlib.import_module(TEACHERS[kind]).load(kind, place))


@dataclass(frozen=True, eq=False)
class Label:
    """A pose averaged over an image and its mirror image.

    flip_px, flip_mm: (K,) distance between the two poses in px of the image, and in mm of `world`
    """

    pose: TeacherPose
    flip_px: np.ndarray
    flip_mm: np.ndarray


def label_person(teacher: Teacher, image: np.ndarray, roi: Region) -> Label:
    """Return the mean of the poses in an image (H, W, 3) RGB uint8 and in its mirror image.

    The person is labelled once if the teacher's skeleton has joints without a counterpart on the other side.
    """
    pose = teacher.label(image, roi)
    if not teacher.skeleton.flippable:
        nothing = np.zeros(len(teacher.skeleton))
        return Label(pose, nothing, nothing)
    width, order = image.shape[1], teacher.skeleton.flip_order
    other = teacher.label(np.ascontiguousarray(image[:, ::-1]), roi.mirrored(width))
    mirrored = other.image[order] * [-1, 1, 1] + [width, 0, 0]
    world = other.world[order] * [-1, 1, 1]
    mask = None
    if pose.mask is not None and other.mask is not None:
        mask = np.ascontiguousarray((pose.mask >> 1) + (other.mask[:, ::-1] >> 1))
    mean = TeacherPose(
        (pose.image + mirrored) / 2,
        (pose.world + world) / 2,
        (pose.visibility + other.visibility[order]) / 2,
        min(pose.presence, other.presence),
        mask,
    )
    flip_px = np.linalg.norm(pose.image[:, :2] - mirrored[:, :2], axis=1)
    return Label(mean, flip_px, np.linalg.norm(pose.world - world, axis=1))
