"""The linear maps between the joints of h36m18 and the 33 landmarks of BlazePose, fitted on posed body meshes.

`python -m benchmarks.mesh_landmarks` fits both maps, prints the error of each joint on bodies and poses that they were
not fitted on, and writes landmarks.json of the package. Nothing is rendered.

A joint is fitted to the joints nearby only (its support), so that a hidden foot does not affect the face, and with a
ridge that expects noise in the predicted joints: an exact fit would multiply it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arch.files import write_atomic
from explore.data import landmarks
from explore.data.skeleton import BLAZEPOSE33, H36M18, Skeleton
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.frame import cameras, compose_frame

CONFIG: dict[str, Any] = {
    "train": 1500,  # people
    "test": 400,
    "noise_mm": 10.0,  # standard deviation of a coordinate of the joints that a map is applied to
    "seed": 5,
}
PATH = Path(landmarks.__file__).with_name(landmarks.FILE)
HIPS, SHOULDERS = ("L_Hip", "R_Hip"), ("L_Shoulder", "R_Shoulder")
FACE = ("Neck", "Nose", "Head", "Torso", *SHOULDERS, *HIPS)  # of h36m18, whose `Nose` is at the throat
HEAD = ("Nose", "L_Eye", "R_Eye", "L_Ear", "R_Ear", "L_Mouth", "R_Mouth", *SHOULDERS, *HIPS)  # of blazepose33
MIDDLE = {"Pelvis": HIPS, "Thorax": SHOULDERS, "Torso": (*HIPS, *SHOULDERS)} | dict.fromkeys(
    ("Neck", "Nose", "Head"), HEAD
)


def landmark_support(name: str) -> tuple[str, ...]:
    """Return the joints of h36m18 that a landmark is fitted to."""
    side, _, part = name.partition("_")
    if part == "Hip":
        return HIPS
    if part in ("Shoulder", "Elbow", "Wrist", "Knee", "Ankle"):
        return (name,)
    if part in ("Pinky", "Index", "Thumb"):
        return f"{side}_Shoulder", f"{side}_Elbow", f"{side}_Wrist"
    if part in ("Heel", "Foot_Index"):
        return f"{side}_Hip", f"{side}_Knee", f"{side}_Ankle"
    return FACE


def joint_support(name: str) -> tuple[str, ...]:
    """Return the landmarks that a joint of h36m18 is fitted to."""
    return HIPS if name.endswith("_Hip") else MIDDLE.get(name, (name,))


def people(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return joints of h36m18 (N, 18, 3) and landmarks (N, 33, 3), mm in camera axes, of posed people."""
    config = SyntheticConfig(level="full", size=256, seed=CONFIG["seed"])
    joints, found = [], []
    for index in range(count):
        record = compose_frame(config, split, index).record
        views = cameras(config.seed, record["subject"], config.size, config.level)
        camera = views[record["image"]["cam_idx"] - 1]
        world = np.array(record["world"])
        shoulders = world[[H36M18.index(name) for name in SHOULDERS]]
        joints.append(np.vstack([world, shoulders.mean(0)]) @ camera.rotation.T + camera.shift)
        found.append(record["landmarks"].astype(float))
    return np.stack(joints), np.stack(found)


def fit(
    given: np.ndarray, wanted: np.ndarray, source: Skeleton, target: Skeleton, supports: Sequence[tuple[str, ...]]
) -> np.ndarray:
    """Return weights (K, J), whose rows sum to 1, of a ridge regression from joints (N, J, 3) to (N, K, 3) mm.

    The mirror image of each person is a sample, too, so that left and right have the same weights.
    """
    mirror = np.array([-1.0, 1.0, 1.0])
    given = np.concatenate([given, given[:, source.flip_order] * mirror])
    wanted = np.concatenate([wanted, wanted[:, target.flip_order] * mirror])
    weights = np.zeros((len(target), len(source)))
    for joint, support in enumerate(supports):
        columns = [source.index(name) for name in support]
        near = given[:, columns]
        centre = near.mean(1)
        rows = (near - centre[:, None]).transpose(0, 2, 1).reshape(-1, len(columns))
        rest = (wanted[:, joint] - centre).ravel()
        normal = rows.T @ rows + len(rows) * CONFIG["noise_mm"] ** 2 * np.eye(len(columns))
        normal += 1e10 * len(rows)  # the changes from equal weights sum to 0
        weights[joint, columns] = 1 / len(columns) + np.linalg.solve(normal, rows.T @ rest)
    return weights


def main() -> None:
    """Fit both maps, print their errors and write the file of the package."""
    joints, found = people("train", CONFIG["train"])
    test_joints, test_found = people("test", CONFIG["test"])
    maps = {
        "to_landmarks": (joints, found, H36M18, BLAZEPOSE33, landmark_support, test_joints, test_found),
        "to_joints": (found, joints, BLAZEPOSE33, H36M18, joint_support, test_found, test_joints),
    }
    content: dict[str, Any] = {}
    errors: dict[str, dict[str, float]] = {}
    for name, (given, wanted, source, target, support, test_given, test_wanted) in maps.items():
        weights = fit(given, wanted, source, target, [support(joint) for joint in target.names])
        content[name] = {
            joint: {source.names[other]: round(float(row[other]), 4) for other in np.flatnonzero(row)}
            for joint, row in zip(target.names, weights, strict=True)
        }
        distance = np.linalg.norm(weights @ test_given - test_wanted, axis=2).mean(0)
        errors[name] = dict(zip(target.names, distance.round(1).tolist(), strict=True))
        print(name, errors[name])
    lines = [
        f'"{name}": {{\n' + ",\n".join(f"{json.dumps(joint)}: {json.dumps(row)}" for joint, row in rows.items()) + "\n}"
        for name, rows in {**content, "error_mm": errors}.items()
    ]
    write_atomic(PATH, "{\n" + ",\n".join(lines) + "\n}\n")
    print(PATH)


if __name__ == "__main__":
    main()
