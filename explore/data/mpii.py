"""MPII: people in pictures of all kinds, 16 joints in 2D. Only the training part is public.

ROOT/annotations/train.json   COCO style, keypoints 16 x 3 (x px, y px, visibility)
ROOT/images/...               pictures, ROOT + file_name

People without joints are left out. The pictures tell no camera: f is 1500 px, c the middle, as for COCO.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from explore.data.faults import Faults
from explore.data.sample import Dataset
from explore.data.skeleton import MPII16
from explore.data.table import (
    Collector,
    Person,
    box,
    finite,
    need,
    numbers,
    only,
    picture_table,
    present,
    read_json,
)  # fmt: skip

FOCAL = 1500.0  # px


def load(
    root: str | Path, split: str, options: None = None, name: str = "mpii", faults: Faults | None = None
) -> Dataset:
    """Read the training part. Raises InputError by the rule of explore.data.faults."""
    root = Path(root)
    people = Collector(name, split, root, MPII16, faults or Faults())
    path = root / "annotations" / only(split, {"train": "train.json"}, name)
    content = read_json(path, people.digest)
    pictures = picture_table(content, path, root, root)

    def person(annotation: Any) -> Person | None:
        where = f"{path}: annotation {need(annotation, 'id', path)}"
        picture = pictures.get(need(annotation, "image_id", where)) or need({}, "image", where)
        if need(annotation, "num_keypoints", where) == 0:
            return None
        joints = finite(numbers(annotation, "keypoints", (len(MPII16), 3), where), where)
        bbox = box(annotation, where, picture)
        present(root, picture, where)
        f, c = np.full(2, FOCAL), np.array(picture.size) / 2
        return Person(picture, bbox, joints[:, :2], None, joints[:, 2] > 0, f, c)

    people.collect(need(content, "annotations", path), person)
    return people.dataset(f"{path}: no person with joints in it; fetch the file again")
