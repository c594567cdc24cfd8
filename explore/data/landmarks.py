"""Linear maps between the joints of h36m18 and the 33 landmarks of BlazePose, for joints that are exact.

Both were fitted on the body mesh by `python -m benchmarks.mesh_landmarks`, which reproduces landmarks.json. The weights
are the same for all coordinates, so that a map applies to px, to mm, and to rotated people alike. (The map of the
teacher's landmarks in explore.data.label.mapping corrects the teacher's bias, too.)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from arch.errors import InputError
from explore.data.skeleton import BLAZEPOSE33, H36M17, H36M18, Skeleton

FILE = "landmarks.json"
MAX_ERROR_MM = 60.0  # mean error of a landmark above which it counts as not derivable


@dataclass(frozen=True, eq=False)
class LinearMap:
    """Weights (K, J) of J joints in K others; each row sums to 1.

    derived: (K,) bool; False for joints that do not follow from the others, whose visibility is 0
    error_mm: (K,) mean error on people whom the map was not fitted on
    """

    matrix: np.ndarray
    derived: np.ndarray
    error_mm: np.ndarray


@lru_cache(maxsize=1)
def _stored() -> dict[str, LinearMap]:
    content = json.loads(resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8"))
    found = {}
    for name, (target, source) in {"to_landmarks": (BLAZEPOSE33, H36M18), "to_joints": (H36M18, BLAZEPOSE33)}.items():
        matrix = np.zeros((len(target), len(source)))
        for joint, weights in content[name].items():
            for other, weight in weights.items():
                matrix[target.index(joint), source.index(other)] = weight
        error = np.array([content["error_mm"][name][joint] for joint in target.names])
        found[name] = LinearMap(matrix / matrix.sum(1, keepdims=True), error <= MAX_ERROR_MM, error)
    return found


def to_blazepose33(joints: Sequence[str]) -> LinearMap:
    """Return the map from the joints of a network to the 33 landmarks of BlazePose.

    joints: names, in the order of the network's output: of blazepose33, h36m18 or h36m17

    Raises:
        InputError: other joints.
    """
    names = tuple(joints)
    if names == BLAZEPOSE33.names:
        count = len(BLAZEPOSE33)
        return LinearMap(np.eye(count), np.ones(count, bool), np.zeros(count))
    found = _stored()["to_landmarks"]
    if names == H36M18.names:
        return found
    if names == H36M17.names:
        return LinearMap(_without_thorax(found.matrix), found.derived, found.error_mm)
    raise InputError(
        f"joints {', '.join(names[:4])}, ...: the landmarks of BlazePose do not follow from these; train on data with the "
        f"joints of {BLAZEPOSE33.name} or {H36M18.name}"
    )


def from_blazepose33() -> LinearMap:
    """Return the map from the 33 landmarks of BlazePose to the joints of h36m18."""
    return _stored()["to_joints"]


def between(source: Skeleton, target: Skeleton) -> LinearMap | None:
    """Return the map from the joints of one skeleton to those of another; None where joints are matched by name."""
    if target == BLAZEPOSE33 and source.names in (H36M17.names, H36M18.names):
        return to_blazepose33(source.names)
    if source == BLAZEPOSE33 and target.names in (H36M17.names, H36M18.names):
        found, count = from_blazepose33(), len(target)
        return LinearMap(found.matrix[:count], found.derived[:count], found.error_mm[:count])
    return None


def _without_thorax(matrix: np.ndarray) -> np.ndarray:
    """Return the weights (K, 17) of h36m17, whose shoulders take the weight of their midpoint."""
    shorter = matrix[:, : len(H36M17)].copy()
    for shoulder in ("L_Shoulder", "R_Shoulder"):
        shorter[:, H36M17.index(shoulder)] += matrix[:, H36M18.index("Thorax")] / 2
    return shorter
