"""A volume of scores a joint (Sun et al. 2018; paper, Equation 3): what MobileHumanPose has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from arch.heads.axis import Array, centres, mean_cell, softmax
from arch.spec import Op

if TYPE_CHECKING:
    from torch import Tensor

    from arch.heads import Marginals
    from arch.space import Arch

MAPS, DEPTH_BINS, DEPTH_VALUES = True, True, False


def channels(arch: Arch) -> int:
    return arch.joints * arch.depth_bins


def readout(arch: Arch) -> tuple[Op, ...]:
    return ()


def raw_shape(arch: Arch) -> tuple[int, ...]:
    return channels(arch), arch.heatmap, arch.heatmap


def decode(raw: Array, arch: Arch) -> tuple[Array, Array]:
    batch, joints, side = raw.shape[0], arch.joints, arch.heatmap
    volume = softmax(raw.reshape(batch, joints, -1)).reshape(batch, joints, arch.depth_bins, side * side)
    plane = volume.sum(2)
    maps, places = plane.reshape(batch, joints, side, side), centres(side)
    z = volume.sum(3) @ centres(arch.depth_bins)
    return np.stack([maps.sum(2) @ places, maps.sum(3) @ places, z], 2), plane.max(2)


def expectation(raw: Tensor, arch: Arch) -> tuple[tuple[Tensor, Tensor, Tensor], Marginals]:
    batch, joints, side = raw.shape[0], arch.joints, arch.heatmap
    volume = raw.reshape(batch, joints, -1).softmax(2).reshape(batch, joints, arch.depth_bins, side, side)
    plane_xy, plane_dx = volume.sum(2), volume.sum(3)
    x, y, z = plane_xy.sum(2), plane_xy.sum(3), plane_dx.sum(3)
    return (mean_cell(x), mean_cell(y), mean_cell(z)), (x, y, z)
