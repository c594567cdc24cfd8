"""From the raw output of a head to coordinates, in numpy: what runs beside a shipped file. Twin of `arch.head`."""

from __future__ import annotations

import numpy as np

from arch.heads import HEADS
from arch.heads.axis import Array
from arch.space import Arch

DEPTH_RANGE_MM = 2000.0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in 0..1, as the reference reader has them


def decode(raw: Array, arch: Arch) -> Array:
    """Raw head output, batch first and channels second, to coordinates (B, J, 3) in heatmap cells."""
    return decode_with_confidence(raw, arch)[0]


def decode_with_confidence(raw: Array, arch: Arch) -> tuple[Array, Array]:
    """Coordinates (B, J, 3) in cells, and confidence (B, J): the largest share of probability in one xy cell."""
    return HEADS[arch.head].decode(np.asarray(raw, np.float32), arch)


def to_normalised(coordinates: Array, arch: Arch) -> Array:
    """Cells to shares: x and y of the crop's side, z of the depth range (0.5: as deep as the root joint)."""
    cells = np.array([arch.heatmap, arch.heatmap, arch.depth_bins], np.float32)
    shares: Array = np.divide(coordinates, cells, dtype=np.float32)
    return shares
