"""A set of your own: COCO-style JSON with joints in 3D and the camera's intrinsics. No more than this is needed:

    {"categories": [{"keypoints": ["Pelvis", "R_Hip", "L_Hip", "Neck"], "skeleton": [[1, 2], [1, 3], [1, 4]]}],
     "images": [
      {"id": 1, "file_name": "a/0001.jpg", "width": 1280, "height": 720, "f": [1100, 1100], "c": [640, 360]}],
     "annotations": [
      {"id": 1, "image_id": 1, "bbox": [410, 80, 300, 600],
       "keypoints_cam": [[0, 0, 4000], [-130, 10, 4000], [130, 10, 4000], [0, -520, 4020]],
       "keypoints_vis": [1, 1, 1, 1],
       "subject": 3, "action": "Walking"}]}

ROOT/annotations/{train,test}.json and pictures in ROOT/images. Units: px, and mm in the camera's frame (x right,
y down, z away). Bones (`skeleton`) count joints from 1, as COCO does; `root` in the category names the joint that
depths are relative to, the first where it is left out. What is on the right begins with R_, on the left with L_:
mirrored pictures need it. keypoints_vis, subject and action may be left out. An annotation with COCO's flat
`keypoints` [x, y, visibility, ...] in place of keypoints_cam has no depth, which training then leaves alone; with
both, `keypoints` are the joints' pixels and `data check` compares the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from explore.data.faults import Faults
from explore.data.sample import Dataset
from explore.data.skeleton import Skeleton, made_of
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
    project,
    read_json,
)  # fmt: skip


def load(
    root: str | Path, split: str, options: None = None, name: str = "custom", faults: Faults | None = None
) -> Dataset:
    """Read one split. Raises InputError by the rule of explore.data.faults."""
    root = Path(root)
    path = root / "annotations" / only(split, {"train": "train.json", "test": "test.json"}, name)
    people = Collector(name, split, root, Skeleton("", (), (), ()), faults or Faults())
    content = read_json(path, people.digest)
    skeleton = people.skeleton = skeleton_of(content, path)
    joints = len(skeleton)
    pictures = picture_table(content, path, root / "images", root)

    def person(annotation: Any) -> Person | None:
        where = f"{path}: annotation {need(annotation, 'id', path)}"
        picture = pictures.get(need(annotation, "image_id", where)) or need({}, "image", where)
        f, c = (numbers(picture.entry, key, (2,), picture.where) for key in ("f", "c"))
        vis, px, cam = np.ones(joints), None, None
        if "keypoints" in annotation:
            given = finite(numbers(annotation, "keypoints", (joints, 3), where), where)
            px, vis = given[:, :2], (given[:, 2] > 0).astype(float)
        if "keypoints_vis" in annotation:
            vis = numbers(annotation, "keypoints_vis", (joints,), where)
        if px is None or "keypoints_cam" in annotation:
            cam = finite(numbers(annotation, "keypoints_cam", (joints, 3), where), where)
            in_front(cam[vis > 0], where)
            if not vis[skeleton.root]:
                raise InputError(f"{where}: keypoints_vis hides the root {skeleton.names[skeleton.root]}; it is needed")
        px = project(np.maximum(cam, [-np.inf, -np.inf, 1.0]), f, c) if px is None and cam is not None else px
        assert px is not None
        bbox = box(annotation, where, picture)
        present(root, picture, where)
        return Person(
            picture, bbox, px, cam, vis, f, c, int(annotation.get("subject", 0)), str(annotation.get("action", ""))
        )

    people.collect(need(content, "annotations", path), person)
    return people.dataset(f"{path}: no annotations in it; write some")


def skeleton_of(content: dict[str, Any], path: Path) -> Skeleton:
    """The skeleton that the first category describes."""
    categories = need(content, "categories", path)
    if not isinstance(categories, list) or not categories:
        raise InputError(f"{path}: categories: empty; describe the joints in one")
    category = categories[0]
    names = need(category, "keypoints", f"{path}: category")
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: category: keypoints are no joint names; list at least two")
    sided = [name for name in names if "left" in name.lower() or "right" in name.lower()]
    if sided:
        raise InputError(f"{path}: category: keypoints: {sided[0]} names its side in words; begin it with L_ or R_")
    try:
        edges = [(int(a) - 1, int(b) - 1) for a, b in category.get("skeleton", [])]
        return made_of("custom", names, edges, category.get("root", names[0]))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: category: {error}; correct keypoints, skeleton or root") from None
