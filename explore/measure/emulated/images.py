"""The images that files are compared on where no data set is at hand: rendered people, the same on every machine."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.frame import render_jpeg

IMAGES = 4


def sample_crops(size: int, count: int = IMAGES) -> NDArray[np.uint8]:
    """Return RGB crops (N, size, size, 3) of people in one frame each."""
    config = SyntheticConfig(size=max(32, size))
    frames = [Image.open(BytesIO(render_jpeg(config, "test", index))) for index in range(count)]
    return np.stack([np.asarray(frame.convert("RGB").resize((size, size), Image.Resampling.BOX)) for frame in frames])
