"""Soft-argmax decoding: from the raw output of a head to coordinates, in numpy and in torch. Torch is not imported.

Coordinates are (x, y, z) in heatmap cells, with the centre of cell i at i + 0.5: x * input_size / heatmap_size is a
position in the crop in pixels, and (z / depth_bins - 0.5) * DEPTH_RANGE_MM is the depth in mm behind the root joint
(paper, Section 3.2). The module also defines the constants of pre- and postprocessing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from arch.fields import ArchFields
from arch.heads import HEADS
from arch.heads.axis import Array, centres, softmax

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB in [0, 1]
BOX_PADDING = 1.25  # side of the square crop / longer side of the person's box (3DMPPE)
DEPTH_RANGE_MM = 2000.0  # depth covered by the depth bins, with the root joint in the middle
CROP_SIDE_MM = 2000.0  # assumed side of a crop at the root joint (RootNet, Moon et al. 2019, equation 2)


def decode(raw: Array, arch: ArchFields, depth_scale: float = 1.0) -> Array:
    """Decode a raw output (B, *raw_shape) to coordinates (B, J, 3) in heatmap cells; see `decode_with_confidence`."""
    return decode_with_confidence(raw, arch, depth_scale)[0]


def decode_with_confidence(raw: Array, arch: ArchFields, depth_scale: float = 1.0) -> tuple[Array, Array]:
    """Decode a raw output (B, *raw_shape) to coordinates and confidence.

    Args:
        depth_scale: factor by which a model file scales the depths of a 2.5D head (`quantize.runtimes.depth_scale`).

    Returns:
        Coordinates (B, J, 3) in heatmap cells, and confidence (B, J): the highest probability of one cell in the
        image plane.
    """
    raw, spec = unscale_depths(np.asarray(raw, np.float32), arch, depth_scale), arch.head_spec
    found = HEADS[spec.name].marginals(raw, spec, softmax)
    x, y = (p @ centres(p.shape[2], spec.heatmap_size) for p in (found.x, found.y))
    z = found.depth if found.z is None else found.z @ centres(spec.depth_bins, spec.depth_bins)
    confidence = found.x.max(2) * found.y.max(2) if found.peak is None else found.peak.max(2)
    return np.stack([x, y, z], 2), confidence


def decode_tensor(raw: Tensor, arch: ArchFields) -> Tensor:
    """Differentiable `decode`: the expectation of the softmax (paper, Equation 3), (B, J, 3) in heatmap cells."""
    return decode_with_marginals(raw, arch)[0]


def decode_with_marginals(raw: Tensor, arch: ArchFields) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor | None]]:
    """Differentiable `decode` that also returns the distributions along x, y and z, each (B, J, cells).

    The distribution along z is None for a head without one.
    """
    import torch

    def mean(probabilities: Tensor, side: int) -> Tensor:
        places = torch.as_tensor(centres(probabilities.shape[2], side), dtype=raw.dtype, device=raw.device)
        return (probabilities @ places[:, None]).squeeze(2)  # fvcore counts products of matrices only

    spec = arch.head_spec
    found = HEADS[spec.name].marginals(raw, spec, lambda scores: scores.softmax(-1))
    z = found.depth if found.z is None else mean(found.z, spec.depth_bins)
    return torch.stack([mean(found.x, spec.heatmap_size), mean(found.y, spec.heatmap_size), z], 2), (
        found.x,
        found.y,
        found.z,
    )


def unscale_depths(raw: Array, arch: ArchFields, depth_scale: float) -> Array:
    """Undo the scaling of depths in the raw output (B, ...) of a model file of a 2.5D head."""
    if depth_scale == 1.0:
        return raw
    return np.concatenate([raw[:, : arch.num_joints], raw[:, arch.num_joints :] / np.float32(depth_scale)], 1)


def to_normalised(coordinates: Array, arch: ArchFields) -> Array:
    """Convert cells to fractions: x and y of the crop's side, z of the depth range (0.5 is the depth of the root)."""
    cells = np.array([arch.heatmap_size, arch.heatmap_size, arch.depth_bins], np.float32)
    fractions: Array = np.divide(coordinates, cells, dtype=np.float32)
    return fractions


def to_crop_mm(fractions: NDArray[Any]) -> NDArray[Any]:
    """Convert fractions (N, J, 3) to mm around the crop's centre, for a crop whose side is `CROP_SIDE_MM`."""
    return (fractions - 0.5) * np.array([CROP_SIDE_MM, CROP_SIDE_MM, DEPTH_RANGE_MM])
