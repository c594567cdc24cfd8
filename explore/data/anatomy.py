"""What no body can be: bones too long or unlike each other, shoulders against hips, a set with its sides swapped."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from explore.data.skeleton import Skeleton

# (from, to) without their sides: lengths mm that the middle of a data set may have
LIMBS = {
    ("Hip", "Knee"): (250.0, 650.0),
    ("Knee", "Ankle"): (200.0, 700.0),
    ("Shoulder", "Elbow"): (150.0, 500.0),
    ("Elbow", "Wrist"): (120.0, 450.0),
}
UNLIKE = 0.25  # of their mean, between the median lengths of left and right
OUTLIER = 1.6  # times longer or shorter than the median of its group
BENT = 40.0  # mm that a knee lies off the line from hip to ankle, to tell where the front is
TWISTED = -0.5  # cosine between shoulders and hips
VOTES = 5  # at least, to judge the sides of a whole set
AGREE = 0.3  # share of votes below which the sides are swapped

Problem = tuple[str, str]


def problems_3d(skeleton: Skeleton, cam: np.ndarray, where: Sequence[str], group: str) -> Iterator[Problem]:
    """(kind, line) of what is wrong with joints (N, J, 3) mm, NaN where unknown.

    where: what a line calls each person; group: what it calls all of them.
    """
    yield from _bones(skeleton, cam, where, group)
    yield from _twists(skeleton, cam, where)
    forward, votes = knee_votes(skeleton, cam)
    if votes >= VOTES and forward < AGREE * votes:
        yield "sides", _swapped(group, f"{votes - forward} of {votes} bent knees bend backwards")


def problems_2d(skeleton: Skeleton, px: np.ndarray, vis: np.ndarray, group: str) -> Iterator[Problem]:
    """(kind, line) of what is wrong with joints (N, J, 2) px."""
    right_first, votes = face_votes(skeleton, px, vis)
    if votes >= VOTES and right_first < AGREE * votes:
        said = f"{votes - right_first} of {votes} people who show their face have their right shoulder on the right"
        yield "sides", _swapped(group, said)


def _swapped(group: str, why: str) -> str:
    return f"{group}: left and right are swapped: {why}; exchange the joints' names, or the pictures are mirrored"


def lengths(skeleton: Skeleton, cam: np.ndarray, start: str, end: str) -> np.ndarray | None:
    """(N,) mm between two joints, NaN where unknown; None where the skeleton has not both."""
    if start not in skeleton.names or end not in skeleton.names:
        return None
    return np.linalg.norm(cam[:, skeleton.index(start)] - cam[:, skeleton.index(end)], axis=-1)


def _bones(skeleton: Skeleton, cam: np.ndarray, where: Sequence[str], group: str) -> Iterator[Problem]:
    for (start, end), (low, high) in LIMBS.items():
        pair = [lengths(skeleton, cam, f"{side}_{start}", f"{side}_{end}") for side in "RL"]
        found = [side for side in pair if side is not None and np.isfinite(side).any()]
        if not found:
            continue
        middle = [float(np.nanmedian(side)) for side in found]
        bone = f"{start.lower()} to {end.lower()}"
        if not all(low < value < high for value in middle):
            said = f"{bone} is {min(middle):.3g} long in the middle of the set, not {low:.0f} to {high:.0f} mm"
            yield "bones", f"{group}: {said}; convert the joints to mm"
            continue
        if len(middle) == 2 and abs(middle[0] - middle[1]) > UNLIKE * np.mean(middle):
            said = f"{bone} is {middle[0]:.0f} mm on the right, {middle[1]:.0f} on the left"
            yield "bones", f"{group}: {said}; check the order of the joints"
        for side, median in zip(found, middle, strict=True):
            ratio = np.nan_to_num(side / median, nan=1.0)
            for index in np.nonzero((ratio > OUTLIER) | (ratio < 1 / OUTLIER))[0].tolist():
                yield (
                    "bones",
                    f"{where[index]}: {bone} is {side[index]:.0f} mm, in the set {median:.0f}; check the frame",
                )


def _twists(skeleton: Skeleton, cam: np.ndarray, where: Sequence[str]) -> Iterator[Problem]:
    """People whose shoulders point against their hips: one of the two is swapped."""
    names = ("R_Shoulder", "L_Shoulder", "R_Hip", "L_Hip")
    if any(name not in skeleton.names for name in names):
        return
    joints = [cam[:, skeleton.index(name)] for name in names]
    shoulders, hips = joints[0] - joints[1], joints[2] - joints[3]
    span = np.linalg.norm(shoulders, axis=1) * np.linalg.norm(hips, axis=1)
    cosine = np.nan_to_num((shoulders * hips).sum(1) / np.where(span > 0, span, np.nan))
    for index in np.nonzero(cosine < TWISTED)[0].tolist():
        yield "sides", f"{where[index]}: shoulders point against the hips; left and right of one of them are swapped"


def knee_votes(skeleton: Skeleton, cam: np.ndarray) -> tuple[int, int]:
    """(knees that bend forwards, bent knees). Forwards is seen from the hips' left and right and the trunk."""
    top = next((name for name in ("Neck", "Thorax") if name in skeleton.names), None)
    if top is None or any(name not in skeleton.names for name in ("Pelvis", "R_Hip", "L_Hip")):
        return 0, 0
    at = {name: cam[:, index] for index, name in enumerate(skeleton.names)}
    forward = np.cross(at[top] - at["Pelvis"], at["R_Hip"] - at["L_Hip"])
    size = np.linalg.norm(forward, axis=1, keepdims=True)
    forward = forward / np.where(size > 0, size, np.nan)
    votes = [0, 0]
    for side in "RL":
        if f"{side}_Knee" not in at or f"{side}_Ankle" not in at:
            continue
        hip, knee, ankle = (at[f"{side}_{joint}"] for joint in ("Hip", "Knee", "Ankle"))
        bend = ((knee - (hip + ankle) / 2) * forward).sum(1)
        votes[0] += int((bend > BENT).sum())
        votes[1] += int((np.abs(bend) > BENT).sum())
    return votes[0], votes[1]


def face_votes(skeleton: Skeleton, px: np.ndarray, vis: np.ndarray) -> tuple[int, int]:
    """(right shoulder on the picture's left, people who show nose, both eyes and both shoulders)."""
    names = ("Nose", "L_Eye", "R_Eye", "L_Shoulder", "R_Shoulder")
    if any(name not in skeleton.names for name in names):
        return 0, 0
    index = [skeleton.index(name) for name in names]
    seen = (vis[:, index] > 0).all(1)
    return int((seen & (px[:, index[4], 0] < px[:, index[3], 0])).sum()), int(seen.sum())


def bone_table(skeleton: Skeleton, cam: np.ndarray) -> dict[str, float]:
    """Median length in mm of every bone, by the name of its child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # bones that nobody has
        found = {
            skeleton.names[child]: float(np.nanmedian(np.linalg.norm(cam[:, parent] - cam[:, child], axis=-1)))
            for parent, child in skeleton.edges
        }
    return {name: round(value, 1) for name, value in found.items() if np.isfinite(value)}
