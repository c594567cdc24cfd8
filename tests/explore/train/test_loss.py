"""The training loss."""

from __future__ import annotations

import numpy as np
import torch

from explore.train.loss import pose_loss
from tests.helpers.training import tiny_arch


def test_a_correct_prediction_has_a_lower_loss_than_a_wrong_one() -> None:
    arch = tiny_arch()
    target = torch.full((1, arch.num_joints, 3), 0.5)
    visible = torch.ones(1, arch.num_joints)
    right = torch.full((1, arch.num_joints, arch.depth_bins, arch.heatmap_size, arch.heatmap_size), -10.0)
    middle = arch.heatmap_size // 2
    right[:, :, middle - 1 : middle + 1, middle - 1 : middle + 1, middle - 1 : middle + 1] = 10.0
    wrong = right.roll(3, dims=4)
    shape = (1, -1, arch.heatmap_size, arch.heatmap_size)
    good = pose_loss(right.reshape(shape), target, visible, arch, 0.1)
    bad = pose_loss(wrong.reshape(shape), target, visible, arch, 0.1)
    assert good < bad
    assert np.isclose(float(pose_loss(right.reshape(shape), target, visible, arch, 0.0)), 0.0, atol=1e-4)
    hidden = pose_loss(wrong.reshape(shape), target, torch.zeros_like(visible), arch, 0.1)
    assert float(hidden) == 0.0
