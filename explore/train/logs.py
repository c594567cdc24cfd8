"""TensorBoard's logs of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError


class Logs:
    """Scalars and pictures by step, for `tensorboard --logdir FOLDER`. A resumed run's go on in the same folder.

    Raises:
        InputError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError(
                "--logs needs tensorboard; pip install 'edgepose[logs]', or leave the option out"
            ) from None
        self._writer: Any = SummaryWriter(str(folder), flush_secs=10)  # type: ignore[no-untyped-call]

    def scalars(self, step: int, **values: float) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name.replace("__", "/"), value, step)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """image: (H, W, 3) RGB uint8."""
        self._writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()
