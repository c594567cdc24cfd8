"""Interfaces of a runtime's module and of its sessions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from arch.decode import IMAGENET_MEAN, IMAGENET_STD
from arch.space import Arch
from quantize.recipes import Recipe
from quantize.runtimes.operators import ModelSummary

if TYPE_CHECKING:
    from arch.network import PoseNet

Array = NDArray[np.float32]


def to_pixels(x: Array) -> NDArray[np.uint8]:
    """Return the RGB values (B, S, S, 3) of normalised images (B, 3, S, S), for files whose input is uint8."""
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    values = np.clip(np.rint((x * std + mean) * 255), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1))


class Session(Protocol):
    """A loaded model file."""

    def run(self, x: Array) -> Array:
        """Return the raw head output for normalised RGB (B, 3, S, S), processed one image at a time.

        A file with uint8 input receives the RGB values of x. The layout is that of torch; the depths of a heatmap-2.5d
        head are `quantize.runtimes.depth_scale` times larger.
        """
        ...

    def prepare(self, x: Array) -> Callable[[], None]:
        """Copy x (1, 3, S, S) to the input and return a function that only runs the network, for timing."""
        ...

    def close(self) -> None:
        """Free the model; the session cannot be used afterwards."""
        ...


class Runtime(Protocol):
    """Interface of a module in this package.

    Attributes:
        FILES: names of the files that `export` writes; the first is the one to `load`.
        DEPTH_SCALE: factor by which `export` scales the depths of a heatmap-2.5d head; 1 if outputs stay float.
        WEIGHT_BITS: bits of INT8 weights. 7 where a CPU without VNNI adds two products of unsigned activations and
            weights in 16 bits: with 8 bits the sum saturates, and results are wrong on that CPU. A file is the same on
            every machine.
    """

    FILES: tuple[str, ...]
    DEPTH_SCALE: float
    WEIGHT_BITS: int

    def unsupported(self, arch: Arch, recipe: Recipe) -> list[str]:
        """Return the reasons against exporting this network by this recipe, each with the fix; empty if possible."""
        ...

    def quantizer_options(self, recipe: Recipe) -> dict[str, tuple[str, ...]]:
        """Return the possible values of the options of `quantize.recipes.OPTIONS` for a quantized recipe.

        The first value is the default. Options that the recipe has no use for are left out.
        """
        ...

    def failed_checks(self, arch: Arch, recipe: Recipe) -> list[str]:
        """Return why the certificate of an exported file is bound to have a failed check; empty for most networks."""
        ...

    def export(self, net: PoseNet, folder: Path, recipe: Recipe, calibration: Array | None) -> Path:
        """Write the model file into `folder`.

        calibration: normalised RGB (N, 3, S, S); None unless `recipe.calibrated`
        """
        ...

    def load(self, path: Path, threads: int = 1) -> Session:
        """Open a model file."""
        ...

    def inspect(self, path: Path) -> ModelSummary:
        """Summarise the contents of a model file."""
        ...
