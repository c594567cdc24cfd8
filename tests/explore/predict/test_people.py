"""Regions of interest of people who stand close together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from explore.data.images import read_image
from explore.predict.detector import Detector
from tests.helpers.layouts import REAL_DATA

STREET = REAL_DATA / "photo" / "street.jpg"
BOXES = ([139.41, 102.25, 222.39, 241.57], [287.17, 61.52, 74.88, 165.61], [540.04, 48.81, 99.96, 223.36],
         [372.58, 170.84, 266.63, 217.19])  # fmt: skip


@pytest.mark.skipif(not Path(STREET).is_file(), reason=f"no street photo at {STREET}")
def test_the_circle_is_that_of_the_person_in_the_box():
    image, detector = read_image(STREET), Detector()
    hips = []
    for box in map(np.array, BOXES):
        found = detector.circle(image, box)
        assert found is not None and (found[0] >= box[:2]).all() and (found[0] <= box[:2] + box[2:]).all()
        hips.append(found[0])
    assert min(np.linalg.norm(hips[i] - hips[j]) for i in range(4) for j in range(i)) > 30
