"""MuCo-3DHP: people of MPI-INF-3DHP composed into one picture, 21 joints. A training set.

ROOT/data/MuCo-3DHP.json   images {id, file_name, width, height, f, c}, annotations {image_id, bbox,
                           keypoints_img 21 x 2 px, keypoints_cam 21 x 3 mm}
ROOT/data/...              pictures, beside the file (data/ may be left out)

Of each picture the nearest person is kept, and another only where its pelvis is 500 mm from everyone else's, in
depth or not: people behind others cannot be told by their joints.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from explore.data.faults import Faults
from explore.data.sample import Dataset
from explore.data.skeleton import MUCO21
from explore.data.table import (
    Collector,
    Person,
    Picture,
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

APART = 500.0  # mm


def load(
    root: str | Path, split: str, options: None = None, name: str = "muco", faults: Faults | None = None
) -> Dataset:
    """Read the training part. Raises InputError by the rule of explore.data.faults."""
    root = Path(root)
    people = Collector(name, split, root, MUCO21, faults or Faults())
    file = only(split, {"train": "MuCo-3DHP.json"}, name)
    path = beside(root, file)
    content = read_json(path, people.digest)
    pictures = picture_table(content, path, path.parent, root)
    entries: dict[Any, list[Any]] = {}
    for annotation in need(content, "annotations", path):
        entries.setdefault(need(annotation, "image_id", f"{path}: annotation"), []).append(annotation)
    for number, group in entries.items():
        picture = pictures.get(number) or need({}, "image", f"{path}: image {number}")
        camera = (numbers(picture.entry, "f", (2,), picture.where), numbers(picture.entry, "c", (2,), picture.where))
        roots = np.stack([_cam(annotation, path)[MUCO21.root] for annotation in group])
        person = partial(_person, root, path, picture, *camera)
        people.collect([group[index] for index in kept(roots)], person)
    return people.dataset(f"{path}: no people in it; fetch the file again")


def beside(root: Path, file: str) -> Path:
    """The annotation file in ROOT/data or ROOT itself."""
    return root / "data" / file if (root / "data").is_dir() else root / file


def kept(roots: np.ndarray) -> list[int]:
    """Indices of the people to keep, of pelvis positions (N, 3) camera mm: the nearest first."""
    nearest = int(roots[:, 2].argmin()) if not np.isnan(roots[:, 2]).all() else 0
    gap = roots[:, None] - roots[None]
    far = (np.linalg.norm(gap[..., :2], axis=-1) >= APART) & (np.linalg.norm(gap, axis=-1) >= APART)
    np.fill_diagonal(far, True)
    return [nearest, *(index for index in range(len(roots)) if index != nearest and far[index].all())]


def _cam(annotation: Any, path: Path) -> np.ndarray:
    where = f"{path}: annotation {annotation.get('id', '')} of image {annotation['image_id']}"
    return numbers(annotation, "keypoints_cam", (len(MUCO21), 3), where)


def _person(root: Path, path: Path, picture: Picture, f: np.ndarray, c: np.ndarray, annotation: Any) -> Person:
    where = f"{path}: annotation {annotation.get('id', '')} of image {annotation['image_id']}"
    cam = in_front(finite(_cam(annotation, path), where), where)
    px = finite(numbers(annotation, "keypoints_img", (len(MUCO21), 2), where), where)
    bbox = box(annotation, where, picture)
    present(root, picture, where)
    return Person(picture, bbox, px, cam, np.ones(len(MUCO21)), f, c)
