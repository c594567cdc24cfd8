"""Registry of heads: the output representation of a network and how joints are decoded from it. Torch is not imported.

A model file ends in the raw output of its head. The decoders in `quantize.sdk` stand alone and must be extended for a
new head; the Python one is part of every bundle and of `explore.measure.probe`, which is sent to devices.
"""

from __future__ import annotations

from typing import Protocol

from arch.heads import heatmap_25d, simcc, volumetric
from arch.heads.axis import AnyArray, Marginals, Softmax
from arch.spec import HeadSpec, Op


class Head(Protocol):
    """Interface of a head's module. Coordinates are in cells, the centre of cell i at i + 0.5 (see `arch.decode`)."""

    MAPS: bool  # the raw output is a stack of maps, channels first
    DEPTH_BINS: bool  # the head depends on `depth_bins`
    DEPTH_VALUES: bool  # channels from `num_joints` on are depths, as fractions of the depth range, not scores

    def channels(self, spec: HeadSpec) -> int:
        """Output channels of the 1x1 convolution that ends the decoder."""
        ...

    def readout(self, spec: HeadSpec) -> tuple[Op, ...]:
        """Operations after that convolution; empty for heads whose raw output is maps."""
        ...

    def raw_shape(self, spec: HeadSpec) -> tuple[int, ...]:
        """Shape of the raw output without the batch dimension."""
        ...

    def marginals(self, raw: AnyArray, spec: HeadSpec, softmax: Softmax) -> Marginals:
        """Distributions of a raw output (B, *raw_shape); numpy arrays and torch tensors are both accepted."""
        ...


HEADS: dict[str, Head] = {"volumetric": volumetric, "heatmap-2.5d": heatmap_25d, "simcc": simcc}
