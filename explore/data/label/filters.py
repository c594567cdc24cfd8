"""From the journal of a labelled set to annotated people: joint map, camera coordinates, weights and filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from explore.data.crop import project
from explore.data.label.annotations import Labelled
from explore.data.label.config import LabelFilters
from explore.data.label.journal import PersonRecord, ShotRecord
from explore.data.label.labels_2d import LabelledPeople2D, label_error
from explore.data.label.mapping import JointMap
from explore.data.skeleton import Skeleton, with_standard_names
from explore.data.skeleton_checks import BONE_LENGTHS, are_twisted, limb_lengths

MIN_DEPTH_MM = 200.0  # least distance of a joint from the camera
MARGIN = 0.08  # around the joints of a person without a mask, as a fraction of their extent
MASK_MARGIN = 0.2  # largest distance of a mask's bounds from the joints; masks may contain other people
TEACHER_DEPTH_MM = 90.0  # depth error of the teacher on people with exact joints
MIN_VIS = 0.05  # weight below which a joint counts as not annotated
OUTSIDE_PX = 0.01  # distance outside the image, as a fraction of the longer side, that counts as inside
SAME_PERSON = 0.1  # mean distance of two poses in one image, relative to their extent, that makes them one person
REASONS = {
    "presence": "the teacher's probability of a person is too low",
    "size": "too few px",
    "outside": "too many joints outside the image, or the root",
    "visibility": "limbs hidden",
    "flip": "image and mirror image disagree",
    "near": "a joint behind the camera, or less than 200 mm in front of it",
    "labels-2d": "disagrees with the 2D labels",
    "duplicate": "the same person found twice",
    "alone": "a single camera shows the person",
    "views": "fewer than two views agree on too many joints, or on the root",
    "bones": "bone lengths differ from the rest of the set, or shoulders point against hips",
}


@dataclass(frozen=True, eq=False)
class Filtered:
    """A person with the reason for leaving it out, a key of REASONS; empty if the person is kept."""

    person: Labelled
    reason: str


def apply_filters(
    shots: Iterable[ShotRecord],
    joints: JointMap,
    filters: LabelFilters,
    labels_2d: Mapping[str, Sequence[LabelledPeople2D]],
) -> list[Filtered]:
    """Return all people of the journal.

    labels_2d: people with 2D labels by the name of their photo; people in other photos are not compared
    """
    found: list[Filtered] = []
    for shot in shots:
        own: list[Filtered] = []
        for record in sorted(shot.people, key=lambda person: -person.presence):
            person = annotate(shot, record, joints)
            reason = _reason(shot, record, person, joints, filters, labels_2d)
            if not reason and any(not other.reason and _same(person, other.person) for other in own):
                reason = "duplicate"
            own.append(Filtered(person, reason))
        found += own
    return without_odd_bones(found, joints.skeleton, filters.max_bone_ratio)


def counts(filtered: Sequence[Filtered]) -> dict[str, int]:
    """Return the number of people left out by each filter, in the order of REASONS."""
    found = Counter(one.reason for one in filtered)
    return {reason: found[reason] for reason in REASONS if found[reason]}


def annotate(shot: ShotRecord, record: PersonRecord, joints: JointMap) -> Labelled:
    """Return a person in camera coordinates.

    Joints keep the teacher's px and depths. The distance from the camera is the one at which the teacher's joints in mm
    project to its px with the least squared error. A joint outside the image has the weight 0.
    """
    table, skeleton = record.table, joints.skeleton
    px = joints.image @ table[:, :2]
    world = joints.world @ table[:, 3:6]
    vis = np.clip(joints.visibility @ table[:, 6], 0, 1)
    size, f, c = (shot.width, shot.height), np.full(2, shot.focal), np.array([shot.width, shot.height]) / 2
    slack = OUTSIDE_PX * max(size)
    inside = ((px >= -slack) & (px <= np.array(size) + slack)).all(1)
    vis = np.where(inside & (vis >= MIN_VIS), vis, 0.0)
    for joint in {skeleton.root, *skeleton.depth_joints}:  # without them, the person would have no depth
        if inside[joint]:
            vis[joint] = max(vis[joint], MIN_VIS)
    depth = world[:, 2] + translation(world, px, f, c)[2]
    cam = np.concatenate([(px - c) / f * depth[:, None], depth[:, None]], 1)
    error_mm = float(np.hypot(TEACHER_DEPTH_MM, _flip(record, joints)[1]))
    bbox = _box(px[inside] if inside.any() else px, record.mask_box)
    return Labelled(
        shot.image, size, f, c, bbox, cam, vis,
        depth_weight=TEACHER_DEPTH_MM / (TEACHER_DEPTH_MM + error_mm), unit=shot.unit, mask=record.mask,
    )  # fmt: skip


def translation(world: np.ndarray, px: np.ndarray, f: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return the translation (3,) mm at which joints (J, 3) mm project to px (J, 2), by linear least squares.

    Each joint gives two equations in the translation t: f (x + t_x) = (px_x - c_x) (z + t_z), and the same for y.
    """
    ray = (px - c) / f
    count = len(px)
    left = np.zeros((2 * count, 3))
    left[:count, 0], left[count:, 1] = 1, 1
    left[:, 2] = -ray.T.ravel()
    right = (ray * world[:, 2:] - world[:, :2]).T.ravel()
    found: np.ndarray = np.linalg.lstsq(left, right, rcond=None)[0]
    return found


def without_odd_bones(found: Sequence[Filtered], skeleton: Skeleton, max_ratio: float) -> list[Filtered]:
    """Leave out kept people with a bone that is far from its median, or with shoulders against their hips.

    Joints without coordinates (NaN) are ignored.
    """
    kept = [index for index, one in enumerate(found) if not one.reason]
    skeleton = with_standard_names(skeleton)
    cam = np.array([found[index].person.cam for index in kept]).reshape(-1, len(skeleton), 3)
    odd = are_twisted(skeleton, cam)
    for start, end in BONE_LENGTHS:
        for side in "RL":
            length = limb_lengths(skeleton, cam, f"{side}_{start}", f"{side}_{end}")
            if length is not None and np.isfinite(length).any():
                ratio = length / np.nanmedian(length)
                odd |= (ratio > max_ratio) | (ratio < 1 / max_ratio)
    left_out = {kept[place] for place in np.flatnonzero(odd).tolist()}
    return [replace(one, reason="bones") if index in left_out else one for index, one in enumerate(found)]


def _reason(
    shot: ShotRecord,
    record: PersonRecord,
    person: Labelled,
    joints: JointMap,
    filters: LabelFilters,
    labels_2d: Mapping[str, Sequence[LabelledPeople2D]],
) -> str:
    """Return why a person is left out, by the filters that need no other person; see REASONS."""
    table, needed = record.table, [joints.skeleton.root, *joints.skeleton.depth_joints]
    px = projected(person)
    extent = max(float(np.ptp(px, axis=0).max()), 1.0)
    names = with_standard_names(joints.skeleton).names
    limbs = [names.index(f"{side}_{part}") for pair in BONE_LENGTHS for part in pair for side in "RL"
             if f"{side}_{part}" in names]  # fmt: skip
    inside = ((px >= 0) & (px <= person.size)).all(1)
    teacher_vis = np.clip(joints.visibility @ table[:, 6], 0, 1)
    if record.presence < filters.min_presence:
        return "presence"
    if extent < filters.min_size:
        return "size"
    if inside.mean() < filters.min_inside or not person.vis[needed].all():
        return "outside"
    if limbs and teacher_vis[sorted(set(limbs))].mean() < filters.min_visibility:
        return "visibility"
    flip_px, flip_mm = _flip(record, joints)
    if flip_px > filters.max_flip * extent or flip_mm > filters.max_flip_mm:
        return "flip"
    if person.cam[:, 2].min() < MIN_DEPTH_MM:
        return "near"
    error = label_error(px / shot.scale, joints.skeleton, labels_2d.get(shot.source, ()))
    return "labels-2d" if error is not None and error > filters.max_label_error else ""


def _flip(record: PersonRecord, joints: JointMap) -> tuple[float, float]:
    """Return the mean distance of the joints between image and mirror image in px and in mm."""
    px, mm = (joints.visibility @ record.table[:, 7:9]).mean(0).tolist()
    return px, mm


def projected(person: Labelled) -> np.ndarray:
    """Return the joints of a person in px (J, 2)."""
    depth = person.cam[:, 2:]
    return project(np.concatenate([person.cam[:, :2], np.where(depth == 0, 1e-9, depth)], 1), person.f, person.c)


def _same(one: Labelled, other: Labelled) -> bool:
    a, b = projected(one), projected(other)
    extent = max(float(np.ptp(a, axis=0).max()), float(np.ptp(b, axis=0).max()), 1.0)
    return float(np.linalg.norm(a - b, axis=1).mean()) < SAME_PERSON * extent


def _box(px: np.ndarray, mask_box: tuple[float, float, float, float] | None) -> np.ndarray:
    """Return the box x, y, w, h px of joints (N, 2) px inside the image, extended to the bounds of the mask."""
    low, high = px.min(0), px.max(0)
    extent = max(float((high - low).max()), 1.0)
    if mask_box is None:
        low, high = low - MARGIN * extent, high + MARGIN * extent
    else:
        start = np.array(mask_box[:2])
        low = np.maximum(np.minimum(low, start), low - MASK_MARGIN * extent)
        high = np.minimum(np.maximum(high, start + mask_box[2:]), high + MASK_MARGIN * extent)
    return np.concatenate([low, high - low])
