"""Detection and regions of interest of several people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from explore.data.images import read_image
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.frame import compose_frame, render_jpeg
from explore.predict.detector import Detector
from tests.helpers.layouts import REAL_DATA

STREET = REAL_DATA / "photo" / "street.jpg"
BOXES = ([139.41, 102.25, 222.39, 241.57], [287.17, 61.52, 74.88, 165.61], [540.04, 48.81, 99.96, 223.36],
         [372.58, 170.84, 266.63, 217.19])  # fmt: skip
PEOPLE = (1, 2, 4, 7)  # rendered, upright


@pytest.mark.skipif(not Path(STREET).is_file(), reason=f"no street photo at {STREET}")
def test_the_circle_is_that_of_the_person_in_the_box():
    image, detector = read_image(STREET), Detector()
    hips = []
    for box in map(np.array, BOXES):
        found = detector.circle(image, box)
        assert found is not None and (found[0] >= box[:2]).all() and (found[0] <= box[:2] + box[2:]).all()
        hips.append(found[0])
    assert min(np.linalg.norm(hips[i] - hips[j]) for i in range(4) for j in range(i)) > 30


def rendered(index: int, height: int, side: int) -> np.ndarray:
    """Return a strip of `side` px width around a rendered person of `height` px, RGB."""
    config = SyntheticConfig(size=256)
    frame = compose_frame(config, "test", index)
    image = cv2.imdecode(np.frombuffer(render_jpeg(config, "test", index, frame), np.uint8), cv2.IMREAD_COLOR_RGB)
    x, y, w, h = frame.record["bbox"]
    zoom = height / h
    place = np.array([[zoom, 0, side / 2 - zoom * (x + w / 2)], [0, zoom, 0.1 * height - zoom * y]])
    return cv2.warpAffine(
        image, place, (side, round(1.2 * height)), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )


def test_people_side_by_side_are_all_found():
    group = np.hstack([rendered(index, 320, 140) for index in PEOPLE])
    assert len(Detector().detect(group)) == len(PEOPLE)


def test_small_people_behind_others_are_found():
    image = np.full((430, 640, 3), 120, np.uint8)
    for place, index in ((0, PEOPLE[0]), (400, PEOPLE[1])):
        image[30:414, place : place + 240] = rendered(index, 320, 240)
    image[100:196, 280:360] = rendered(PEOPLE[2], 80, 80)
    assert len(Detector().detect(image)) == 3
