"""The registry of heads: what the last map means and how joints are read from it. No torch is imported.

A shipped file ends in a head's raw output; two more readers of it stand alone by design and know the heads themselves:
`quantize.runner`, copied into every bundle, and `explore.measure.probe`, sent to devices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from arch.heads import depthmap, simcc, volumetric
from arch.heads.axis import Array
from arch.spec import Op

if TYPE_CHECKING:
    from torch import Tensor

    from arch.space import Arch

    Marginals = tuple[Tensor, Tensor, Tensor | None]


class Head(Protocol):
    """What a head's module offers. Coordinates are in cells, the centre of cell i at i + 0.5 (see `arch.head`)."""

    MAPS: bool  # whether the raw output is maps, channels first
    DEPTH_BINS: bool  # whether `Arch.depth_bins` changes anything
    DEPTH_VALUES: bool  # whether the channels from `Arch.joints` on are depths, as shares of their range, and no scores

    def channels(self, arch: Arch) -> int:
        """Channels of the 1x1 convolution that ends the decoder."""
        ...

    def readout(self, arch: Arch) -> tuple[Op, ...]:
        """What follows that convolution, none for heads that read maps."""
        ...

    def raw_shape(self, arch: Arch) -> tuple[int, ...]:
        """Of the raw output of one picture."""
        ...

    def decode(self, raw: Array, arch: Arch) -> tuple[Array, Array]:
        """Numpy: raw (B, *raw_shape) to coordinates (B, J, 3) and confidence (B, J), the highest share of one cell."""
        ...

    def expectation(self, raw: Tensor, arch: Arch) -> tuple[tuple[Tensor, Tensor, Tensor], Marginals]:
        """Torch: x, y and z (B, J) each, and the probabilities (B, J, cells) along each axis; None along z where the
        head has no distribution of depth."""
        ...


HEADS: dict[str, Head] = {"volumetric": volumetric, "depthmap": depthmap, "simcc": simcc}
