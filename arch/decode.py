"""From the raw output of a head to coordinates, in numpy: what runs beside a shipped file. Twin of `arch.head`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arch.space import Arch
from arch.spec import SIMCC_SPLIT

Array = NDArray[np.float32]
DEPTH_RANGE_MM = 2000.0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in 0..1, as the reference reader has them


def softmax(scores: Array) -> Array:
    """Softmax over the last axis."""
    shifted = np.exp(scores - scores.max(-1, keepdims=True))
    result: Array = shifted / shifted.sum(-1, keepdims=True)
    return result


def decode(raw: Array, arch: Arch) -> Array:
    """Raw head output, batch first and channels second, to coordinates (B, J, 3) in heatmap cells."""
    return decode_with_confidence(raw, arch)[0]


def decode_with_confidence(raw: Array, arch: Arch) -> tuple[Array, Array]:
    """Coordinates (B, J, 3) in cells, and confidence (B, J): the largest share of probability in one xy cell."""
    raw = np.asarray(raw, np.float32)
    batch, joints, bins = raw.shape[0], arch.joints, arch.depth_bins
    depth_centres = np.arange(bins, dtype=np.float32) + 0.5
    if arch.head == "simcc":
        plane = SIMCC_SPLIT * arch.heatmap
        along_x, along_y = softmax(raw[..., :plane]), softmax(raw[..., plane : 2 * plane])
        places: Array = (np.arange(plane, dtype=np.float32) + 0.5) / np.float32(SIMCC_SPLIT)
        z = softmax(raw[..., 2 * plane :]) @ depth_centres
        confidence = along_x.max(-1) * along_y.max(-1)
        return np.stack([along_x @ places, along_y @ places, z], 2), confidence
    side = raw.shape[2]
    places = np.arange(side, dtype=np.float32) + 0.5
    if arch.head == "volumetric":
        volume = softmax(raw.reshape(batch, joints, -1)).reshape(batch, joints, bins, side * side)
        z = volume.sum(3) @ depth_centres
        plane_xy = volume.sum(2)
    else:
        plane_xy = softmax(raw[:, :joints].reshape(batch, joints, -1))
        z = ((plane_xy * raw[:, joints:].reshape(batch, joints, -1)).sum(2) + 0.5) * bins
    maps = plane_xy.reshape(batch, joints, side, side)
    return np.stack([maps.sum(2) @ places, maps.sum(3) @ places, z], 2), plane_xy.max(2)


def to_normalised(coordinates: Array, arch: Arch) -> Array:
    """Cells to shares: x and y of the crop's side, z of the depth range (0.5: as deep as the root joint)."""
    cells = np.array([arch.heatmap, arch.heatmap, arch.depth_bins], np.float32)
    shares: Array = np.divide(coordinates, cells, dtype=np.float32)
    return shares
