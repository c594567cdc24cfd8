"""CPU time of exporting, evaluating and timing the INT8 file of one candidate."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from arch.network import build
from arch.space import Arch
from benchmarks.estimators import int8_files
from explore.export.exporter import BATCH
from explore.measure.latency import Disturbed, measure
from explore.search.config import SearchConfig
from quantize import runtimes
from quantize.checkpoint import save_network
from quantize.convert import Converter
from quantize.recipes import recipe

EVALUATED, CALIBRATED = 500, 24  # images of noise


def seconds(archs: Sequence[Arch]) -> float:
    """Return the mean CPU seconds of one network; the start of the converter process is subtracted."""
    import torch

    torch.set_num_threads(1)
    return (_cpu_seconds([archs[0], *archs]) - _cpu_seconds([archs[0]])) / len(archs)


def _cpu_seconds(archs: Sequence[Arch]) -> float:
    """Return the CPU seconds of this process and of a new converter process."""
    settings, chosen = SearchConfig().measure, recipe(int8_files.RECIPE)
    rng, size = np.random.default_rng(0), archs[0].input_size
    images = rng.normal(size=(max(EVALUATED, CALIBRATED), 3, size, size)).astype(np.float32)
    started = _clock()
    with tempfile.TemporaryDirectory() as scratch, Converter(Path(scratch, "converter.log")) as converter:
        weights = Path(scratch, "weights.safetensors")
        for index, arch in enumerate(archs):
            save_network(weights, build(arch, 0).eval(), {})
            calibration, folder = images[:CALIBRATED], Path(scratch, f"{index}")
            model = converter.export(arch, weights, int8_files.RUNTIME, chosen, calibration, folder, int8_files.TIMEOUT)
            session = runtimes.get(int8_files.RUNTIME).load(model, 1)
            for begin in range(0, EVALUATED, BATCH):
                session.run(images[begin : begin + BATCH])
            call = session.prepare(images[:1])
            with suppress(Disturbed):  # costs the same time
                measure({"reference": call, "candidate": call}, settings, "reference")
            session.close()
    return _clock() - started


def _clock() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
