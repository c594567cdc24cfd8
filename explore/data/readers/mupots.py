"""MuPoTS-3D: 20 indoor and outdoor sequences of several people, 17 joints. The test set for MuCo-3DHP.

ROOT/data/MuPoTS-3D.json
    images {id, file_name TS1/img_000000.jpg, width, height, intrinsic [fx, fy, cx, cy]},
    annotations {image_id, bbox, keypoints_img 17 x 2 px, keypoints_cam 17 x 3 mm, is_valid}
ROOT/data/MultiPersonTestSet/TS1/..
    images (data/ may be left out)

Boxes and root depths are the annotated ones ("all ground truth", Table 9 of the paper). Joints are ordered as the 21
of MuCo-3DHP, with hands and toes unknown. The action of a sample is its sequence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from explore.data.readers import common
from explore.data.readers.muco import find_annotations
from explore.data.sample import Dataset
from explore.data.sample_errors import SampleErrors
from explore.data.skeleton import MUCO21

ANNOTATED = 17  # the first joints of MUCO21
VISIBLE = (np.arange(len(MUCO21)) < ANNOTATED).astype(float)


def load(root: str | Path, split: str, options: None = None, errors: SampleErrors | None = None) -> Dataset:
    """Read the test split. Raises InputError by the rule of explore.data.sample_errors."""
    builder = common.DatasetBuilder("mupots", split, Path(root), MUCO21, errors or SampleErrors())
    path = find_annotations(builder.root, builder.file_of_split({"test": "MuPoTS-3D.json"}))

    def person(annotation: Any, image: common.ImageEntry, where: str) -> common.Person | None:
        if not common.require(annotation, "is_valid", where):
            return None
        camera = common.require_array(image.entry, "intrinsic", (4,), image.where)
        cam = common.require_array(annotation, "keypoints_cam", (ANNOTATED, 3), where)
        px = common.require_array(annotation, "keypoints_img", (ANNOTATED, 2), where)
        vis = np.pad(common.located(annotation, cam, where), (0, len(MUCO21) - ANNOTATED))
        return common.Person(
            where, image, common.require(annotation, "bbox", where), pad(px, 0.0), pad(cam, np.nan), vis,
            camera[:2], camera[2:], action=Path(image.file).parent.name,
        )  # fmt: skip

    builder.collect_coco(path, path.parent / "MultiPersonTestSet", person)
    return builder.build(f"{path}: no valid person; fetch the file again")


def pad(joints: np.ndarray, value: float) -> np.ndarray:
    """Return joints (17, D) extended to the 21 of MUCO21, with the new rows set to `value`."""
    return np.pad(joints, ((0, len(MUCO21) - ANNOTATED), (0, 0)), constant_values=value)
