"""What a search spends on each candidate beside its error: the INT8 file made, judged and timed."""

from __future__ import annotations

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
from explore.train.checkpoint import save_network
from quantize import runtimes
from quantize.convert import Converter
from quantize.recipes import recipe

JUDGED, CALIBRATED = 500, 24  # pictures, of noise: they cost what others do


def seconds(archs: Sequence[Arch]) -> float:
    """Seconds of one thread for a network, the median of `archs`; the converter is warm, as in a search."""
    import torch

    torch.set_num_threads(1)
    config, chosen = SearchConfig(), recipe(shipped.RECIPE)
    rng, spent = np.random.default_rng(0), []
    size = archs[0].input
    pictures = rng.normal(size=(max(JUDGED, CALIBRATED), 3, size, size)).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch, Converter(Path(scratch, "converter.log")) as converter:
        for arch in (archs[0], *archs):  # the first warms it
            started = time.monotonic()
            weights, folder = Path(scratch, "weights.safetensors"), Path(scratch, f"{len(spent)}")
            save_network(weights, build(arch, 0).eval(), {})
            model = converter.export(
                arch, weights, shipped.RUNTIME, chosen, pictures[:CALIBRATED], folder, shipped.TIMEOUT
            )
            session = runtimes.get(shipped.RUNTIME).load(model, 1)
            for begin in range(0, JUDGED, shipped.BATCH):
                session.run(pictures[begin : begin + shipped.BATCH])
            call = session.prepare(pictures[:1])
            with suppress(Disturbed):  # which takes as long
                measure({"reference": call, "candidate": call}, config.measure, "reference")
            spent.append(time.monotonic() - started)
            session.close()
    return float(np.median(spent[1:]))
