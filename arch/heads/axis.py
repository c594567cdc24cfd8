"""Types and array helpers that the heads share, for numpy and torch. Torch is not imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Array: TypeAlias = "NDArray[np.float32]"
AnyArray: TypeAlias = "Array | Tensor"  # heads use only operations that numpy arrays and torch tensors have in common
Softmax = Callable[[Any], Any]  # over the last axis


class Marginals(NamedTuple):
    """Probability distributions that a head predicts for each joint.

    x, y: (B, J, cells), probabilities along the image axes; the cells divide the heatmap's side evenly.
    z: (B, J, depth_bins), or None for a head without a distribution of depth.
    depth: (B, J) in depth bins, for such a head only.
    peak: (B, J, cells), probabilities whose maximum is the confidence; None: the product of the maxima along x and y.
    """

    x: Any
    y: Any
    z: Any = None
    depth: Any = None
    peak: Any = None


def softmax(scores: Array) -> Array:
    """Softmax over the last axis."""
    import numpy as np

    shifted = np.exp(scores - scores.max(-1, keepdims=True))
    result: Array = shifted / shifted.sum(-1, keepdims=True)
    return result


def centres(cells: int, side: int) -> Array:
    """Centres of `cells` cells that divide [0, side] evenly."""
    import numpy as np

    result: Array = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) * np.float32(side / cells)
    return result
