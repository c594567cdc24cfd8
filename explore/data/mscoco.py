"""COCO keypoints: people in everyday pictures, 17 keypoints in 2D; Thorax and Pelvis are appended as midpoints.

ROOT/annotations/person_keypoints_{train,val}2017.json
ROOT/images/{train,val}2017/...                        (or ROOT/{train,val}2017/...)

Crowds and people without keypoints are left out. The pictures tell no camera: f is 1500 px, c the middle of the
picture. The test part is val2017.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from explore.data.faults import Faults
from explore.data.mpii import FOCAL
from explore.data.sample import Dataset
from explore.data.skeleton import COCO17, COCO19
from explore.data.table import (
    Collector,
    Person,
    box,
    finite,
    midpoint,
    need,
    numbers,
    only,
    picture_table,
    present,
    read_json,
)  # fmt: skip

SHOULDERS = (COCO17.index("L_Shoulder"), COCO17.index("R_Shoulder"))
HIPS = (COCO17.index("L_Hip"), COCO17.index("R_Hip"))


def load(
    root: str | Path, split: str, options: None = None, name: str = "mscoco", faults: Faults | None = None
) -> Dataset:
    """Read one split. Raises InputError by the rule of explore.data.faults."""
    root = Path(root)
    people = Collector(name, split, root, COCO19, faults or Faults())
    part = only(split, {"train": "train2017", "test": "val2017"}, name)
    path = root / "annotations" / f"person_keypoints_{part}.json"
    content = read_json(path, people.digest)
    folder = root / "images" / part if (root / "images" / part).is_dir() else root / part
    pictures = picture_table(content, path, folder, root)

    def person(annotation: Any) -> Person | None:
        where = f"{path}: annotation {need(annotation, 'id', path)}"
        picture = pictures.get(need(annotation, "image_id", where)) or need({}, "image", where)
        if annotation.get("iscrowd") or need(annotation, "num_keypoints", where) == 0:
            return None
        joints = finite(numbers(annotation, "keypoints", (len(COCO17), 3), where), where)
        px, vis = joints[:, :2], (joints[:, 2] > 0).astype(float)
        for pair in (SHOULDERS, HIPS):
            middle, seen = midpoint(px, vis, pair)
            px, vis = np.vstack([px, middle]), np.append(vis, seen)
        bbox = box(annotation, where, picture)
        present(root, picture, where)
        return Person(picture, bbox, px, None, vis, np.full(2, FOCAL), np.array(picture.size) / 2)

    people.collect(need(content, "annotations", path), person)
    return people.dataset(f"{path}: no person with keypoints in it; fetch the file again")
