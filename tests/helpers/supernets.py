"""A small space that a supernet can hold."""

from __future__ import annotations

import json
import random
from pathlib import Path

from arch.search_space import Space, make_space
from arch.space import Arch

SPACE = {
    "name": "little",
    "base": {
        "encoder": "mobilenet_v2", "stem_stride": 2, "input_size": 64, "heatmap_size": 8, "num_joints": 18, "concat": "skip",
        "decoder_conv": "separable", "activation": "relu", "depths": [1, 1, 1, 1, 1, 1, 1],
    },
    "dimensions": {"width": [0.125, 0.25, 0.5], "intermediate_channels": [16, 32, 64], "decoder_width": [16, 32]},
}  # fmt: skip


def small_space(base: dict[str, object] | None = None, dimensions: dict[str, object] | None = None) -> Space:
    """Return the space with some values changed."""
    changed = {"base": SPACE["base"] | (base or {}), "dimensions": SPACE["dimensions"] | (dimensions or {})}  # type: ignore[operator]
    return make_space(SPACE | changed, "little")


def space_file(folder: Path) -> Path:
    path = folder / "little.yaml"
    path.write_text(json.dumps(SPACE))
    return path


def distinct_networks(space: Space, count: int) -> list[Arch]:
    rng, found = random.Random(0), {}
    while len(found) < count:
        arch = space.sample(rng)
        found[arch.id] = arch
    return list(found.values())
