"""MPII Human Pose: people in everyday images, 16 joints in 2D. Only the training split is public.

ROOT/annotations/train.json   COCO style, keypoints 16 x 3 (x px, y px, visibility)
ROOT/images/...               image files, ROOT + file_name

People without joints are left out. The camera is unknown: f is set to 1500 px and c to the image centre, as for COCO.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from explore.data.readers import common
from explore.data.sample import Dataset
from explore.data.sample_errors import SampleErrors
from explore.data.skeleton import MPII16

FOCAL = 1500.0  # px


def load(root: str | Path, split: str, options: None = None, errors: SampleErrors | None = None) -> Dataset:
    """Read the training split. Raises InputError by the rule of explore.data.sample_errors."""
    builder = common.DatasetBuilder("mpii", split, Path(root), MPII16, errors or SampleErrors())
    path = builder.root / "annotations" / builder.file_of_split({"train": "train.json"})

    def person(annotation: Any, image: common.ImageEntry, where: str) -> common.Person:
        px, vis = common.flat_keypoints(annotation, len(MPII16), where)
        bbox = common.require(annotation, "bbox", where)
        return common.Person(where, image, bbox, px, None, vis, np.full(2, FOCAL), np.array(image.size) / 2)

    builder.collect_coco(path, builder.root, person)
    return builder.build(f"{path}: no person with joints; fetch the file again")
