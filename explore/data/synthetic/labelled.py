"""Poses of a labelled set (explore.data.readers.custom), such as pseudo-labels of photos, for rendered people.

Labels are inexact, but rendered people take only their bone directions from them, so that the joints of a frame are
exact. The vertical of the cameras is unknown: the poses are turned such that the median person stands upright.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arch.errors import InputError
from arch.files import content_hash
from explore.data.mix import to_skeleton
from explore.data.readers import custom
from explore.data.sample import Dataset
from explore.data.sample_errors import SplitNotFound
from explore.data.skeleton import BLAZEPOSE33, H36M17, H36M18, mapping
from explore.data.split import hold_out
from explore.data.synthetic.pose import rotation_x
from explore.data.synthetic.retarget import Joints

# Ends of captured bones by name (explore.data.synthetic.motion), and the joints at these places
PLACES = {
    "root": "Pelvis", "lowerback": "Torso", "upperback": "Torso", "thorax": "Neck", "head": "Head",
    "lhipjoint": "L_Hip", "lfemur": "L_Knee", "ltibia": "L_Ankle",
    "rhipjoint": "R_Hip", "rfemur": "R_Knee", "rtibia": "R_Ankle",
    "lclavicle": "L_Shoulder", "lhumerus": "L_Elbow", "lradius": "L_Wrist",
    "rclavicle": "R_Shoulder", "rhumerus": "R_Elbow", "rradius": "R_Wrist",
}  # fmt: skip
VERSION = 2  # increase it when the same labels give other poses
MIRROR_P = 0.5
FOOT = 0.15  # m, length of the foot, which points to the front
_FROM_CAMERA = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # x right is the left of a person who faces the camera


@dataclass(frozen=True, eq=False)
class LabelledPoses:
    """Poses (N, 17, 3) of the joints of H36M17 by split, m, in the axes of the body model."""

    poses: dict[str, np.ndarray]
    hash: str

    def sample(self, rng: np.random.Generator, split: str) -> Joints:
        """Return a random pose of this split, possibly mirrored, by name of the captured bone that ends there."""
        poses = self.poses[split]
        pose = poses[int(rng.integers(len(poses)))]
        if rng.random() < MIRROR_P:
            pose = pose[H36M17.flip_order] * [-1.0, 1.0, 1.0]
        joints = {name: pose[H36M17.index(joint)] for name, joint in PLACES.items()}
        front = np.cross(joints["lhipjoint"] - joints["rhipjoint"], [0.0, 0.0, 1.0])
        step = FOOT * front / max(float(np.linalg.norm(front)), 1e-6) - [0.0, 0.0, FOOT / 3]
        return joints | {f"{side}foot": joints[f"{side}tibia"] + step for side in "lr"}


def load_poses(folder: Path) -> LabelledPoses:
    """Read the poses of a set: a tenth of its training split serves for validation, its test split for testing.

    Raises:
        InputError: files that cannot be read, joints that are missing, or a split without a complete pose.
    """
    train, validation = hold_out(custom.load(folder, "train"))
    try:
        test = custom.load(folder, "test")
    except SplitNotFound:
        test = validation
    parts = {"train": train, "validation": validation, "test": test}
    poses = {split: _complete(part, folder) for split, part in parts.items()}
    for split, found in poses.items():
        if not len(found):
            raise InputError(
                f"{folder}: no complete pose in the {split} part; give a set with more people in full view"
            )
    tilt = rotation_x(_lean(poses["train"]))
    poses = {split: found @ tilt.T for split, found in poses.items()}
    return LabelledPoses(poses, content_hash([VERSION, train.hash, test.hash]))


def _lean(poses: np.ndarray) -> float:
    """Return the angle in radians, about the x axis, by which the median person leans to the front (-y)."""
    ankles = poses[:, [H36M17.index("L_Ankle"), H36M17.index("R_Ankle")]].mean(1)
    up = poses[:, H36M17.index("Neck")] - ankles
    return float(np.median(np.arctan2(up[:, 1], up[:, 2])))


def _complete(data: Dataset, folder: Path) -> np.ndarray:
    """Return the poses (N, 17, 3), m, of the samples of which all joints but the nose are known."""
    if data.skeleton == BLAZEPOSE33:
        data = to_skeleton(data, H36M18)
    source = mapping(data.skeleton, H36M17)
    needed = [H36M17.index(joint) for joint in set(PLACES.values())]
    missing = [H36M17.names[joint] for joint in needed if source[joint] < 0]
    if missing:
        raise InputError(f"{folder}: has no joint {', '.join(sorted(missing))}, which poses need; name them so")
    joints = np.where(source[:, None] >= 0, data.joints_cam[:, source], 0.0)
    known = np.isfinite(joints[:, needed]).all((1, 2))
    return np.nan_to_num(joints[known] - joints[known, :1]) @ _FROM_CAMERA.T / 1000
