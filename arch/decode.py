"""From the raw output of a head to coordinates, in numpy: what runs beside a shipped file. Twin of `arch.head`."""

from __future__ import annotations

import numpy as np

from arch.heads import HEADS
from arch.heads.axis import Array
from arch.space import Arch

DEPTH_RANGE_MM = 2000.0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in 0..1, as the reference reader has them


def decode(raw: Array, arch: Arch, depth_gain: float = 1.0) -> Array:
    """Raw head output, batch first and channels second, to coordinates (B, J, 3) in heatmap cells."""
    return decode_with_confidence(raw, arch, depth_gain)[0]


def decode_with_confidence(raw: Array, arch: Arch, depth_gain: float = 1.0) -> tuple[Array, Array]:
    """Coordinates (B, J, 3) in cells, and confidence (B, J): the largest share of probability in one xy cell.

    `depth_gain` is 1 for the network itself; of its files see `quantize.runtimes.depth_gain`.
    """
    return HEADS[arch.head].decode(without_gain(np.asarray(raw, np.float32), arch, depth_gain), arch)


def without_gain(raw: Array, arch: Arch, depth_gain: float) -> Array:
    """Raw output (B, ...) of a file as the network has it: depths that leave the file `depth_gain` times larger."""
    if depth_gain == 1.0:
        return raw
    return np.concatenate([raw[:, : arch.joints], raw[:, arch.joints :] / np.float32(depth_gain)], 1)


def to_normalised(coordinates: Array, arch: Arch) -> Array:
    """Cells to shares: x and y of the crop's side, z of the depth range (0.5: as deep as the root joint)."""
    cells = np.array([arch.heatmap, arch.heatmap, arch.depth_bins], np.float32)
    shares: Array = np.divide(coordinates, cells, dtype=np.float32)
    return shares
