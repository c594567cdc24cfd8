"""From an Arch to its figures: train, export, judge the file, time the file. Each stage leaves its result whole.

A stage whose result is there is not done again, so that whoever takes up a candidate goes on where another stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from arch.cost import cost
from arch.files import write_atomic
from arch.network import build
from arch.space import Arch, preset
from explore.config import MeasureConfig, SearchConfig
from explore.estimate import Estimator
from explore.host import locked
from explore.judge import Accuracy, Judge
from explore.measure.lane import Lane
from explore.measure.protocol import Disturbed, Latency, measure
from explore.search import devices
from explore.search.choice import bundle_name, result_file
from explore.search.claims import LATENCY, HandOver
from explore.search.estimated import estimated, full_weights, open_estimator, unmeasured
from explore.search.training import train_candidate, train_fully, train_to
from explore.ship.bundles import ship
from explore.ship.certified import certified, simulated_costs
from explore.ship.files import MadeFile, Stage, Workshop, normalised
from explore.train.checkpoint import load_network, save_network
from quantize import runtimes
from quantize.convert import Converter
from quantize.recipes import Recipe, recipe
from quantize.runtimes import Array

REFERENCE_CONFIG = MeasureConfig(rounds=30, calls=50, budget=10.0)
PATIENCE = 12  # disturbed measurements before a candidate fails

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Bench:
    """What judging needs, the same for every candidate of a process."""

    config: SearchConfig
    judge: Judge
    lane: Lane
    converter: Converter
    report: Report  # told the stage, how much is done, and of how much
    measures: bool = True  # whether this machine is of the kind that latencies are told of

    @cached_property
    def estimator(self) -> Estimator:
        """What estimates errors where the study does not train every candidate in full."""
        return open_estimator(self)


def make_reference(bench: Bench) -> None:
    """The network that all latencies of the study are ratios to: paper-XS-relu with random weights, in every runtime.

    It is timed once, at length; its figure turns every later ratio into milliseconds.
    """
    folder = bench.config.folder / "reference"
    if (folder / "reference.json").exists():
        return
    arch = preset(f"paper-XS-relu@{bench.config.scale}")
    save_network(folder / "weights.safetensors", build(arch, 0).eval(), {})
    pictures = _pictures(bench)
    figures = {}
    for index, name in enumerate(bench.config.every_runtime):
        bench.report("reference", index, len(bench.config.every_runtime))
        chosen = recipe("int8-static")
        bench.converter.export(
            arch, folder / "weights.safetensors", name, chosen, pictures, folder / name, bench.config.timeout
        )
        calls = {"reference": caller(bench, name, folder / name / runtimes.get(name).FILES[0])}
        settings = REFERENCE_CONFIG.model_copy(update={"threads": bench.config.measure.threads})
        figures[name] = measured(bench, calls, settings)["reference"].as_dict()
    devices.time_reference(bench.config, bench.report)
    write_atomic(folder / "reference.json", json.dumps(figures, indent=2))


def evaluate(bench: Bench, arch: Arch, recipe_name: str) -> dict[str, Any]:
    """Figures of a candidate: its file's error in mm and latency in ms, beside the float network's error and costs.

    Candidates of one network by several recipes share its weights.

    Raises:
        ConversionError, Disturbed, Diverged: why the candidate has no figures.
        HandOver: all is done but the latency, which another machine has to measure.
    """
    config = bench.config
    folder = config.folder / "candidates" / arch.id
    path = result_file(config, arch.id, recipe_name)
    if path.exists():
        return _read(path)
    with weights_lock(config, arch):
        in_full = config.estimator == "full"
        trained = train_candidate(bench, arch, folder) if in_full else estimated(bench, arch, folder)
    file = _made(bench, arch, folder, config.runtime, recipe(recipe_name))
    if not bench.measures:
        raise HandOver(LATENCY)
    calls = {
        "reference": caller(bench, config.runtime, reference_file(config)),
        "candidate": caller(bench, config.runtime, file.model),
    }
    bench.report("latency", 0, 1)
    latency = measured(bench, calls, config.measure)["candidate"]
    result = {
        "name": arch.name,
        "arch_id": arch.id,
        **trained,
        "runtime": file.runtime,
        "recipe": file.recipe.name,
        "file": str(file.model.relative_to(folder)),
        "bytes": file.audit.bytes,
        "mpjpe_mm": file.accuracy.mpjpe,
        "pa_mpjpe_mm": file.accuracy.pa_mpjpe,
        "export_s": file.seconds,
        "latency_ms": latency.ratio * _reference_ms(config, config.runtime),
        "latency": latency.as_dict(),
        "elsewhere": devices.elsewhere(config, arch, recipe_name, file.model, bench.report),
        **_costs(arch),
        "arch": arch.model_dump(mode="json"),
        "config_hash": config.hash,
        **unmeasured(trained),
    }
    write_atomic(path, json.dumps(result, indent=2))
    return result


def climb_to(bench: Bench, arch: Arch, index: int) -> float:
    """Train a candidate to the rung of that index; its float network's error in mm."""
    with weights_lock(bench.config, arch):
        return train_to(bench, arch, index, bench.config.folder / "candidates" / arch.id)


def weights_lock(config: SearchConfig, arch: Arch) -> AbstractContextManager[None]:
    """One process at a time trains a network; candidates of it by several recipes share its weights."""
    return locked(config.folder / "locks" / f"weights-{arch.id}.lock")


def finish(bench: Bench, arch: Arch, recipes: tuple[str, ...]) -> dict[str, Any]:
    """A finalist: trained on from its candidate's weights, exported for every runtime in float and by each recipe.

    Bundles with their certificates appear in `bundles/NAME`; the result has a row a runtime and recipe. A gate that
    fails is told in the row and in the bundle's certificate, and the finalist stays.
    """
    config = bench.config
    folder = config.folder / "finalists" / arch.id
    if (folder / "result.json").exists():
        return _read(folder / "result.json")
    seen = config.candidate.samples
    trained = train_fully(bench, arch, config.final, folder, full_weights(bench, arch), seen)
    shop = workshop(bench, folder)
    whole = Stage(
        np.load(folder / "torch.npy", allow_pickle=False),
        Accuracy(trained["float_mpjpe_mm"], trained["float_pa_mpjpe_mm"]),
    )
    with bench.lane.work():
        costs = simulated_costs(shop, load_network(folder / "weights.safetensors")[0])
    files = {
        (name, chosen.name): _made(bench, arch, folder, name, chosen)
        for name in config.runtimes
        for chosen in dict.fromkeys(map(recipe, ("float", *recipes)))
    }
    calls = {"reference": caller(bench, config.runtime, reference_file(config))}
    calls |= {" ".join(key): caller(bench, key[0], file.model) for key, file in files.items()}
    bench.report("latency", 0, 1)
    settings = config.measure.model_copy(update={"budget": config.measure.budget * len(calls) / 2})
    latencies = measured(bench, calls, settings)
    reference_ms = _reference_ms(config, config.runtime)
    rows = []
    for (name, made_by), file in files.items():
        row = certified(arch, whole, file, files[name, "float"], costs if file.recipe.int8 else {})
        latency, plain = latencies[f"{name} {made_by}"], latencies[f"{name} float"]
        row |= latencies_of(latency, plain, reference_ms)
        row |= {"bundle": None, "file": str(file.model.relative_to(folder))}
        if made_by in {recipe(name).name for name in recipes}:
            row["bundle"] = bundle_name(config, arch, name, made_by)
            if name == config.runtime:
                row["elsewhere"] = devices.elsewhere(config, arch, made_by, file.model, bench.report)
            ship(shop, arch, file, row, config.folder / row["bundle"])
        rows.append(row)
    result = {
        "name": arch.name,
        "arch_id": arch.id,
        **trained,
        "rows": rows,
        **_costs(arch),
        "arch": arch.model_dump(mode="json"),
        "config_hash": config.hash,
    }
    write_atomic(folder / "result.json", json.dumps(result, indent=2))
    return result


def latencies_of(latency: Latency, plain: Latency, reference_ms: float) -> dict[str, Any]:
    """Of a row: what its file takes and what the float file of its runtime does."""
    return {
        "latency_ms": latency.ratio * reference_ms,
        "latency": latency.as_dict(),
        "float_latency_ms": plain.ratio * reference_ms,
    }


def workshop(bench: Bench, folder: Path) -> Workshop:
    """Where the files of one network are made, training standing still while a file is timed."""
    return Workshop(folder, bench.judge, bench.converter, bench.config, bench.lane.work)


def _made(bench: Bench, arch: Arch, folder: Path, runtime: str, chosen: Recipe) -> MadeFile:
    bench.report(f"export {runtime}", 0, 1)
    weights, key = folder / "weights.safetensors", f"{runtime}-{chosen.name}"
    return workshop(bench, folder).make(arch, weights, runtime, chosen, key)


def measured(bench: Bench, calls: dict[str, Callable[[], None]], settings: MeasureConfig) -> dict[str, Latency]:
    """The protocol in the quiet lane, again where something else disturbed it."""
    for attempt in range(PATIENCE):
        try:
            with bench.lane.quiet():
                return measure(calls, settings, "reference")
        except Disturbed:
            if attempt == PATIENCE - 1:
                raise
            time.sleep(2.0 * (attempt + 1))  # outside the lane: the others train on
    raise AssertionError("unreachable")


def caller(bench: Bench, runtime: str, model: Path) -> Callable[[], None]:
    session = runtimes.get(runtime).load(model, bench.config.measure.threads)
    return session.prepare(normalised(bench.judge.evaluation.images[:1]))


def _pictures(bench: Bench) -> Array:
    return normalised(bench.judge.calibration(recipe("int8-static").calibration_images, bench.config.seed))


def reference_file(config: SearchConfig) -> Path:
    return config.folder / "reference" / config.runtime / runtimes.get(config.runtime).FILES[0]


def _reference_ms(config: SearchConfig, runtime: str) -> float:
    figures = _read(config.folder / "reference" / "reference.json")
    return float(figures[runtime]["median_ms"])


def _costs(arch: Arch) -> dict[str, Any]:
    return asdict(cost(arch))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
