"""Latency on this machine, and the reference network that all latencies of a study are ratios to.

The reference network is paper-XS-relu with random weights. Its latency is measured once, at length; ratios to it are
stable where milliseconds drift, and its own latency converts them into milliseconds.

A search does not wait for a machine that is never idle. A file that other processes disturb ATTEMPTS times is left
unmeasured. From then on, a single disturbed attempt suffices, until one succeeds. `explore.search.costs.unmeasured` measures
the files later.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from arch.documents import load_written
from arch.files import write_atomic
from arch.network import build
from arch.space import preset
from explore.export.exporter import normalise
from explore.measure.config import MeasureConfig
from explore.measure.latency import Disturbed, Latency, measure, retry_disturbed
from explore.measure.probe.protocol import ACCEPT, QUIET, allowed_background_load, background_cpu_s
from explore.search.config import SearchConfig
from explore.search.context import EvalContext
from explore.search.costs.quantities import LatencySource
from quantize import runtimes
from quantize.checkpoint import save_network
from quantize.environment import machine
from quantize.recipes import recipe

REFERENCE_CONFIG = MeasureConfig(rounds=30, calls=50, max_seconds=10.0)
FINALIST_SHARE = 0.01  # of the time budget, for the files of one finalist: all other work waits
ATTEMPTS = 5  # disturbed measurements after which a latency is predicted
PAUSE_S = 2.0
LOAD_S = 0.5  # time in which the load of other processes is observed on a machine that was busy
FASTEST_OF_S = 2.0  # duration of the calls whose fastest stands in for the latency of the reference network
WAITING = "latency, waiting for idle cores"  # stage between two attempts
SOURCE = "source"  # in the figures of the reference network; absent where it was measured


def make_reference(context: EvalContext) -> None:
    """Export the reference network for the study's runtime and measure it; return at once if it is measured."""
    config, folder = context.config, context.config.folder / "reference"
    if (folder / "reference.json").exists():
        return
    arch, chosen = preset(f"paper-XS-relu@{config.input_size}"), recipe("int8-static")
    save_network(folder / "weights.safetensors", build(arch, 0).eval(), {})
    images = normalise(context.evaluator.calibration(chosen.calibration_images, config.seed))
    weights, target = folder / "weights.safetensors", folder / config.runtime
    context.converter.export(arch, weights, config.runtime, chosen, images, target, config.timeout)
    call = prepare_call(context, config.runtime, reference_file(config))
    try:
        figures = _measured_reference(context, call).as_dict()
    except Disturbed:
        figures = _estimated_reference(context, call)
    write_atomic(_machine_file(config), json.dumps(machine()))
    write_atomic(folder / "reference.json", json.dumps({config.runtime: figures}, indent=2))


def _measured_reference(context: EvalContext, call: Callable[[], None]) -> Latency:
    settings = REFERENCE_CONFIG.model_copy(update={"threads": context.config.measure.threads})
    return measure_calls(context, {"reference": call}, settings)["reference"]


def _estimated_reference(context: EvalContext, call: Callable[[], None]) -> dict[str, Any]:
    """Return the time of the fastest of many calls, the one that other processes disturbed least."""
    fastest = float("inf")
    with context.lock.exclusive():
        end = time.perf_counter() + FASTEST_OF_S
        while (start := time.perf_counter()) < end:
            call()
            fastest = min(fastest, time.perf_counter() - start)
    return {"median_ms": 1e3 * fastest, SOURCE: "fastest call"}


def remeasure_reference(context: EvalContext) -> None:
    """Measure the reference network where other processes had disturbed that.

    Raises:
        Disturbed: they still do.
    """
    config = context.config
    if SOURCE in load_written(config.folder / "reference" / "reference.json")[config.runtime]:
        call = prepare_call(context, config.runtime, reference_file(config))
        take_reference(config, _measured_reference(context, call))


def take_reference(config: SearchConfig, latency: Latency) -> None:
    """Replace the latency of the reference network if it is an estimate."""
    path = config.folder / "reference" / "reference.json"
    figures = load_written(path)
    if SOURCE in figures[config.runtime]:
        write_atomic(path, json.dumps(figures | {config.runtime: latency.as_dict()}, indent=2))


def reference_file(config: SearchConfig) -> Path:
    """Return the reference network's model file."""
    return config.folder / "reference" / config.runtime / runtimes.get(config.runtime).FILES[0]


def measures_like_reference(config: SearchConfig) -> bool:
    """Return whether this machine has the processor that the reference network was measured on."""
    path = _machine_file(config)
    return not path.exists() or load_written(path)["processor"] == machine()["processor"]


def _machine_file(config: SearchConfig) -> Path:
    return config.folder / "reference" / "machine.json"


def prepare_call(context: EvalContext, runtime: str, model: Path) -> Callable[[], None]:
    """Load a model file and return a function that runs it once on one crop."""
    session = runtimes.get(runtime).load(model, context.config.measure.threads)
    return session.prepare(normalise(context.evaluator.evaluation.images[:1]))


def measure_calls(
    context: EvalContext, calls: dict[str, Callable[[], None]], settings: MeasureConfig
) -> dict[str, Latency]:
    """Measure in interleaved rounds while all other work of the search on this machine pauses.

    Raises:
        Disturbed: other processes disturbed every attempt.
    """
    mark = busy_mark(context.config)
    was_busy = is_busy = mark.exists()

    def once() -> dict[str, Latency]:
        nonlocal is_busy
        with context.lock.exclusive():
            if is_busy:
                _check_load()  # takes a fraction of the time of a disturbed measurement
            is_busy = True
            return measure(calls, settings, "reference")

    try:
        found = retry_disturbed(once, 1 if was_busy else ATTEMPTS, PAUSE_S, waiting=partial(context.report, WAITING))
    except Disturbed:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        raise
    mark.unlink(missing_ok=True)
    return found


def measure_files(context: EvalContext, files: Mapping[str, tuple[str, Path]]) -> dict[str, Latency]:
    """Measure model files in interleaved rounds with the reference network. files: runtime and path by name

    `MeasureConfig.max_seconds` is the time limit of one file and the reference network. It grows with the number of files
    to at most `FINALIST_SHARE` of the time budget.

    Raises:
        Disturbed: other processes disturbed every attempt.
    """
    config = context.config
    named = {"reference": (config.runtime, reference_file(config)), **files}
    calls = {name: prepare_call(context, runtime, file) for name, (runtime, file) in named.items()}
    settings, least = config.measure.for_count(len(calls)), config.measure.max_seconds
    limit = min(settings.max_seconds, max(least, FINALIST_SHARE * config.budget_s))
    found = measure_calls(context, calls, settings.model_copy(update={"max_seconds": limit}))
    take_reference(config, found["reference"])
    return found


def measured_source() -> LatencySource:
    """Return the source of latencies that are measured now."""
    return "measured" if allowed_background_load() <= QUIET else "measured under load"


def busy_mark(config: SearchConfig) -> Path:
    """Return the file that exists while other processes disturb measurements on this machine."""
    return config.folder / "locks" / f"busy-{socket.gethostname()}"


def _check_load() -> None:
    before, start = background_cpu_s(), time.monotonic()
    time.sleep(LOAD_S)
    after = background_cpu_s()
    if before is None or after is None:
        return
    load = (after - before) / (time.monotonic() - start) / (os.cpu_count() or 1)
    if load > allowed_background_load():
        raise Disturbed(f"other processes use {load:.0%} of the machine's cores; {ACCEPT}")
