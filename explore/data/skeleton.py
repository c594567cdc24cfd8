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
