"""Writing of labelled people as a data set for `custom:PATH` (explore.data.readers.custom)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from arch.files import write_atomic
from explore.data.skeleton import Skeleton
from explore.data.split import moment, natural_key

SPLITS = ("train", "test")


@dataclass(frozen=True, eq=False)
class Labelled:
    """One labelled person.

    image:        file relative to images/, of size (width, height) px
    f, c:         (2,) focal lengths and principal point, px
    bbox:         (4,) x, y, w, h px
    cam:          (J, 3) camera mm; NaN for joints without coordinates, whose weight is 0
    vis:          (J,) weight of each joint, 0 to 1; the root's is above 0
    depth_weight: weight of the depths, 0 to 1
    unit:         number of the photo or video; the images of one unit are in one split
    mask:         file relative to masks/, or empty
    extra:        further keys of the annotation
    """

    image: str
    size: tuple[int, int]
    f: np.ndarray
    c: np.ndarray
    bbox: np.ndarray
    cam: np.ndarray
    vis: np.ndarray
    depth_weight: float
    unit: int
    mask: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


def write_annotations(
    folder: Path, skeleton: Skeleton, people: Sequence[Labelled], test_fraction: float
) -> dict[str, list[Labelled]]:
    """Write FOLDER/annotations/{train,test}.json and return the people of each split.

    Units are the subjects of the set. If there is only one, it has no subject, and the last frames are the test split.
    A split without people has no file.
    """
    parts = split_by_unit(people, test_fraction)
    several = len({person.unit for person in people}) > 1
    for name in SPLITS:
        path = folder / "annotations" / f"{name}.json"
        if parts[name]:
            write_atomic(path, json.dumps(_coco(skeleton, parts[name], several), separators=(",", ":")))
        else:
            path.unlink(missing_ok=True)
    return parts


def split_by_unit(people: Sequence[Labelled], fraction: float) -> dict[str, list[Labelled]]:
    """Return the train and test people: about `fraction` for testing, in whole units if there are several.

    Units are chosen by their numbers, so that the choice hardly depends on units that are added later. A unit that is
    much larger than the fraction is not chosen; if all are, the smallest is.
    """
    count = Counter(person.unit for person in people)
    wanted = fraction * len(people)
    if len(count) > 1:
        test: set[int] = set()
        order = sorted(count, key=_shuffled)
        for unit in order:
            total = sum(count[chosen] for chosen in test)
            if total < wanted and len(test) + 1 < len(count) and total + count[unit] <= 1.5 * wanted:
                test.add(unit)
        if wanted and not test:
            test.add(min(order, key=lambda unit: count[unit]))
        return {name: [p for p in people if (p.unit in test) == (name == "test")] for name in SPLITS}
    moments = sorted({moment(person.image) for person in people}, key=natural_key)
    last = set(moments[len(moments) - round(fraction * len(moments)) :])
    return {name: [p for p in people if (moment(p.image) in last) == (name == "test")] for name in SPLITS}


def _shuffled(unit: int) -> int:
    return unit * 2654435761 % 2**32  # multiplicative hash: numbers that follow each other come apart


def _coco(skeleton: Skeleton, people: Sequence[Labelled], with_subjects: bool) -> dict[str, Any]:
    numbers: dict[str, int] = {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for person in people:
        if person.image not in numbers:
            numbers[person.image] = len(numbers) + 1
            width, height = person.size
            images.append(
                {
                    "id": numbers[person.image],
                    "file_name": person.image,
                    "width": width,
                    "height": height,
                    "f": _rounded(person.f, 2),
                    "c": _rounded(person.c, 2),
                }
            )
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": numbers[person.image],
                "bbox": _rounded(person.bbox, 2),
                "keypoints_cam": _rounded(np.nan_to_num(person.cam), 1),
                "keypoints_vis": (person.vis > 0).astype(int).tolist(),
                "visibility": _rounded(person.vis, 3),
                "depth_weight": round(float(person.depth_weight), 3),
                **({"mask": person.mask} if person.mask else {}),
                **({"subject": person.unit} if with_subjects else {}),
                **person.extra,
            }
        )
    return {"categories": [category_of(skeleton)], "images": images, "annotations": annotations}


def category_of(skeleton: Skeleton) -> dict[str, Any]:
    """Return the category of people with this skeleton, as COCO's: its bones count joints from 1."""
    return {
        "name": "person",
        "keypoints": skeleton.names,
        "skeleton": [[parent + 1, child + 1] for parent, child in skeleton.edges],
        "root": skeleton.names[skeleton.root],
    }


def _rounded(values: np.ndarray, digits: int) -> Any:
    return np.round(np.asarray(values, np.float64), digits).tolist()
