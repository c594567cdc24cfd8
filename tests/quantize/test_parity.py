from __future__ import annotations

import numpy as np
import pytest

from quantize.parity import crop_mm, deviation


def test_deviation_is_the_distance_of_each_joint() -> None:
    reference = np.zeros((10, 2, 3))
    ours = reference.copy()
    ours[:, 1] = (3, 4, 0)
    ours[0, 0, 2] = 10
    found = deviation(ours, reference)
    assert found.joint_mean == [1, 5] and found.joint_max == [10, 5]
    assert found.mean == 3 and found.max == 10
    assert found.joint_p95[1] == 5 and 0 < found.joint_p95[0] < 10


def test_shapes_must_agree() -> None:
    for ours, reference in (((1, 2, 3), (1, 3, 3)), ((0, 2, 3), (0, 2, 3)), ((2, 3), (2, 3))):
        with pytest.raises(ValueError, match="deviation: shapes"):
            deviation(np.zeros(ours), np.zeros(reference))


def test_crop_mm() -> None:
    assert np.array_equal(crop_mm(np.array([[[0.5, 1.0, 0.0]]])), [[[0, 1000, -1000]]])
