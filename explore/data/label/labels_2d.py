"""2D labels of photos, in a COCO-style JSON file, that pseudo-labels are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from explore.data.readers import common
from explore.data.readers.custom import find_category
from explore.data.skeleton import Skeleton, joint_keys

LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")  # joints that data sets define alike
MIN_LABELLED = 4  # joints


@dataclass(frozen=True, eq=False)
class LabelledPeople2D:
    """2D labels of one person: names of the joints, px (J, 2) of the photo, and whether each is labelled (J,)."""

    names: tuple[str, ...]
    px: np.ndarray
    known: np.ndarray


def read_labels_2d(path: Path, photos: Sequence[str]) -> dict[str, list[LabelledPeople2D]]:
    """Return the people with 2D labels of each photo. Photos are found by the last parts of their paths.

    Raises:
        InputError: the file is not COCO-style JSON with keypoints.
    """
    content = common.read_object(path)
    category = find_category(content, path)
    names = tuple(common.require_list(category, "keypoints", f"{path}: category"))
    files = {
        common.require_id(image, "id", f"{path}: image"): str(common.require(image, "file_name", f"{path}: image"))
        for image in common.require_list(content, "images", path)
    }
    people: dict[str, list[LabelledPeople2D]] = {}
    for annotation in common.require_list(content, "annotations", path):
        where = f"{path}: annotation {common.require(annotation, 'id', path)}"
        if annotation.get("category_id", category.get("id")) != category.get("id"):
            continue
        px, known = common.flat_keypoints(annotation, len(names), where)
        file = files.get(common.require_id(annotation, "image_id", where))
        if file is not None and known.any():
            people.setdefault(file, []).append(LabelledPeople2D(names, px, known > 0))
    by_name: dict[str, list[str]] = {}
    for file in people:
        by_name.setdefault(PurePath(file).name, []).append(file)
    return {
        photo: people[file]
        for photo in photos
        for file in by_name.get(PurePath(photo).name, [])
        if PurePath(photo).parts[-len(PurePath(file).parts) :] == PurePath(file).parts
    }


def label_error(px: np.ndarray, skeleton: Skeleton, people: Sequence[LabelledPeople2D]) -> float | None:
    """Return the median distance of limb joints (J, 2) px from the most similar person, relative to that one's extent.

    None: nobody has enough labelled joints to compare with.
    """
    own = {key: index for index, key in enumerate(joint_keys(skeleton.names)) if key[1] in LIMBS}
    errors = []
    for person in people:
        keys = joint_keys(person.names)
        shared = [(own[key], index) for index, key in enumerate(keys) if key in own and person.known[index]]
        if len(shared) < MIN_LABELLED:
            continue
        mine, theirs = (list(column) for column in zip(*shared, strict=True))
        extent = max(float(np.ptp(person.px[theirs], axis=0).max()), 1.0)
        errors.append(float(np.median(np.linalg.norm(px[mine] - person.px[theirs], axis=1))) / extent)
    return min(errors) if errors else None
