"""What heads share: probabilities along an axis and where its cells are, in numpy and in torch. Torch is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]


def softmax(scores: Array) -> Array:
    """Softmax over the last axis."""
    shifted = np.exp(scores - scores.max(-1, keepdims=True))
    result: Array = shifted / shifted.sum(-1, keepdims=True)
    return result


def centres(cells: int) -> Array:
    """Centres of `cells` cells of width one."""
    return np.arange(cells, dtype=np.float32) + 0.5


def mean_cell(probabilities: Tensor, step: float = 1.0) -> Tensor:
    """Expected place (B, J) of probabilities (B, J, cells) over cells of width `step`."""
    import torch

    places = torch.arange(probabilities.shape[2], dtype=probabilities.dtype, device=probabilities.device)
    return probabilities @ ((places + 0.5) * step)
