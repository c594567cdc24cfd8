"""2.5D (Iqbal et al. 2018): a map of scores and a map of depths a joint; depth is read where the scores are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from arch.heads.axis import Array, centres, mean_cell, softmax
from arch.spec import Op

if TYPE_CHECKING:
    from torch import Tensor

    from arch.heads import Marginals
    from arch.space import Arch

MAPS, DEPTH_BINS, DEPTH_VALUES = True, False, True


def channels(arch: Arch) -> int:
    return 2 * arch.joints


def readout(arch: Arch) -> tuple[Op, ...]:
    return ()


def raw_shape(arch: Arch) -> tuple[int, ...]:
    return channels(arch), arch.heatmap, arch.heatmap


def decode(raw: Array, arch: Arch) -> tuple[Array, Array]:
    batch, joints, side = raw.shape[0], arch.joints, arch.heatmap
    plane = softmax(raw[:, :joints].reshape(batch, joints, -1))
    z = ((plane * raw[:, joints:].reshape(batch, joints, -1)).sum(2) + 0.5) * arch.depth_bins
    maps, places = plane.reshape(batch, joints, side, side), centres(side)
    return np.stack([maps.sum(2) @ places, maps.sum(3) @ places, z], 2), plane.max(2)


def expectation(raw: Tensor, arch: Arch) -> tuple[tuple[Tensor, Tensor, Tensor], Marginals]:
    batch, joints, side = raw.shape[0], arch.joints, arch.heatmap
    plane = raw[:, :joints].reshape(batch, joints, -1).softmax(2)
    z = ((plane * raw[:, joints:].reshape(batch, joints, -1)).sum(2) + 0.5) * arch.depth_bins
    maps = plane.reshape(batch, joints, side, side)
    x, y = maps.sum(2), maps.sum(3)
    return (mean_cell(x), mean_cell(y), z), (x, y, None)
