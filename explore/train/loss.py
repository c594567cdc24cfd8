"""Training loss: L1 on coordinates (paper, Equation 4) plus the cross entropy of the heatmap's marginals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arch.decode import decode_with_marginals
from arch.space import Arch

TARGET_SIGMA = 0.8  # bins of a marginal: standard deviation of a target


def pose_loss(
    raw: Tensor,
    target: Tensor,
    visible: Tensor,
    arch: Arch,
    heatmap_weight: float,
    depth_weight: Tensor | None = None,
    num_visible: Tensor | None = None,
    negative: Tensor | None = None,
) -> Tensor:
    """Return the loss of a batch, a scalar.

    Args:
        raw: output of `PoseNet.forward_heatmaps`.
        target: (B, J, 3) coordinates as fractions of the crop's side (x, y) and of the depth range (z).
        visible: (B, J) weight of each joint; 0 if it is unknown or out of range.
        heatmap_weight: weight of the cross entropy of the marginals.
        depth_weight: (B,) weight of z; 0 for samples without a known z. Default: 1 for all samples.
        num_visible: scalar number of joints to divide the sum by. Default: the sum of `visible`.
        negative: (B,) 1 for images without people, whose marginals are drawn to the uniform distribution, that is, to
            the lowest confidence. Default: no such image.
    """
    coordinates, marginals = decode_with_marginals(raw, arch)
    count = visible.sum().clamp(min=1) if num_visible is None else num_visible
    weight = [visible, visible, visible if depth_weight is None else visible * depth_weight[:, None]]
    distance = (as_fractions(coordinates, arch) - target).abs()
    loss = (distance * torch.stack(weight, 2)).sum() / (3 * count)
    for axis, marginal in enumerate(marginals):
        if marginal is None or not heatmap_weight:
            continue
        wanted = gaussian(target[..., axis], marginal.shape[2])
        entropy = -(wanted * (marginal + 1e-6).log()).sum(2)
        loss = loss + heatmap_weight * (entropy * weight[axis]).sum() / count
        if negative is not None:
            divergence = -(marginal + 1e-6).log().mean(2) - math.log(marginal.shape[2])  # from the uniform distribution
            loss = loss + heatmap_weight * (divergence * negative[:, None]).sum() / count
    return loss


def as_fractions(coordinates: Tensor, arch: Arch) -> Tensor:
    """Return coordinates (B, J, 3) in heatmap cells as fractions of the crop's side and of the depth range."""
    return coordinates / coordinates.new_tensor([arch.heatmap_size, arch.heatmap_size, arch.depth_bins])


def gaussian(centre: Tensor, cells: int) -> Tensor:
    """Return normal distributions (B, J, cells) around the centres (B, J), given in [0, 1]."""
    positions = (torch.arange(cells, dtype=centre.dtype, device=centre.device) + 0.5) / cells
    weights = torch.exp(-0.5 * ((positions - centre[..., None]) * cells / TARGET_SIGMA) ** 2)
    return weights / (weights.sum(2, keepdim=True) + 1e-6)
