"""The linear map from BlazePose's 33 landmarks to the 18 joints of h36m18, fitted on renders with exact joints.

The benchmark repeats the fit and compares the fitted, the shipped and a hand-made map on renders that it was not fitted
on, and on the Human3.6M frames in EDGEPOSE_HUMAN36M, if there are any. `python -m benchmarks.landmark_map` fits the map
and writes the file that the package ships.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arch.files import write_atomic
from benchmarks import Claim, at_least, at_most
from benchmarks.data import open_human36m
from benchmarks.steps import part_of
from explore.data import open_dataset
from explore.data.images import read_frame
from explore.data.label import mapping
from explore.data.label.teacher import Teacher, label_person, open_teacher
from explore.data.sample import Dataset, evenly_spread
from explore.data.skeleton import BLAZEPOSE33, H36M18
from explore.data.synthetic.config import SyntheticConfig
from explore.evaluation.metrics import mpjpe, pa_mpjpe
from explore.predict.detector import Detector
from explore.predict.pipeline import find_region

CONFIG: dict[str, Any] = {
    "teacher": "blazepose-full",
    "levels": ("easy", "full"),
    "px": 256,
    "train": 160,  # people of each level
    "test": 40,
    "real": 200,  # frames of Human3.6M
    "ridge": 0.0005,  # m^2 for each person; pulls the weights to those of the hand-made map
    "presence": 0.9,
    "pa_mm": 110.0,  # PA-MPJPE of the hand-made map above which the teacher has failed, and the person is left out
}
TARGETS = {"renders": 5.0, "human36m": 15.0}  # mm
EXTENT_M = 1.7  # to which the extent of a person in px is scaled for the fit
PATH = Path(mapping.__file__).with_name(mapping.MAP_FILE)


@dataclass(frozen=True, eq=False)
class Pairs:
    """N people: the teacher's landmarks and the exact joints.

    image, world: (N, 33, 2) px and (N, 33, 3) mm; px, mm: (N, 18, 2) and (N, 18, 3), mm relative to the root
    """

    image: np.ndarray
    world: np.ndarray
    px: np.ndarray
    mm: np.ndarray


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return the errors of the three maps on each set of people, and the claims about them."""
    teacher = open_teacher(CONFIG["teacher"])
    fitted, test = _fit_on_renders(teacher, progress)
    handmade, shipped = mapping.handmade_map(), mapping.joint_map(BLAZEPOSE33, "h36m18")
    sets = {"renders": test}
    if given := os.environ.get("EDGEPOSE_HUMAN36M"):
        data = open_human36m(given)
        frames = data.take(evenly_spread(len(data), CONFIG["real"]))
        sets["human36m"] = collect(frames, teacher, lambda share: progress(0.9 + 0.1 * share))
    maps = {"hand-made": (handmade, handmade), "fitted": fitted, "shipped": (shipped.image, shipped.world)}
    rows = [{"data": name, "map": kind, **errors(pairs, *found)}
            for name, pairs in sets.items() for kind, found in maps.items()]  # fmt: skip
    by = {(row["data"], row["map"]): row for row in rows}
    change = np.linalg.norm((fitted[1] - shipped.world) @ test.world, axis=-1).mean()
    claims = [at_most("mean distance between the refitted and the shipped map, mm", 10.0, float(change))]
    for name in sets:
        gain = by[name, "hand-made"]["mpjpe_mm"] - by[name, "shipped"]["mpjpe_mm"]
        claims.append(
            at_least(f"gain of the shipped map over the hand-made one on {name}, MPJPE mm", TARGETS[name], gain)
        )
    return rows, claims


def _fit_on_renders(teacher: Teacher, progress: Callable[[float], None]) -> tuple[tuple[np.ndarray, np.ndarray], Pairs]:
    """Return the maps (18, 33) of px and of mm, and people of other bodies to test them on."""
    parts: dict[str, list[Pairs]] = {"train": [], "test": []}
    for index, level in enumerate(CONFIG["levels"]):
        config = SyntheticConfig(
            level=level, size=CONFIG["px"], train_frames=CONFIG["train"], test_frames=CONFIG["test"], seed=1
        )
        for number, split in enumerate(parts):
            within = part_of(lambda share: progress(0.9 * share), 2 * index + number, 2 * len(CONFIG["levels"]))
            parts[split].append(collect(open_dataset(f"synthetic:{level}", split, config), teacher, within))
    train, test = (usable(joined(found)) for found in parts.values())
    return fit_maps(train), test


def collect(data: Dataset, teacher: Teacher, progress: Callable[[float], None]) -> Pairs:
    """Return the teacher's landmarks and the exact joints of all people of a data set with the skeleton h36m18."""
    detector = Detector()

    def people() -> Iterator[tuple[np.ndarray, ...]]:
        for index, sample in enumerate(data):
            progress(index / len(data))
            image, _ = read_frame(sample.image, sample.size)
            pose = label_person(teacher, image, find_region(detector, image, sample.bbox)).pose
            if pose.presence < CONFIG["presence"]:
                continue
            root = sample.joints_cam[H36M18.root]
            yield pose.image[:, :2], pose.world, sample.joints_img[:, :2], sample.joints_cam - root

    return Pairs(*(np.stack(column) for column in zip(*people(), strict=True)))


def joined(parts: list[Pairs]) -> Pairs:
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("image", "world", "px", "mm")))


def usable(pairs: Pairs) -> Pairs:
    """Return the people whom the teacher has recognised, by the PA-MPJPE of the hand-made map."""
    found = mapping.handmade_map() @ pairs.world
    good = [pa_mpjpe(one[None], true[None]) < CONFIG["pa_mm"] for one, true in zip(found, pairs.mm, strict=True)]
    return Pairs(pairs.image[good], pairs.world[good], pairs.px[good], pairs.mm[good])


def fit_maps(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Return the maps (18, 33) of px, whose rows sum to 1, and of mm relative to the hips' centre."""
    extent = np.ptp(pairs.px, axis=1).max(1)[:, None, None] / EXTENT_M
    hips = pairs.image[:, 23:25].mean(1, keepdims=True)
    image = fit((pairs.image - hips) / extent, (pairs.px - hips) / extent, sum_to_one=True)
    return image, fit(pairs.world / 1000, pairs.mm / 1000, sum_to_one=False)


def fit(landmarks: np.ndarray, joints: np.ndarray, sum_to_one: bool) -> np.ndarray:
    """Return the weights (18, 33) of a ridge regression towards the hand-made map, equal for both sides of the body.

    landmarks: (N, 33, D) m; joints: (N, 18, D) m. The weights are the same for all coordinates, so that the map of a
    rotated person is the rotated map of the person. The mirror image of each person is a sample, too.
    """
    mirror = np.array([-1.0] + [1.0] * (landmarks.shape[2] - 1))
    landmarks = np.concatenate([landmarks, landmarks[:, BLAZEPOSE33.flip_order] * mirror])
    joints = np.concatenate([joints, joints[:, H36M18.flip_order] * mirror])
    rows = landmarks.transpose(0, 2, 1).reshape(-1, len(BLAZEPOSE33))
    targets = joints.transpose(0, 2, 1).reshape(-1, len(H36M18))
    start = mapping.handmade_map()
    normal = rows.T @ rows + CONFIG["ridge"] * len(landmarks) * np.eye(len(BLAZEPOSE33))
    if sum_to_one:  # the hand-made rows sum to 1, so that the changes sum to 0
        normal += 1e6 * len(landmarks)
    change = np.linalg.solve(normal, rows.T @ (targets - rows @ start.T))
    weights: np.ndarray = start + change.T
    return weights


def errors(pairs: Pairs, image: np.ndarray, world: np.ndarray) -> dict[str, Any]:
    """Return the errors of two maps over the people: MPJPE, PA-MPJPE mm, and 2D error in percent of the extent."""
    found = world @ pairs.world
    extent = np.ptp(pairs.px, axis=1).max(1)
    distance = np.linalg.norm(image @ pairs.image - pairs.px, axis=2).mean(1) / extent
    return {
        "people": len(found),
        "mpjpe_mm": round(mpjpe(found, pairs.mm, H36M18.root), 1),
        "pa_mpjpe_mm": round(pa_mpjpe(found, pairs.mm), 1),
        "error_2d_percent": round(100 * float(np.mean(distance)), 2),
    }


def write_map() -> None:
    """Fit the map and write the file of the package."""
    (image, world), _ = _fit_on_renders(open_teacher(CONFIG["teacher"]), lambda share: None)
    rows = {name: [[round(value, 4) for value in row] for row in found.tolist()]
            for name, found in (("image", image), ("world", world))}  # fmt: skip
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in value) + "\n]" for name, value in rows.items()]
    write_atomic(PATH, '{"joints": ' + json.dumps(H36M18.names) + ",\n" + ",\n".join(lines) + "\n}\n")
    print(PATH)


if __name__ == "__main__":
    write_map()
