"""Model files of networks with random weights: latency does not depend on the values of the weights."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arch.space import Arch
from explore.measure.rows import Model
from quantize import runtimes
from quantize.convert import ConversionError, Converter
from quantize.environment import usable_cores
from quantize.recipes import Recipe

CALIBRATION_IMAGES = 2  # latency does not depend on the INT8 ranges either


@dataclass(frozen=True)
class Conversion:
    """A network to convert into `folder`; files that exist there are kept."""

    arch: Arch
    runtime: str
    recipe: Recipe
    folder: Path


def convert_all(conversions: Sequence[Conversion], workers: int, logs: Path) -> Iterator[Model | ConversionError]:
    """Yield the model of each conversion, or its error, in order.

    workers: converter processes; 0: one per core.

    Raises:
        InputError: a network that cannot be converted with its recipe.
    """
    local = threading.local()
    converters: list[Converter] = []

    def run(conversion: Conversion) -> Model | ConversionError:
        if not hasattr(local, "converter"):
            local.converter = Converter(logs / f"converter-{len(converters)}.log")
            converters.append(local.converter)
        try:
            return _convert(local.converter, conversion)
        except ConversionError as error:
            return error

    pool = ThreadPoolExecutor(workers or usable_cores())
    try:
        yield from pool.map(run, conversions)
    finally:
        pool.shutdown(cancel_futures=True)
        for converter in converters:
            converter.close()


def convert_models(conversions: Sequence[Conversion], workers: int, logs: Path) -> Iterator[Model]:
    """Yield the model of each conversion, as `convert_all`; raise the first ConversionError."""
    for model in convert_all(conversions, workers, logs):
        if isinstance(model, ConversionError):
            raise model
        yield model


def _convert(converter: Converter, conversion: Conversion) -> Model:
    arch, recipe, folder = conversion.arch, conversion.recipe, conversion.folder
    files = tuple(folder / name for name in runtimes.get(conversion.runtime).FILES)
    if not files[0].exists():
        from arch.network import build
        from quantize.checkpoint import save_network

        images = None
        if recipe.calibrated:
            recipe = recipe.model_copy(update={"calibration_images": CALIBRATION_IMAGES})
            shape = (CALIBRATION_IMAGES, 3, arch.input_size, arch.input_size)
            images = np.random.default_rng(0).normal(size=shape).clip(-2, 2).astype(np.float32)
        weights = folder.with_name(folder.name + ".safetensors")
        save_network(weights, build(arch, 0).eval())
        converter.export(arch, weights, conversion.runtime, recipe, images, folder)
        weights.unlink()
    return Model(arch.name, files, conversion.runtime, conversion.recipe.name, arch)
