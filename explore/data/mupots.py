"""MuPoTS-3D: 20 sequences of several people indoors and out, 17 joints. A test set for what MuCo-3DHP trains.

ROOT/data/MuPoTS-3D.json            images {id, file_name TS1/img_000000.jpg, width, height, intrinsic [fx, fy, cx, cy]},
                                    annotations {image_id, bbox, keypoints_img 17 x 2 px, keypoints_cam 17 x 3 mm, is_valid}
ROOT/data/MultiPersonTestSet/TS1/.. pictures (data/ may be left out)

Boxes and root depths are the annotated ones ("all ground truth", Table 9 of the paper). Joints stand in the order of
MuCo-3DHP's 21, hands and toes unknown. The sequence is the sample's action.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from explore.data.faults import Faults
from explore.data.muco import beside
from explore.data.sample import Dataset
from explore.data.skeleton import MUCO21
from explore.data.table import (
    Collector,
    Person,
    box,
    finite,
    in_front,
    need,
    numbers,
    only,
    picture_table,
    present,
    read_json,
)  # fmt: skip

ANNOTATED = 17  # the first of MUCO21


def load(
    root: str | Path, split: str, options: None = None, name: str = "mupots", faults: Faults | None = None
) -> Dataset:
    """Read the test part. Raises InputError by the rule of explore.data.faults."""
    root = Path(root)
    people = Collector(name, split, root, MUCO21, faults or Faults())
    path = beside(root, only(split, {"test": "MuPoTS-3D.json"}, name))
    content = read_json(path, people.digest)
    pictures = picture_table(content, path, path.parent / "MultiPersonTestSet", root)

    def person(annotation: Any) -> Person | None:
        where = f"{path}: annotation {need(annotation, 'id', path)}"
        picture = pictures.get(need(annotation, "image_id", where)) or need({}, "image", where)
        if not need(annotation, "is_valid", where):
            return None
        camera = numbers(picture.entry, "intrinsic", (4,), picture.where)
        cam = in_front(finite(numbers(annotation, "keypoints_cam", (ANNOTATED, 3), where), where), where)
        px = finite(numbers(annotation, "keypoints_img", (ANNOTATED, 2), where), where)
        bbox = box(annotation, where, picture)
        present(root, picture, where)
        sequence = Path(picture.file).parent.name
        return Person(
            picture, bbox, padded(px, 0.0), padded(cam, np.nan), padded(np.ones((ANNOTATED, 1)), 0.0)[:, 0],
            camera[:2], camera[2:], action=sequence,
        )  # fmt: skip

    people.collect(need(content, "annotations", path), person)
    return people.dataset(f"{path}: no valid person in it; fetch the file again")


def padded(joints: np.ndarray, value: float) -> np.ndarray:
    """(17, ...) joints to MUCO21's 21, the last ones set to `value`."""
    rest = np.full((len(MUCO21) - len(joints), *joints.shape[1:]), value)
    return np.concatenate([joints, rest])
