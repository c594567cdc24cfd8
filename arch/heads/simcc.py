"""SimCC (Li et al. 2022), with depth: each axis is a classification of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from arch.heads.axis import Array, centres, mean_cell, softmax
from arch.spec import SIMCC_SPLIT, AxisClassifier, Op

if TYPE_CHECKING:
    from torch import Tensor

    from arch.heads import Marginals
    from arch.space import Arch

MAPS, DEPTH_BINS, DEPTH_VALUES = False, True, False


def channels(arch: Arch) -> int:
    return arch.joints


def readout(arch: Arch) -> tuple[Op, ...]:
    return (AxisClassifier(arch.joints, arch.heatmap * arch.heatmap, raw_shape(arch)[1]),)


def raw_shape(arch: Arch) -> tuple[int, ...]:
    return arch.joints, 2 * SIMCC_SPLIT * arch.heatmap + arch.depth_bins


def decode(raw: Array, arch: Arch) -> tuple[Array, Array]:
    fine = SIMCC_SPLIT * arch.heatmap
    x, y, z = softmax(raw[..., :fine]), softmax(raw[..., fine : 2 * fine]), softmax(raw[..., 2 * fine :])
    places: Array = centres(fine) / np.float32(SIMCC_SPLIT)
    return np.stack([x @ places, y @ places, z @ centres(arch.depth_bins)], 2), x.max(-1) * y.max(-1)


def expectation(raw: Tensor, arch: Arch) -> tuple[tuple[Tensor, Tensor, Tensor], Marginals]:
    fine, step = SIMCC_SPLIT * arch.heatmap, 1 / SIMCC_SPLIT
    x, y, z = raw[..., :fine].softmax(2), raw[..., fine : 2 * fine].softmax(2), raw[..., 2 * fine :].softmax(2)
    return (mean_cell(x, step), mean_cell(y, step), mean_cell(z)), (x, y, z)
