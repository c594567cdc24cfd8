"""Skeletons: joint names, parents and left-right pairs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from arch.errors import did_you_mean


@dataclass(frozen=True)
class Skeleton:
    """Joints, in the order of the joint axis of all arrays.

    names:      joint names, unique
    parents:    index of each joint's parent, -1 for the root
    flip_pairs: (right, left) index pairs that are exchanged in a flipped image
    root:       index of the joint that 3D errors are relative to
    hips:       depths are relative to the mean of these joints; empty: the root. Only for skeletons without a pelvis,
                because depths that are relative to the head exceed the depth range of the heads
    unscored:   joints that are predicted but excluded from the metrics
    unpaired:   names of joints that may belong to a side but have no counterpart; such a skeleton is never flipped
    """

    name: str
    names: tuple[str, ...]
    parents: tuple[int, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    root: int = 0
    unscored: tuple[int, ...] = field(default=())
    unpaired: tuple[str, ...] = field(default=())
    hips: tuple[int, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.names)

    def index(self, joint: str) -> int:
        return self.names.index(joint)

    @property
    def depth_joints(self) -> tuple[int, ...]:
        """Indices of the joints whose mean depth the depths are relative to."""
        return self.hips or (self.root,)

    def reference_depth(self, cam: np.ndarray) -> np.ndarray:
        """Return the depth (N,), mm, that depths are relative to, of camera coordinates (N, J, 3); NaN if unknown."""
        depth: np.ndarray = cam[:, self.depth_joints, 2].mean(1)
        return depth

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) of every bone."""
        return tuple((parent, joint) for joint, parent in enumerate(self.parents) if parent >= 0)

    @property
    def scored(self) -> np.ndarray:
        """Indices of the joints that the metrics include."""
        return np.array([joint for joint in range(len(self)) if joint not in self.unscored])

    @property
    def flippable(self) -> bool:
        """Whether images may be flipped: each joint has a counterpart on the other side or lies on the midline."""
        return not self.unpaired

    @property
    def flip_order(self) -> np.ndarray:
        """Index order that exchanges left and right: `joints[flip_order]` are the joints of the flipped person.

        Valid for a `flippable` skeleton only.
        """
        order = np.arange(len(self))
        for right, left in self.flip_pairs:
            order[right], order[left] = left, right
        return order


def mapping(source: Skeleton, target: Skeleton) -> np.ndarray:
    """Return the index into `source` of each joint of `target`, by side and part; -1 if `source` lacks it."""
    position = {key: index for index, key in reversed(list(enumerate(joint_keys(source.names))))}
    return np.array([position.get(key, -1) for key in joint_keys(target.names)])


def with_standard_names(skeleton: Skeleton) -> Skeleton:
    """Return the skeleton with names such as R_Hip, L_Knee, Neck, however its own are spelled."""
    keys = joint_keys(skeleton.names)
    return replace(skeleton, names=tuple("_".join(filter(None, (side, part.capitalize()))) for side, part in keys))


# ---- sides of joint names ----

JointKey = tuple[str, str]  # side (R, L or empty) and part in small letters without separators

_SIDES = {"r": "R", "rt": "R", "right": "R", "l": "L", "lt": "L", "left": "L"}
_MIDLINE = re.compile(
    "pelvis|root|torso|trunk|spine|thora|chest|neck|nose|head|skull|chin|jaw|mouth|throat|stern|clavicles|shoulders"
    "|belly|stomach|abdomen|waist|back|tail|sacrum|^mid(dle)?(?!finger|foot|toe)|mid$|cent(er|re)"
    "|hips?$|[ctls][0-9]{1,2}$"
)


def joint_keys(names: Sequence[str]) -> list[JointKey]:
    """Return side and part of each joint name.

    The side is a word at any place (R_Hip, r-hip, Hip.R, hip_right, "right hip", RightHip, rHip, hipR), part of the
    word (righthip), or, if both names of the pair are there, its first or last letter (RHIP and LHIP, hipr and hipl).
    """
    keys = [_side_and_part(name) for name in names]
    rest = {part for side, part in keys if not side}
    return [key if key[0] else _single_letter(key[1], rest) for key in keys]


def pair_joints(names: Sequence[str]) -> tuple[tuple[tuple[int, int], ...], tuple[str, ...]]:
    """Return the (right, left) index pairs, and the names that have no counterpart and are not on the midline."""
    keys = joint_keys(names)
    count = Counter(keys)
    place = {key: index for index, key in enumerate(keys)}
    pairs = tuple(
        (index, place["L", part])
        for index, (side, part) in enumerate(keys)
        if side == "R" and count["R", part] == count["L", part] == 1
    )
    paired = {index for pair in pairs for index in pair}
    unpaired = tuple(
        name
        for index, (name, (side, part)) in enumerate(zip(names, keys, strict=True))
        if index not in paired and not (_is_midline(name) if side else _MIDLINE.search(part))
    )
    return pairs, unpaired


def _is_midline(name: str) -> bool:
    """Return whether a name that looks sided is a vertebra, such as L5."""
    return re.fullmatch(r"[Ll][0-9]", name) is not None


def _side_and_part(name: str) -> JointKey:
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+|\d+", name)]
    sides = [word for word in words if word in _SIDES]
    part = "".join(word for word in words if word not in _SIDES)
    if len(sides) == 1 and part:
        return _SIDES[sides[0]], part
    whole = "".join(words)
    if not sides and (match := re.fullmatch(r"(right|left)(.+)|(.+)(right|left)", whole)):
        return _SIDES[match[1] or match[4]], match[2] or match[3]
    return "", whole


def _single_letter(word: str, words: set[str]) -> JointKey:
    """Return side and part of a word such as rhip or hipl, if `words` has its counterpart too."""
    for letter, other, side in (("r", "l", "R"), ("l", "r", "L")):
        if len(word) > 2 and word.startswith(letter) and other + word[1:] in words:
            return side, word[1:]
        if len(word) > 2 and word.endswith(letter) and word[:-1] + other in words:
            return side, word[:-1]
    return "", word


# ---- skeletons ----


def _skeleton(
    name: str, bones: Sequence[tuple[str, str | None]], root: str = "Pelvis", unscored: Sequence[str] = ()
) -> Skeleton:
    """Return the skeleton of (joint, parent) pairs."""
    names = tuple(joint for joint, _ in bones)
    parents = tuple(-1 if parent is None else names.index(parent) for _, parent in bones)
    return Skeleton(
        name, names, parents, pair_joints(names)[0], names.index(root), tuple(names.index(joint) for joint in unscored)
    )


_H36M_BONES = (
    ("Pelvis", None),
    ("R_Hip", "Pelvis"), ("R_Knee", "R_Hip"), ("R_Ankle", "R_Knee"),
    ("L_Hip", "Pelvis"), ("L_Knee", "L_Hip"), ("L_Ankle", "L_Knee"),
    ("Torso", "Pelvis"), ("Neck", "Torso"), ("Nose", "Neck"), ("Head", "Nose"),
    ("L_Shoulder", "Neck"), ("L_Elbow", "L_Shoulder"), ("L_Wrist", "L_Elbow"),
    ("R_Shoulder", "Neck"), ("R_Elbow", "R_Shoulder"), ("R_Wrist", "R_Elbow"),
)  # fmt: skip
H36M17 = _skeleton("h36m17", _H36M_BONES)
# Thorax, the midpoint of the shoulders, is predicted because other data sets annotate it; it is never scored.
H36M18 = _skeleton("h36m18", (*_H36M_BONES, ("Thorax", "Torso")), unscored=("Thorax",))

MPII16 = _skeleton(
    "mpii16",
    (
        ("R_Ankle", "R_Knee"), ("R_Knee", "R_Hip"), ("R_Hip", "Pelvis"),
        ("L_Hip", "Pelvis"), ("L_Knee", "L_Hip"), ("L_Ankle", "L_Knee"),
        ("Pelvis", None), ("Thorax", "Pelvis"), ("Neck", "Thorax"), ("Head", "Neck"),
        ("R_Wrist", "R_Elbow"), ("R_Elbow", "R_Shoulder"), ("R_Shoulder", "Thorax"),
        ("L_Shoulder", "Thorax"), ("L_Elbow", "L_Shoulder"), ("L_Wrist", "L_Elbow"),
    ),
)  # fmt: skip

_COCO_FACE = (("L_Eye", "Nose"), ("R_Eye", "Nose"), ("L_Ear", "L_Eye"), ("R_Ear", "R_Eye"))
_COCO_ARMS = (("L_Elbow", "L_Shoulder"), ("R_Elbow", "R_Shoulder"), ("L_Wrist", "L_Elbow"), ("R_Wrist", "R_Elbow"))
_COCO_LEGS = (("L_Knee", "L_Hip"), ("R_Knee", "R_Hip"), ("L_Ankle", "L_Knee"), ("R_Ankle", "R_Knee"))
# COCO annotates no pelvis, so the nose is the root of its 17 keypoints.
COCO17 = _skeleton(
    "coco17",
    (
        ("Nose", None), *_COCO_FACE, ("L_Shoulder", "Nose"), ("R_Shoulder", "Nose"), *_COCO_ARMS,
        ("L_Hip", "L_Shoulder"), ("R_Hip", "R_Shoulder"), *_COCO_LEGS,
    ),
    root="Nose",
)  # fmt: skip
# With the midpoints of shoulders and hips, as in the reference training code.
COCO19 = _skeleton(
    "coco19",
    (
        ("Nose", "Thorax"), *_COCO_FACE, ("L_Shoulder", "Thorax"), ("R_Shoulder", "Thorax"), *_COCO_ARMS,
        ("L_Hip", "Pelvis"), ("R_Hip", "Pelvis"), *_COCO_LEGS, ("Thorax", "Pelvis"), ("Pelvis", None),
    ),
)  # fmt: skip

# The 17 joints of MuPoTS-3D with the parents of its evaluation, then hands and toes, which only the training sets
# MuCo-3DHP and MPI-INF-3DHP annotate and which are not scored.
MUCO21 = _skeleton(
    "muco21",
    (
        ("Head_top", "Thorax"), ("Thorax", "Spine"),
        ("R_Shoulder", "Thorax"), ("R_Elbow", "R_Shoulder"), ("R_Wrist", "R_Elbow"),
        ("L_Shoulder", "Thorax"), ("L_Elbow", "L_Shoulder"), ("L_Wrist", "L_Elbow"),
        ("R_Hip", "Pelvis"), ("R_Knee", "R_Hip"), ("R_Ankle", "R_Knee"),
        ("L_Hip", "Pelvis"), ("L_Knee", "L_Hip"), ("L_Ankle", "L_Knee"),
        ("Pelvis", None), ("Spine", "Pelvis"), ("Head", "Thorax"),
        ("R_Hand", "R_Wrist"), ("L_Hand", "L_Wrist"), ("R_Toe", "R_Ankle"), ("L_Toe", "L_Ankle"),
    ),
    unscored=("R_Hand", "L_Hand", "R_Toe", "L_Toe"),
)  # fmt: skip


# The 33 landmarks of BlazePose (MediaPipe Pose). They have no joint on the midline but the nose, which is the root.
# Depths are relative to the hips: relative to the nose, 8% of the feet of rendered people are beyond the depth range,
# else 0.1%.
_BLAZEPOSE_SIDE = (
    ("Eye_Inner", "Nose"), ("Eye", "Eye_Inner"), ("Eye_Outer", "Eye"), ("Ear", "Eye_Outer"), ("Mouth", "Nose"),
    ("Shoulder", "Nose"), ("Elbow", "Shoulder"), ("Wrist", "Elbow"),
    ("Pinky", "Wrist"), ("Index", "Wrist"), ("Thumb", "Wrist"),
    ("Hip", "Shoulder"), ("Knee", "Hip"), ("Ankle", "Knee"), ("Heel", "Ankle"), ("Foot_Index", "Ankle"),
)  # fmt: skip


def _blazepose33() -> Skeleton:
    """Return the landmarks in MediaPipe's order: eyes of one side after the other, then left and right in turns."""
    eyes, others = _BLAZEPOSE_SIDE[:3], _BLAZEPOSE_SIDE[3:]
    ordered = [("L", *bone) for bone in eyes] + [("R", *bone) for bone in eyes]
    ordered += [(side, *bone) for bone in others for side in "LR"]
    bones = [(f"{side}_{joint}", parent if parent == "Nose" else f"{side}_{parent}") for side, joint, parent in ordered]
    found = _skeleton("blazepose33", (("Nose", None), *bones), root="Nose")
    return replace(found, hips=(found.index("L_Hip"), found.index("R_Hip")))


BLAZEPOSE33 = _blazepose33()


@lru_cache(maxsize=16)
def drawn_edges(names: tuple[str, ...], edges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Return the lines of a drawing: the bones, then lines from shoulder to shoulder and from hip to hip where no joint of
    the trunk connects them, as in the 33 landmarks of BlazePose."""
    keys, lines = joint_keys(names), list(edges)
    near = [{end for edge in edges if joint in edge for end in edge} for joint in range(len(names))]  # with itself
    for part in ("shoulder", "hip"):
        pair = ("R", part), ("L", part)
        if set(pair) <= set(keys):
            right, left = (keys.index(key) for key in pair)
            if all(keys[joint][1] in ("nose", "head") for joint in near[right] & near[left]):
                lines.append((right, left))
    return tuple(lines)


def skeleton_from_edges(name: str, names: Sequence[str], edges: Sequence[tuple[int, int]], root: str) -> Skeleton:
    """Return the skeleton of joint names and undirected bones (index pairs), with parents directed towards `root`.

    Left and right follow from the names (`joint_keys`).

    Raises:
        ValueError: repeated names, an unknown root, or bones that do not form one tree.
    """
    if len(set(names)) != len(names):
        raise ValueError("joint names repeat")
    if root not in names:
        raise ValueError(f"root {root!r} is not among the joints{did_you_mean(root, names)}")
    remaining = {(min(edge), max(edge)) for edge in edges}
    if any(not 0 <= joint < len(names) for edge in remaining for joint in edge):
        raise ValueError(f"bones refer to joints outside the {len(names)}")
    parents = {names.index(root): -1}
    while attached := [edge for edge in sorted(remaining) if (edge[0] in parents) != (edge[1] in parents)]:
        a, b = attached[0]
        parent, child = (a, b) if a in parents else (b, a)
        parents[child] = parent
        remaining.remove((a, b))
    if remaining:
        raise ValueError("bones form a ring or are not connected")
    ordered = tuple(parents.get(joint, -1) for joint in range(len(names)))
    pairs, unpaired = pair_joints(names)
    return Skeleton(name, tuple(names), ordered, pairs, names.index(root), unpaired=unpaired)
