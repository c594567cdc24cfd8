"""The flip test and predicted root depths, calculated by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from arch.space import preset
from explore.data.crop import affine, to_camera
from explore.data.skeleton import Skeleton
from explore.evaluation.metrics import mpjpe
from explore.train.loop import predict

# root, right and left
SKELETON = Skeleton("three", ("Pelvis", "R_Hip", "L_Hip"), (-1, 0, 0), ((1, 2),))


class Answers(nn.Module):
    """Predict fixed coordinates in heatmap cells: the first ones if the left half of the image is brighter."""

    def __init__(self, bright_left: list[list[float]], bright_right: list[list[float]]) -> None:
        super().__init__()
        self.arch = preset("paper-XS-relu@64").replace(num_joints=3)
        self.answers = torch.tensor([bright_left, bright_right])
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[3] // 2
        turned = (x[..., :half].mean((1, 2, 3)) < x[..., half:].mean((1, 2, 3))).long()
        return self.answers[turned]


def test_flip_test_averages_both_predictions():
    cells = preset("paper-XS-relu@64").heatmap_size
    assert cells == 8
    picture = np.zeros((1, 64, 64, 3), np.uint8)
    picture[:, :, :32] = 255
    net = Answers(
        [[4.0, 4.0, 4.0], [3.0, 5.0, 4.5], [5.5, 5.0, 3.5]],
        [[3.0, 4.5, 4.0], [2.0, 6.0, 3.0], [5.5, 5.0, 4.0]],
    )  # fmt: skip
    found = predict(net, picture, flip_order=SKELETON.flip_order)[0] * cells
    # the mirrored picture's right is the left: x 8 - 3 = 5 for the root, 8 - 5.5 = 2.5 right, 8 - 2 = 6 left
    by_hand = [
        [(4 + 5) / 2, (4 + 4.5) / 2, 4.0],
        [(3 + 2.5) / 2, 5.0, (4.5 + 4) / 2],
        [(5.5 + 6) / 2, (5 + 6) / 2, (3.5 + 3) / 2],
    ]
    np.testing.assert_allclose(found, by_hand, atol=1e-5)


def test_root_depth_scales_camera_coordinates():
    # f 100 px; the root in the middle, two joints 10 px right of it and 20 px below; all as deep as the root
    f, c = np.array([[100.0, 100.0]]), np.array([[50.0, 50.0]])
    box = np.array([10.0, 10.0, 80.0, 80.0])  # of a crop from 0 to 100
    coords = np.array([[[0.5, 0.5, 0.5], [0.6, 0.5, 0.5], [0.5, 0.7, 0.75]]])
    matrix = affine(box, 64)[None]
    true = to_camera(coords, matrix, 64, f, c, np.array([1000.0]))
    np.testing.assert_allclose(true, [[[0, 0, 1000], [100, 0, 1000], [0, 300, 1500]]], atol=1e-9)
    detected = to_camera(coords, matrix, 64, f, c, np.array([1200.0]))
    np.testing.assert_allclose(detected, [[[0, 0, 1200], [120, 0, 1200], [0, 340, 1700]]], atol=1e-9)
    # roots on each other: 0, 20 and 40 mm apart, whatever the root's own depth
    assert mpjpe(detected, true, 0) == pytest.approx(20.0)
