"""Latency of bundles, the network and the decoding apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from arch.decode import decode
from explore.config import MeasureConfig
from explore.measure.protocol import measure
from quantize import bundle
from quantize.environment import machine, versions


def measure_bundles(paths: list[str], config: MeasureConfig) -> dict[str, Any]:
    """A row a bundle; ratios are to the first of `paths`.

    Raises:
        InputError: no bundle.
        Disturbed: the machine was too busy for a figure.
    """
    loaded = [bundle.load(path) for path in dict.fromkeys(paths)]
    networks: dict[str, Callable[[], None]] = {}
    decoders: dict[str, Callable[[], None]] = {}
    loads: dict[str, float] = {}
    rng = np.random.default_rng(0)
    for one in loaded:
        name = str(one.path)
        began = time.perf_counter()
        session = one.session(config.threads)
        loads[name] = (time.perf_counter() - began) * 1e3
        crop = rng.integers(0, 256, (1, one.arch.input, one.arch.input, 3), np.uint8)
        x = one.normalise(crop)
        networks[name] = session.prepare(x)
        decoders[name] = _decoder(session.run(x), one)
    settings = config.model_copy(update={"budget": config.budget * max(1, len(loaded) / 2)})
    first = str(loaded[0].path)
    latencies = measure(networks, settings, first)
    single = MeasureConfig(threads=1, rounds=5, calls=10, budget=2.0)
    decoding = measure(decoders, single, first)
    rows = [
        {
            "bundle": str(one.path),
            "runtime": one.manifest.runtime,
            "recipe": one.manifest.recipe.name,
            **latencies[str(one.path)].as_dict(),
            "decode_ms": decoding[str(one.path)].median_ms,
            "load_ms": loads[str(one.path)],
        }
        for one in loaded
    ]
    return {"machine": machine(), "versions": versions(), "rows": rows}


def _decoder(raw: Any, one: bundle.Bundle) -> Callable[[], None]:
    def call() -> None:
        decode(raw, one.arch)

    return call
