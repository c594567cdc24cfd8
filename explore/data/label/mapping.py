"""Linear maps from a teacher's joints to the joints of a data set.

The map from BlazePose's 33 landmarks to the 18 joints of `h36m18` was fitted on rendered people with exact joints by
`python -m benchmarks landmark_map`, which reproduces landmark_map.json. Joints in px and joints in mm have maps of
their own, because the teacher's lengths in mm are biased and its px are not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np

from arch.errors import InputError
from explore.data.label.config import SKELETONS
from explore.data.skeleton import BLAZEPOSE33, H36M18, Skeleton, mapping

MAP_FILE = "landmark_map.json"
BY_NAME = dict(zip(SKELETONS, (H36M18, BLAZEPOSE33), strict=True))


@dataclass(frozen=True, eq=False)
class JointMap:
    """Weights (J, K) of the K joints of a teacher in the J joints of `skeleton`.

    image:      of px; rows sum to 1
    world:      of mm relative to the hips' centre
    visibility: rows are not negative and sum to 1
    """

    skeleton: Skeleton
    image: np.ndarray
    world: np.ndarray
    visibility: np.ndarray


def joint_map(source: Skeleton, target: str) -> JointMap:
    """Return the map from a teacher's skeleton to the one named `target`; empty: h36m18 for BlazePose, else its own.

    Raises:
        InputError: the teacher lacks a joint of the skeleton.
    """
    if source.name == BLAZEPOSE33.name and target in ("", H36M18.name):
        found = json.loads(resources.files(__package__).joinpath(MAP_FILE).read_text(encoding="utf-8"))
        handmade = np.abs(handmade_map())
        visibility = handmade / handmade.sum(1, keepdims=True)
        return JointMap(H36M18, np.array(found["image"]), np.array(found["world"]), visibility)
    skeleton = BY_NAME[target] if target else source
    indices = mapping(source, skeleton)
    if missing := [name for name, index in zip(skeleton.names, indices, strict=True) if index < 0]:
        raise InputError(
            f"--skeleton {target}: the teacher's skeleton {source.name} has no {missing[0]}; omit the option"
        )
    chosen = np.eye(len(source))[indices]
    return JointMap(skeleton, chosen, chosen, chosen)


def handmade_map() -> np.ndarray:
    """Return a map (18, 33) from landmarks to h36m18 by anatomy, the starting point of the fit. Rows sum to 1."""
    landmarks = dict(zip(BLAZEPOSE33.names, np.eye(len(BLAZEPOSE33)), strict=True))

    def middle(joint: str) -> np.ndarray:
        centre: np.ndarray = (landmarks[f"L_{joint}"] + landmarks[f"R_{joint}"]) / 2
        return centre

    pelvis, shoulders, ears = middle("Hip"), middle("Shoulder"), middle("Ear")
    neck = shoulders + 0.04 * (shoulders - pelvis)
    joints = landmarks | {
        "Pelvis": pelvis,
        "Torso": pelvis + 0.46 * (neck - pelvis),
        "Neck": neck,
        "Head": ears + 0.72 * (ears - shoulders),
        "Thorax": shoulders,
    }
    return np.stack([joints[name] for name in H36M18.names])
