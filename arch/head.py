"""From the raw output of a head to coordinates, in torch; `arch.decode` is the same in numpy.

Coordinates are (x, y, z) in heatmap cells, the centre of cell i at i + 0.5, so that x * input / heatmap is a place
in the crop in pixels and (z / depth_bins - 0.5) * 2000 mm a depth behind the root joint (paper, Section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from arch.space import Arch
from arch.spec import SIMCC_SPLIT


def centres(cells: int, like: Tensor, step: float = 1.0) -> Tensor:
    """Centres of `cells` cells of width `step`."""
    return (torch.arange(cells, dtype=like.dtype, device=like.device) + 0.5) * step


def marginals(raw: Tensor, arch: Arch) -> tuple[Tensor, Tensor, Tensor | None]:
    """Probabilities along x, y and z, each (B, J, cells); a depthmap head has none along z."""
    batch, joints = raw.shape[0], arch.joints
    if arch.head == "simcc":
        plane = SIMCC_SPLIT * arch.heatmap
        x, y, z = torch.split(raw, [plane, plane, arch.depth_bins], 2)
        return x.softmax(2), y.softmax(2), z.softmax(2)
    side = raw.shape[2]
    if arch.head == "volumetric":
        volume = raw.reshape(batch, joints, -1).softmax(2).reshape(batch, joints, arch.depth_bins, side, side)
        plane_xy, plane_dx = volume.sum(2), volume.sum(3)
        return plane_xy.sum(2), plane_xy.sum(3), plane_dx.sum(3)
    maps = raw[:, :joints].reshape(batch, joints, -1).softmax(2).reshape(batch, joints, side, side)
    return maps.sum(2), maps.sum(3), None


def decode(raw: Tensor, arch: Arch) -> Tensor:
    """Raw head output to coordinates (B, J, 3) in cells: the expectation of the softmax (paper, Equation 3)."""
    return decode_with_marginals(raw, arch)[0]


def decode_with_marginals(raw: Tensor, arch: Arch) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor | None]]:
    """Coordinates (B, J, 3) in cells and the probabilities they were read from (see `marginals`)."""
    along_x, along_y, along_z = marginals(raw, arch)
    step = 1 / SIMCC_SPLIT if arch.head == "simcc" else 1.0
    x = along_x @ centres(along_x.shape[2], raw, step)
    y = along_y @ centres(along_y.shape[2], raw, step)
    if along_z is not None:
        z = along_z @ centres(arch.depth_bins, raw)
    else:
        batch, joints = raw.shape[0], arch.joints
        weights = raw[:, :joints].reshape(batch, joints, -1).softmax(2)
        depth = raw[:, joints:].reshape(batch, joints, -1)
        z = ((weights * depth).sum(2) + 0.5) * arch.depth_bins
    return torch.stack([x, y, z], 2), (along_x, along_y, along_z)
