"""Model files of networks with random weights: latency does not depend on the values of weights."""

from __future__ import annotations

import os
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
from quantize.recipes import Recipe

PICTURES = 2  # that the INT8 ranges are taken from; latency does not depend on them either


@dataclass(frozen=True)
class Job:
    """A file to make in `folder`, unless it is there."""

    arch: Arch
    runtime: str
    recipe: Recipe
    folder: Path


def make_all(jobs: Sequence[Job], workers: int, logs: Path) -> Iterator[Model | ConversionError]:
    """The model of each job in order, or why there is none; by `workers` converter processes (0: one a core).

    Raises:
        InputError: a network that cannot ship by its recipe.
    """
    free = threading.local()
    converters: list[Converter] = []

    def one(job: Job) -> Model | ConversionError:
        if not hasattr(free, "converter"):
            free.converter = Converter(logs / f"converter-{len(converters)}.log")
            converters.append(free.converter)
        try:
            return make(free.converter, job)
        except ConversionError as error:
            return error

    pool = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)))
    try:
        yield from pool.map(one, jobs)
    finally:
        pool.shutdown(cancel_futures=True)
        for converter in converters:
            converter.close()


def make(converter: Converter, job: Job) -> Model:
    """The model of a job.

    Raises:
        InputError: the network cannot ship by this recipe.
        ConversionError: the converter failed.
    """
    arch, recipe, folder = job.arch, job.recipe, job.folder
    files = tuple(folder / name for name in runtimes.get(job.runtime).FILES)
    if not files[0].exists():
        from arch.network import build
        from quantize.weights import save_weights

        chosen = recipe.model_copy(update={"calibration_images": PICTURES}) if recipe.int8 else recipe
        weights = folder.with_name(folder.name + ".safetensors")
        save_weights(build(arch, 0).eval(), weights)
        shape = (PICTURES, 3, arch.input, arch.input)
        pictures = np.random.default_rng(0).normal(size=shape).clip(-2, 2).astype(np.float32)
        converter.export(arch, weights, job.runtime, chosen, pictures if recipe.int8 else None, folder)
        weights.unlink()
    return Model(arch.name, files, job.runtime, recipe.name, arch)
