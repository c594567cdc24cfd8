"""MuCo-3DHP: people of MPI-INF-3DHP composited into shared images, 21 joints. A training set.

ROOT/data/MuCo-3DHP.json   images {id, file_name, width, height, f, c}, annotations {image_id, bbox,
                           keypoints_img 21 x 2 px, keypoints_cam 21 x 3 mm}
ROOT/data/...              images, beside the file (data/ may be left out)

The nearest person of an image is kept. Others are kept if their pelvis is at least 500 mm from every other pelvis, in
3D and in the image plane: closer people overlap.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from explore.data.readers import common
from explore.data.sample import Dataset
from explore.data.sample_errors import SampleErrors
from explore.data.skeleton import MUCO21

MIN_DISTANCE = 500.0  # mm


def load(root: str | Path, split: str, options: None = None, errors: SampleErrors | None = None) -> Dataset:
    """Read the training split. Raises InputError by the rule of explore.data.sample_errors."""
    builder = common.DatasetBuilder("muco", split, Path(root), MUCO21, errors or SampleErrors())
    path = find_annotations(builder.root, builder.file_of_split({"train": "MuCo-3DHP.json"}))
    content = common.read_object(path, builder.digest)
    images = common.image_table(content, path, path.parent, builder.root)
    people: dict[Any, list[Any]] = {}
    for annotation in common.require_list(content, "annotations", path):
        people.setdefault(common.require_id(annotation, "image_id", f"{path}: annotation"), []).append(annotation)

    def name(annotation: Any) -> str:
        return f"{path}: annotation {annotation.get('id', '')} of image {annotation['image_id']}"

    def camera_joints(annotation: Any) -> np.ndarray:
        return common.require_array(annotation, "keypoints_cam", (len(MUCO21), 3), name(annotation))

    def person(annotation: Any) -> common.Person:
        where = name(annotation)
        image = common.find_image(images, annotation, where)
        f, c = (common.require_array(image.entry, key, (2,), image.where) for key in ("f", "c"))
        cam = camera_joints(annotation)
        px = common.require_array(annotation, "keypoints_img", (len(MUCO21), 2), where)
        bbox = common.require(annotation, "bbox", where)
        return common.Person(where, image, bbox, px, cam, common.located(annotation, cam, where), f, c)

    for group in people.values():
        roots = np.stack([camera_joints(annotation)[MUCO21.root] for annotation in group])
        builder.collect([group[index] for index in separated(roots)], person)
    return builder.build(f"{path}: no people; fetch the file again")


def find_annotations(root: Path, file: str) -> Path:
    """Return the path of an annotation file, in ROOT/data or in ROOT."""
    return root / "data" / file if (root / "data").is_dir() else root / file


def separated(roots: np.ndarray) -> list[int]:
    """Return the indices of the people to keep, nearest first. roots: pelvis positions (N, 3), camera mm.

    People whose pelvis has no position in front of the camera come last; they are close to nobody.
    """
    known = np.isfinite(roots).all(1) & (roots[:, 2] > 0)
    depth = np.where(known, roots[:, 2], np.inf)
    nearest = int(depth.argmin())
    gap = roots[:, None] - roots[None]
    near = (np.linalg.norm(gap[..., :2], axis=-1) < MIN_DISTANCE) | (np.linalg.norm(gap, axis=-1) < MIN_DISTANCE)
    near &= known[:, None] & known & ~np.eye(len(roots), dtype=bool)
    kept = [index for index in range(len(roots)) if index == nearest or not near[index].any()]
    return sorted(kept, key=lambda index: (index != nearest, not known[index], index))
