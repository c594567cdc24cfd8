"""Model files of networks with random weights: latency does not depend on the values of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from arch.space import Arch
from explore.measure.rows import Model
from quantize import runtimes
from quantize.convert import Converter
from quantize.recipes import Recipe

PICTURES = 2  # that the INT8 ranges are taken from; latency does not depend on them either


def untrained(converter: Converter, arch: Arch, runtime: str, recipe: Recipe, folder: Path) -> Model:
    """The model file of `arch` in `folder`, made unless it is there.

    Raises:
        InputError: the network cannot ship by this recipe.
        ConversionError: the converter failed.
    """
    files = tuple(folder / name for name in runtimes.get(runtime).FILES)
    if not files[0].exists():
        from arch.network import build
        from quantize.weights import save_weights

        chosen = recipe.model_copy(update={"calibration_images": PICTURES}) if recipe.int8 else recipe
        weights = folder.with_name(folder.name + ".safetensors")
        save_weights(build(arch, 0).eval(), weights)
        shape = (PICTURES, 3, arch.input, arch.input)
        pictures = np.random.default_rng(0).normal(size=shape).clip(-2, 2).astype(np.float32)
        converter.export(arch, weights, runtime, chosen, pictures if recipe.int8 else None, folder)
        weights.unlink()
    return Model(arch.name, files, runtime, recipe.name, arch)
