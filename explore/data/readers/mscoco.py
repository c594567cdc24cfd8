"""COCO keypoints: people in everyday images, 17 keypoints in 2D. Thorax and Pelvis are appended as midpoints.

ROOT/annotations/person_keypoints_{train,val}2017.json
ROOT/images/{train,val}2017/...                        (or ROOT/{train,val}2017/...)

Crowds and people without keypoints are left out. The camera is unknown: f is set to 1500 px and c to the image centre.
The test split is val2017.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from explore.data.readers import common
from explore.data.readers.mpii import FOCAL
from explore.data.sample import Dataset
from explore.data.sample_errors import SampleErrors
from explore.data.skeleton import COCO17, COCO19


def load(root: str | Path, split: str, options: None = None, errors: SampleErrors | None = None) -> Dataset:
    """Read one split. Raises InputError by the rule of explore.data.sample_errors."""
    builder = common.DatasetBuilder("mscoco", split, Path(root), COCO19, errors or SampleErrors())
    part = builder.file_of_split({"train": "train2017", "test": "val2017"})
    path = builder.root / "annotations" / f"person_keypoints_{part}.json"
    images = builder.root / "images" / part

    def person(annotation: Any, image: common.ImageEntry, where: str) -> common.Person:
        px, vis = common.flat_keypoints(annotation, len(COCO17), where)
        px, vis, _ = common.with_coco_midpoints(px, vis)
        bbox = common.require(annotation, "bbox", where)
        return common.Person(where, image, bbox, px, None, vis, np.full(2, FOCAL), np.array(image.size) / 2)

    builder.collect_coco(path, images if images.is_dir() else builder.root / part, person)
    return builder.build(f"{path}: no person with keypoints; fetch the file again")
