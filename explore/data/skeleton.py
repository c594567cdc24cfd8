"""What the joints are called, how they hang together, and which ones mirror each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Skeleton:
    """Joints in the order of every array's joint axis.

    names:      joint names, unique
    parents:    index of each joint's parent, -1 for the root
    flip_pairs: (right, left) index pairs that change places in a mirrored picture
    root:       index of the joint that depths and 3D errors are relative to
    unscored:   joints that are predicted, yet left out of the metrics
    """

    name: str
    names: tuple[str, ...]
    parents: tuple[int, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    root: int = 0
    unscored: tuple[int, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.names)

    def index(self, joint: str) -> int:
        return self.names.index(joint)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) of every bone."""
        return tuple((parent, joint) for joint, parent in enumerate(self.parents) if parent >= 0)

    @property
    def scored(self) -> np.ndarray:
        """Indices of the joints that metrics count."""
        return np.array([joint for joint in range(len(self)) if joint not in self.unscored])

    @property
    def flip_order(self) -> np.ndarray:
        """`joints[flip_order]` gives the mirrored person's joints their names."""
        order = np.arange(len(self))
        for right, left in self.flip_pairs:
            order[right], order[left] = left, right
        return order


def mapping(source: Skeleton, target: Skeleton) -> np.ndarray:
    """Index into `source` of every joint of `target`, by name; -1 where `source` has none."""
    position = {name: index for index, name in enumerate(source.names)}
    return np.array([position.get(name, -1) for name in target.names])


def _skeleton(
    name: str, bones: Sequence[tuple[str, str | None]], root: str = "Pelvis", unscored: Sequence[str] = ()
) -> Skeleton:
    names = tuple(joint for joint, _ in bones)
    parents = tuple(-1 if parent is None else names.index(parent) for _, parent in bones)
    pairs = tuple((index, names.index("L" + joint[1:])) for index, joint in enumerate(names) if joint.startswith("R_"))
    return Skeleton(name, names, parents, pairs, names.index(root), tuple(names.index(n) for n in unscored))


_H36M_BONES = (
    ("Pelvis", None),
    ("R_Hip", "Pelvis"),
    ("R_Knee", "R_Hip"),
    ("R_Ankle", "R_Knee"),
    ("L_Hip", "Pelvis"),
    ("L_Knee", "L_Hip"),
    ("L_Ankle", "L_Knee"),
    ("Torso", "Pelvis"),
    ("Neck", "Torso"),
    ("Nose", "Neck"),
    ("Head", "Nose"),
    ("L_Shoulder", "Neck"),
    ("L_Elbow", "L_Shoulder"),
    ("L_Wrist", "L_Elbow"),
    ("R_Shoulder", "Neck"),
    ("R_Elbow", "R_Shoulder"),
    ("R_Wrist", "R_Elbow"),
)

H36M17 = _skeleton("h36m17", _H36M_BONES)
# Thorax, the shoulders' midpoint, is predicted for the sake of other data sets and never scored.
H36M18 = _skeleton("h36m18", (*_H36M_BONES, ("Thorax", "Torso")), unscored=("Thorax",))

MPII16 = _skeleton(
    "mpii16",
    (
        ("R_Ankle", "R_Knee"),
        ("R_Knee", "R_Hip"),
        ("R_Hip", "Pelvis"),
        ("L_Hip", "Pelvis"),
        ("L_Knee", "L_Hip"),
        ("L_Ankle", "L_Knee"),
        ("Pelvis", None),
        ("Thorax", "Pelvis"),
        ("Neck", "Thorax"),
        ("Head", "Neck"),
        ("R_Wrist", "R_Elbow"),
        ("R_Elbow", "R_Shoulder"),
        ("R_Shoulder", "Thorax"),
        ("L_Shoulder", "Thorax"),
        ("L_Elbow", "L_Shoulder"),
        ("L_Wrist", "L_Elbow"),
    ),
)

_COCO_FACE = (("Nose", None), ("L_Eye", "Nose"), ("R_Eye", "Nose"), ("L_Ear", "L_Eye"), ("R_Ear", "R_Eye"))
_COCO_LIMBS = (
    ("L_Elbow", "L_Shoulder"),
    ("R_Elbow", "R_Shoulder"),
    ("L_Wrist", "L_Elbow"),
    ("R_Wrist", "R_Elbow"),
)
_COCO_LEGS = (("L_Knee", "L_Hip"), ("R_Knee", "R_Hip"), ("L_Ankle", "L_Knee"), ("R_Ankle", "R_Knee"))

# COCO annotates no middle of the body: the nose stands in as the root of its 17 keypoints.
COCO17 = _skeleton(
    "coco17",
    (
        *_COCO_FACE,
        ("L_Shoulder", "Nose"),
        ("R_Shoulder", "Nose"),
        *_COCO_LIMBS,
        ("L_Hip", "L_Shoulder"),
        ("R_Hip", "R_Shoulder"),
        *_COCO_LEGS,
    ),
    root="Nose",
)
# With the midpoints of shoulders and hips, as the reference training code has them.
COCO19 = _skeleton(
    "coco19",
    (
        ("Nose", "Thorax"),
        *_COCO_FACE[1:],
        ("L_Shoulder", "Thorax"),
        ("R_Shoulder", "Thorax"),
        *_COCO_LIMBS,
        ("L_Hip", "Pelvis"),
        ("R_Hip", "Pelvis"),
        *_COCO_LEGS,
        ("Thorax", "Pelvis"),
        ("Pelvis", None),
    ),
)

# The 17 joints of MuPoTS-3D with the parents of its evaluation, then hands and toes, which only the training sets
# MuCo-3DHP and MPI-INF-3DHP annotate and which nothing scores.
MUCO21 = _skeleton(
    "muco21",
    (
        ("Head_top", "Thorax"),
        ("Thorax", "Spine"),
        ("R_Shoulder", "Thorax"),
        ("R_Elbow", "R_Shoulder"),
        ("R_Wrist", "R_Elbow"),
        ("L_Shoulder", "Thorax"),
        ("L_Elbow", "L_Shoulder"),
        ("L_Wrist", "L_Elbow"),
        ("R_Hip", "Pelvis"),
        ("R_Knee", "R_Hip"),
        ("R_Ankle", "R_Knee"),
        ("L_Hip", "Pelvis"),
        ("L_Knee", "L_Hip"),
        ("L_Ankle", "L_Knee"),
        ("Pelvis", None),
        ("Spine", "Pelvis"),
        ("Head", "Thorax"),
        ("R_Hand", "R_Wrist"),
        ("L_Hand", "L_Wrist"),
        ("R_Toe", "R_Ankle"),
        ("L_Toe", "L_Ankle"),
    ),
    unscored=("R_Hand", "L_Hand", "R_Toe", "L_Toe"),
)


def made_of(name: str, names: Sequence[str], edges: Sequence[tuple[int, int]], root: str) -> Skeleton:
    """A skeleton from joint names and bones in any direction (index pairs), hung up at `root`.

    ValueError says what is wrong: names that repeat, an unknown root, bones that name no joint or close a ring.
    """
    if len(set(names)) != len(names):
        raise ValueError("joint names repeat")
    if root not in names:
        raise ValueError(f"root {root!r} is not among the joints")
    parents: dict[int, int] = {names.index(root): -1}
    left = {tuple(sorted(edge)) for edge in edges}
    if any(not 0 <= joint < len(names) for edge in left for joint in edge):
        raise ValueError(f"bones name joints that are not among the {len(names)}")
    grown = True
    while grown:
        grown = False
        for a, b in sorted(left):
            if (a in parents) != (b in parents):
                parent, child = (a, b) if a in parents else (b, a)
                parents[child] = parent
                left.remove((a, b))
                grown = True
                break
    if left:
        raise ValueError("bones close a ring or do not hang together")
    pairs = tuple(
        (index, names.index("L_" + joint[2:]))
        for index, joint in enumerate(names)
        if joint.startswith("R_") and "L_" + joint[2:] in names
    )
    return Skeleton(
        name, tuple(names), tuple(parents.get(joint, -1) for joint in range(len(names))), pairs, names.index(root)
    )
