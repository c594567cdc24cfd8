"""Anatomical plausibility of joints: bone lengths, left-right symmetry, and exchanged left and right sides."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from explore.data.skeleton import Skeleton, with_standard_names

# (start, end) without their sides: plausible range of the median length over a data set, mm
BONE_LENGTHS = {
    ("Hip", "Knee"): (250.0, 650.0),
    ("Knee", "Ankle"): (200.0, 700.0),
    ("Shoulder", "Elbow"): (150.0, 500.0),
    ("Elbow", "Wrist"): (120.0, 450.0),
}
MAX_ASYMMETRY = 0.25  # between the median lengths of left and right, as a fraction of their mean
OUTLIER = 1.6  # ratio of a length to the median of the set, or its inverse
BENT_MM = 40.0  # distance of a knee from the line between hip and ankle that makes its direction significant
TWISTED = -0.5  # cosine between shoulder line and hip line
MIN_VOTES = 5  # needed to decide whether a whole set has its sides exchanged
MIN_AGREEMENT = 0.3  # fraction of votes below which the sides are exchanged

Problem = tuple[str, str]


def problems_3d(skeleton: Skeleton, cam: np.ndarray, where: Sequence[str], group: str) -> Iterator[Problem]:
    """Yield (kind, line) for each problem of joints (N, J, 3) mm, NaN where unknown.

    where: name of each person in messages; group: name of the whole set
    """
    skeleton = with_standard_names(skeleton)
    yield from _bones(skeleton, cam, where, group)
    yield from _twists(skeleton, cam, where)
    forward, votes = knee_votes(skeleton, cam)
    if votes >= MIN_VOTES and forward < MIN_AGREEMENT * votes:
        yield "sides", _swapped(group, f"{votes - forward} of {votes} bent knees bend backwards")


def problems_2d(skeleton: Skeleton, px: np.ndarray, vis: np.ndarray, group: str) -> Iterator[Problem]:
    """Yield (kind, line) for each problem of joints (N, J, 2) px."""
    skeleton = with_standard_names(skeleton)
    right_first, votes = face_votes(skeleton, px, vis)
    if votes >= MIN_VOTES and right_first < MIN_AGREEMENT * votes:
        reason = f"{votes - right_first} of {votes} people facing the camera have their right shoulder on the right"
        yield "sides", _swapped(group, reason)


def _swapped(group: str, reason: str) -> str:
    return f"{group}: left and right are swapped: {reason}; exchange the joint names, or flip the images back"


def limb_lengths(skeleton: Skeleton, cam: np.ndarray, start: str, end: str) -> np.ndarray | None:
    """Return the distances (N,) mm between two joints, NaN where unknown; None if the skeleton lacks one."""
    if start not in skeleton.names or end not in skeleton.names:
        return None
    return np.linalg.norm(cam[:, skeleton.index(start)] - cam[:, skeleton.index(end)], axis=-1)


def _bones(skeleton: Skeleton, cam: np.ndarray, where: Sequence[str], group: str) -> Iterator[Problem]:
    for (start, end), (low, high) in BONE_LENGTHS.items():
        pair = [limb_lengths(skeleton, cam, f"{side}_{start}", f"{side}_{end}") for side in "RL"]
        found = [side for side in pair if side is not None and np.isfinite(side).any()]
        if not found:
            continue
        medians = [float(np.nanmedian(side)) for side in found]
        bone = f"{start.lower()} to {end.lower()}"
        if not all(low < value < high for value in medians):
            problem = f"{bone} has a median length of {min(medians):.3g}, not {low:.0f} to {high:.0f} mm"
            yield "bones", f"{group}: {problem}; convert the joints to mm"
            continue
        if len(medians) == 2 and abs(medians[0] - medians[1]) > MAX_ASYMMETRY * np.mean(medians):
            problem = f"{bone} is {medians[0]:.0f} mm on the right, {medians[1]:.0f} on the left"
            yield "bones", f"{group}: {problem}; check the order of the joints"
        for side, median in zip(found, medians, strict=True):
            ratio = np.nan_to_num(side / median, nan=1.0)
            for index in np.nonzero((ratio > OUTLIER) | (ratio < 1 / OUTLIER))[0].tolist():
                yield (
                    "bones",
                    f"{where[index]}: {bone} is {side[index]:.0f} mm, the median of the set {median:.0f}; check the frame",
                )


def _twists(skeleton: Skeleton, cam: np.ndarray, where: Sequence[str]) -> Iterator[Problem]:
    for index in np.nonzero(are_twisted(skeleton, cam))[0].tolist():
        yield "sides", f"{where[index]}: shoulders point against the hips; left and right of one of them are swapped"


def are_twisted(skeleton: Skeleton, cam: np.ndarray) -> np.ndarray:
    """Return whether the shoulder line of each person (N,) opposes the hip line: sides of one of them are swapped."""
    names = ("R_Shoulder", "L_Shoulder", "R_Hip", "L_Hip")
    if any(name not in skeleton.names for name in names):
        return np.zeros(len(cam), bool)
    right, left, right_hip, left_hip = (cam[:, skeleton.index(name)] for name in names)
    shoulders, hips = right - left, right_hip - left_hip
    span = np.linalg.norm(shoulders, axis=1) * np.linalg.norm(hips, axis=1)
    return np.asarray((shoulders * hips).sum(1) < TWISTED * span)


def knee_votes(skeleton: Skeleton, cam: np.ndarray) -> tuple[int, int]:
    """Return (knees bent forwards, bent knees). The forward direction follows from the hips and the trunk."""
    at = {name: cam[:, index] for index, name in enumerate(skeleton.names)}
    for middle, part in (("Pelvis", "Hip"), ("Thorax", "Shoulder")):  # skeletons without joints on the midline
        if middle not in at and {f"R_{part}", f"L_{part}"} <= at.keys():
            at[middle] = (at[f"R_{part}"] + at[f"L_{part}"]) / 2
    top = next((name for name in ("Neck", "Thorax") if name in at), None)
    if top is None or not {"Pelvis", "R_Hip", "L_Hip"} <= at.keys():
        return 0, 0
    forward = np.cross(at[top] - at["Pelvis"], at["R_Hip"] - at["L_Hip"])
    size = np.linalg.norm(forward, axis=1, keepdims=True)
    forward = forward / np.where(size > 0, size, np.nan)
    votes = [0, 0]
    for side in "RL":
        if f"{side}_Knee" not in at or f"{side}_Ankle" not in at:
            continue
        hip, knee, ankle = (at[f"{side}_{joint}"] for joint in ("Hip", "Knee", "Ankle"))
        bend = ((knee - (hip + ankle) / 2) * forward).sum(1)
        votes[0] += int((bend > BENT_MM).sum())
        votes[1] += int((np.abs(bend) > BENT_MM).sum())
    return votes[0], votes[1]


def face_votes(skeleton: Skeleton, px: np.ndarray, vis: np.ndarray) -> tuple[int, int]:
    """Return (people with the right shoulder on the left of the image, people facing the camera)."""
    names = ("Nose", "L_Eye", "R_Eye", "L_Shoulder", "R_Shoulder")
    if any(name not in skeleton.names for name in names):
        return 0, 0
    index = [skeleton.index(name) for name in names]
    facing = (vis[:, index] > 0).all(1)
    return int((facing & (px[:, index[4], 0] < px[:, index[3], 0])).sum()), int(facing.sum())


def median_bone_lengths(skeleton: Skeleton, cam: np.ndarray) -> dict[str, float]:
    """Return the median length in mm of each bone, by the name of its child joint."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # bones without data
        found = {
            skeleton.names[child]: float(np.nanmedian(np.linalg.norm(cam[:, parent] - cam[:, child], axis=-1)))
            for parent, child in skeleton.edges
        }
    return {name: round(value, 1) for name, value in found.items() if np.isfinite(value)}
