"""From the raw output of a head to coordinates, in torch; `arch.decode` is the same in numpy.

Coordinates are (x, y, z) in heatmap cells, the centre of cell i at i + 0.5, so that x * input / heatmap is a place
in the crop in pixels and (z / depth_bins - 0.5) * 2000 mm a depth behind the root joint (paper, Section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from arch.heads import HEADS
from arch.space import Arch


def decode(raw: Tensor, arch: Arch) -> Tensor:
    """Raw head output to coordinates (B, J, 3) in cells: the expectation of the softmax (paper, Equation 3)."""
    return decode_with_marginals(raw, arch)[0]


def decode_with_marginals(raw: Tensor, arch: Arch) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor | None]]:
    """Coordinates (B, J, 3) in cells, and the probabilities along x, y and z, each (B, J, cells), that they were read
    from; a head without a distribution of depth has none along z."""
    coordinates, marginals = HEADS[arch.head].expectation(raw, arch)
    return torch.stack(coordinates, 2), marginals
