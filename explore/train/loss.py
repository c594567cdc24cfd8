"""The training loss: L1 on coordinates (paper, Equation 4) beside the cross entropy of the heatmap's marginals."""

from __future__ import annotations

import torch
from torch import Tensor

from arch.head import decode_with_marginals
from arch.space import Arch

SPREAD_CELLS = 0.8  # standard deviation of a marginal's target


def pose_loss(
    raw: Tensor,
    target: Tensor,
    visible: Tensor,
    arch: Arch,
    heatmap_weight: float,
    has_depth: Tensor | None = None,
    seen: Tensor | None = None,
) -> Tensor:
    """Loss of a batch.

    Args:
        raw: output of `PoseNet.forward_heatmaps`.
        target: (B, J, 3) coordinates as shares of the crop's side and of the depth range.
        visible: (B, J) weight of each joint, 0 where it is unknown or out of range.
        heatmap_weight: weight of the marginals' cross entropy.
        has_depth: (B,) 0 for samples whose z is unknown and costs nothing; all have depth where it is left out.
        seen: () by how many joints the sum is divided; the visible ones' number where it is left out.
    """
    coordinates, marginals = decode_with_marginals(raw, arch)
    scale = torch.tensor([arch.heatmap, arch.heatmap, arch.depth_bins], dtype=raw.dtype, device=raw.device)
    seen = visible.sum().clamp(min=1) if seen is None else seen
    weight = [visible, visible, visible if has_depth is None else visible * has_depth[:, None]]
    distance = (coordinates / scale - target).abs()
    loss = (distance * torch.stack(weight, 2)).sum() / (3 * seen)
    for axis, marginal in enumerate(marginals):
        if marginal is None or not heatmap_weight:
            continue
        wanted = gaussian(target[..., axis], marginal.shape[2])
        entropy = -(wanted * (marginal + 1e-6).log()).sum(2)
        loss = loss + heatmap_weight * (entropy * weight[axis]).sum() / seen
    return loss


def gaussian(place: Tensor, cells: int) -> Tensor:
    """(B, J) places in [0, 1] to (B, J, cells) distributions around them."""
    centres = (torch.arange(cells, dtype=place.dtype, device=place.device) + 0.5) / cells
    weights = torch.exp(-0.5 * ((centres - place[..., None]) * cells / SPREAD_CELLS) ** 2)
    return weights / (weights.sum(2, keepdim=True) + 1e-6)
