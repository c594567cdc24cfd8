"""From an Arch to its figures: train, export, judge the file, time the file. Each stage leaves its result whole.

A stage whose result is there is not done again, so that whoever takes up a candidate goes on where another stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arch.cost import cost
from arch.decode import decode, to_normalised
from arch.files import write_atomic
from arch.network import build
from arch.space import Arch, preset
from explore.config import MeasureConfig, SearchConfig, TrainConfig
from explore.judge import Judge
from explore.measure.lane import Lane
from explore.measure.protocol import Disturbed, Latency, measure
from explore.ship.bundles import write_bundle
from explore.ship.files import normalised
from explore.train.checkpoint import save_network
from explore.train.loop import predict, train
from quantize import runtimes
from quantize.convert import Converter
from quantize.recipes import recipe
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
    write_atomic(folder / "reference.json", json.dumps(figures, indent=2))


def evaluate(bench: Bench, arch: Arch) -> dict[str, Any]:
    """Figures of a candidate: its file's error in mm and latency in ms, beside the float network's error and costs.

    Raises:
        ConversionError, Disturbed, Diverged: why the candidate has no figures.
    """
    config = bench.config
    folder = config.folder / "candidates" / arch.id
    if (folder / "result.json").exists():
        return _read(folder / "result.json")
    trained = _trained(bench, arch, config.candidate, folder, None)
    shipped = export_and_judge(bench, arch, folder, config.runtime, config.recipe)
    calls = {
        "reference": caller(bench, config.runtime, _reference_file(config)),
        "candidate": caller(bench, config.runtime, folder / shipped["file"]),
    }
    bench.report("latency", 0, 1)
    latency = measured(bench, calls, config.measure)["candidate"]
    result = {
        "name": arch.name,
        "arch_id": arch.id,
        **trained,
        **shipped,
        "latency_ms": latency.ratio * _reference_ms(config, config.runtime),
        "latency": latency.as_dict(),
        **_costs(arch),
        "arch": arch.model_dump(mode="json"),
        "config_hash": config.hash,
    }
    write_atomic(folder / "result.json", json.dumps(result, indent=2))
    return result


def finish(bench: Bench, arch: Arch) -> dict[str, Any]:
    """A finalist: trained on from its candidate's weights, exported for every runtime in float and by the recipe.

    Bundles appear in `bundles/NAME/RUNTIME`; the result has a row a runtime and recipe.
    """
    config = bench.config
    folder = config.folder / "finalists" / arch.id
    if (folder / "result.json").exists():
        return _read(folder / "result.json")
    start = config.folder / "candidates" / arch.id / "weights.safetensors"
    trained = _trained(bench, arch, config.final, folder, start)
    rows = []
    calls = {"reference": caller(bench, config.runtime, _reference_file(config))}
    for name in config.runtimes:
        for chosen in dict.fromkeys(("float", config.recipe)):
            row = export_and_judge(bench, arch, folder, name, chosen)
            calls[f"{name} {chosen}"] = caller(bench, name, folder / row["file"])
            rows.append(row)
    bench.report("latency", 0, 1)
    settings = config.measure.model_copy(update={"budget": config.measure.budget * len(calls) / 2})
    latencies = measured(bench, calls, settings)
    for row in rows:
        latency = latencies[f"{row['runtime']} {row['recipe']}"]
        row |= {"latency_ms": latency.ratio * _reference_ms(config, config.runtime), "latency": latency.as_dict()}
        if row["recipe"] != "float" or config.recipe == "float":
            ship(
                bench,
                arch,
                folder,
                row,
                trained["float_mpjpe_mm"],
                config.folder / "bundles" / arch.name / row["runtime"],
            )
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


def export_and_judge(bench: Bench, arch: Arch, folder: Path, runtime: str, recipe_name: str) -> dict[str, Any]:
    """The model file of a trained network, and what that file's own predictions are worth."""
    config = bench.config
    made = folder / f"{runtime}-{recipe_name}"
    if (made / "judged.json").exists():
        return _read(made / "judged.json")
    chosen = recipe(recipe_name)
    bench.report(f"export {runtime}", 0, 1)
    started = time.monotonic()
    with bench.lane.work():
        model = bench.converter.export(
            arch, folder / "weights.safetensors", runtime, chosen, _pictures(bench), made, config.timeout
        )
    seconds = time.monotonic() - started
    bench.report(f"judge {runtime}", 0, 1)
    images = bench.judge.evaluation.images
    session = runtimes.get(runtime).load(model, config.measure.threads)
    answers = []
    for begin in range(0, len(images), 50):
        with bench.lane.work():
            raw = session.run(normalised(images[begin : begin + 50]))
            answers.append(to_normalised(decode(raw, arch), arch))
    session.close()
    accuracy = bench.judge.score(np.concatenate(answers))
    row = {
        "runtime": runtime,
        "recipe": recipe_name,
        "file": f"{made.name}/{model.name}",
        "bytes": sum((made / name).stat().st_size for name in runtimes.get(runtime).FILES),
        "mpjpe_mm": accuracy.mpjpe,
        "pa_mpjpe_mm": accuracy.pa_mpjpe,
        "export_s": round(seconds, 2),
    }
    write_atomic(made / "judged.json", json.dumps(row, indent=2))
    return row


def _trained(bench: Bench, arch: Arch, settings: TrainConfig, folder: Path, start: Path | None) -> dict[str, Any]:
    """Train unless done; weights in `weights.safetensors`, the float network's figures returned."""
    if (folder / "trained.json").exists():
        return _read(folder / "trained.json")
    state = folder / "state.safetensors"
    result = train(
        arch,
        bench.judge.train,
        settings,
        bench.config.seed,
        state,
        start,
        bench.lane.work,
        lambda done, total: bench.report("train", done, total),
    )
    with bench.lane.work():
        accuracy = bench.judge.score(predict(result.net, bench.judge.evaluation.images))
    facts = {
        "samples": result.samples,
        "train_s": round(result.seconds, 1),
        "loss": result.loss,
        "skipped_steps": result.skipped_steps,
        "float_mpjpe_mm": accuracy.mpjpe,
        "float_pa_mpjpe_mm": accuracy.pa_mpjpe,
    }
    if start is not None:
        facts["samples"] = result.samples + bench.config.candidate.samples
    save_network(folder / "weights.safetensors", result.net, {"data": bench.judge.train.name, **facts})
    write_atomic(folder / "trained.json", json.dumps(facts, indent=2))
    state.unlink(missing_ok=True)
    return facts


def ship(bench: Bench, arch: Arch, folder: Path, row: dict[str, Any], float_mpjpe_mm: float, target: Path) -> None:
    """Make one judged and timed file a bundle with its metrics."""
    metrics = {key: float(row[key]) for key in ("mpjpe_mm", "pa_mpjpe_mm", "latency_ms")}
    write_bundle(
        target,
        folder / row["file"],
        arch,
        row["runtime"],
        recipe(row["recipe"]),
        bench.judge,
        metrics | {"float_mpjpe_mm": float_mpjpe_mm},
        bench.config,
    )


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
    count = max(recipe("int8-static").calibration_images, recipe(bench.config.recipe).calibration_images)
    return normalised(bench.judge.calibration(count, bench.config.seed))


def _reference_file(config: SearchConfig) -> Path:
    return config.folder / "reference" / config.runtime / runtimes.get(config.runtime).FILES[0]


def _reference_ms(config: SearchConfig, runtime: str) -> float:
    figures = _read(config.folder / "reference" / "reference.json")
    return float(figures[runtime]["median_ms"])


def _costs(arch: Arch) -> dict[str, Any]:
    return asdict(cost(arch))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
