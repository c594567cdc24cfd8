"""What a runtime is: three small Protocols that its module and its sessions satisfy. No heavy imports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from arch.space import Arch
from quantize.recipes import Recipe
from quantize.runtimes.operators import FileAudit

if TYPE_CHECKING:
    from arch.network import PoseNet

Array = NDArray[np.float32]


class Session(Protocol):
    """A loaded model file."""

    def run(self, x: Array) -> Array:
        """Normalised RGB (B, 3, S, S), one picture after the other, to the raw output of the head.

        As torch has it, but for the depths of a depthmap, `depth_gain` times as large (`quantize.runtimes`).
        """
        ...

    def prepare(self, x: Array) -> Callable[[], None]:
        """A function that runs the network on x (1, 3, S, S), copied in beforehand, and nothing else: for timing."""
        ...

    def close(self) -> None:
        """Free the model. The session is of no use afterwards."""
        ...


class Runtime(Protocol):
    """A module of this package.

    `FILES` are the names of the files that `export` leaves; the first is the one to `load`. `DEPTH_GAIN` is by how much
    it multiplies the depths of a depthmap; 1 where the output is not quantized.
    """

    FILES: tuple[str, ...]
    DEPTH_GAIN: float

    def unsupported(self, arch: Arch, recipe: Recipe) -> list[str]:
        """Why this network cannot be shipped by this recipe, one line a reason with the fix; empty when it can."""
        ...

    def export(self, net: PoseNet, folder: Path, recipe: Recipe, calibration: Array | None) -> Path:
        """Write the model file into `folder`; `calibration` is normalised RGB (N, 3, S, S)."""
        ...

    def load(self, path: Path, threads: int = 1) -> Session:
        """Open a model file."""
        ...

    def inspect(self, path: Path) -> FileAudit:
        """Count what the file is made of."""
        ...
