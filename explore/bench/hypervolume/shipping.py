"""What a search spends on each candidate beside its error: the INT8 file made, judged and timed."""

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
from explore.bench.estimators import shipped
from explore.config import SearchConfig
from explore.measure.protocol import Disturbed, measure
from explore.ship.files import BATCH
from explore.train.checkpoint import save_network
from quantize import runtimes
from quantize.convert import Converter
from quantize.recipes import recipe

JUDGED, CALIBRATED = 500, 24  # pictures, of noise: they cost what others do


def seconds(archs: Sequence[Arch]) -> float:
    """CPU seconds of one network, the mean of `archs`; what the converter needs once is taken off, it stays warm."""
    import torch

    torch.set_num_threads(1)
    return (_spent([archs[0], *archs]) - _spent([archs[0]])) / len(archs)


def _spent(archs: Sequence[Arch]) -> float:
    """CPU seconds of this process and of a converter that starts cold."""
    settings, chosen = SearchConfig().measure, recipe(shipped.RECIPE)
    rng, size = np.random.default_rng(0), archs[0].input
    pictures = rng.normal(size=(max(JUDGED, CALIBRATED), 3, size, size)).astype(np.float32)
    started = _clock()
    with tempfile.TemporaryDirectory() as scratch, Converter(Path(scratch, "converter.log")) as converter:
        weights = Path(scratch, "weights.safetensors")
        for index, arch in enumerate(archs):
            save_network(weights, build(arch, 0).eval(), {})
            calibration, folder = pictures[:CALIBRATED], Path(scratch, f"{index}")
            model = converter.export(arch, weights, shipped.RUNTIME, chosen, calibration, folder, shipped.TIMEOUT)
            session = runtimes.get(shipped.RUNTIME).load(model, 1)
            for begin in range(0, JUDGED, BATCH):
                session.run(pictures[begin : begin + BATCH])
            call = session.prepare(pictures[:1])
            with suppress(Disturbed):  # which takes as long
                measure({"reference": call, "candidate": call}, settings, "reference")
            session.close()
    return _clock() - started


def _clock() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
