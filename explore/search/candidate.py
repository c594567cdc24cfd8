"""The life of a candidate: train, export, evaluate on the validation part, and measure, in this order.

Each step leaves its result in the candidate's folder as a whole, and returns at once if the result is there. Another
worker therefore continues where one stopped, and an equal candidate of another study is taken from the shared cache.
Rungs and estimators only decide how long a candidate is trained.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from arch.cost import cost
from arch.documents import load_written
from arch.files import write_atomic
from arch.network import build
from arch.space import Arch
from explore.evaluation.evaluator import Evaluator
from explore.export.certificates import simulated_costs
from explore.export.exporter import ExportedModel, evaluate_predictions
from explore.export.mixed_precision import export_within_budget
from explore.host import try_lock
from explore.measure.latency import Disturbed
from explore.search.config import SearchConfig
from explore.search.context import EvalContext
from explore.search.costs.instructions import count_instructions, counted_cpus
from explore.search.costs.latency import measure_files, measured_source
from explore.search.costs.objectives import measures_here, reference_ms
from explore.search.costs.predicted_latency import predicted_ratio
from explore.search.costs.quantities import LatencySource, peak_memory
from explore.search.costs.remote_devices import measure_remote
from explore.search.recipes_of_trial import result_file
from explore.search.results import CandidateResult, TrainResult
from explore.search.rungs import rung_weights, samples_at
from explore.search.storage import cache
from explore.search.teacher import teacher_of
from explore.search.workers.leases import LATENCY, HandOver
from explore.train.config import TrainConfig
from explore.train.distill import make_objective
from explore.train.loop import PoseObjective, predict, train_and_evaluate
from explore.train.loop import train as train_network
from explore.train.provenance import trained_on
from quantize.checkpoint import load_network, save_network
from quantize.recipes import recipe

AtRung = Callable[[int, float], None]


def run_candidate(context: EvalContext, arch: Arch, recipe_name: str, at_rung: AtRung) -> CandidateResult:
    """Take a network from random weights to the error and the latency of its exported file.

    at_rung: called with the index of each rung and the float network's error there, mm; raises to stop the candidate

    Raises:
        ConversionError, Diverged, DeviceError: the candidate cannot be evaluated.
        HandOver: only the latency is missing, which another machine has to measure.
    """
    config = context.config
    path = result_file(config, arch.id, recipe_name)
    if path.exists():
        return CandidateResult.read(path)
    folder = path.parent
    with network_lock(context, arch):
        pass_rungs(context, arch, folder, at_rung)  # before the cache, because others are compared with this error
        if result := cache.take_result(config, context.evaluator, arch, recipe_name):
            return result
    training = train(context, arch, folder, at_rung)
    model = export_and_evaluate(context, context.evaluator, arch, folder, recipe_name)
    if measures_here(config) and not context.can_measure:
        raise HandOver(LATENCY)
    result = CandidateResult(
        **training.model_dump(),
        **network_figures(arch, config),
        runtime=model.runtime,
        recipe=model.recipe.name,
        file=str(model.model.relative_to(folder)),
        bytes=model.summary.bytes,
        peak_bytes=round(peak_memory(arch, model.recipe)),
        part=context.evaluator.part,
        mpjpe_mm=model.accuracy.mpjpe if training.measured else training.float_mpjpe_mm,
        pa_mpjpe_mm=model.accuracy.pa_mpjpe if training.measured else None,
        mpjpe_interval=model.accuracy.interval if training.measured else None,
        export_s=model.seconds,
        **(measured_or_predicted(context, arch, recipe_name, model.model) if measures_here(config) else {}),
        remote=measure_remote(config, arch, recipe_name, model.model, context.report),
        instructions=counted(context, arch, model.model),
    )
    write_atomic(path, result.model_dump_json(indent=2))
    if all(source == "measured" for source in result.sources.values()):  # and not under load
        cache.keep_result(config, context.evaluator, arch, recipe_name)
    return result


def train(context: EvalContext, arch: Arch, folder: Path, at_rung: AtRung) -> TrainResult:
    """Train from rung to rung and to the end, or estimate the error as the study's estimator does."""
    config, done = context.config, folder / "trained.json"
    with network_lock(context, arch):
        if done.exists():
            return TrainResult.read(done)
        if config.estimator != "full":
            return estimate(context, arch, folder)
        pass_rungs(context, arch, folder, at_rung)
        last = len(config.rungs) - 1
        seen, init_from = samples_at(config, last), rung_weights(config, arch, last) if config.rungs else None
        rest = config.candidate.model_copy(update={"samples": config.candidate.samples - seen})
        return train_fully(
            context, context.evaluator, arch, rest, folder, init_from, seen, config.seed + len(config.rungs)
        )


@contextmanager
def network_lock(context: EvalContext, arch: Arch) -> Iterator[None]:
    """Hold the lock of a network's training; candidates with different recipes share its weights.

    A worker that waits reports that it is alive, because the training of another one may take hours.
    """
    path = context.config.folder / "locks" / f"weights-{arch.id}.lock"
    while (held := try_lock(path)) is None:
        context.report("train", 0, 1)
        time.sleep(1.0)
    with held:
        yield


def pass_rungs(context: EvalContext, arch: Arch, folder: Path, at_rung: AtRung) -> None:
    """Train from rung to rung, unless the network is trained to the end."""
    if (folder / "trained.json").exists():
        return
    for index in range(len(context.config.rungs)):
        cache.take_rung(context.config, context.evaluator, arch, index)
        at_rung(index, train_to_rung(context, arch, index))


def train_to_rung(context: EvalContext, arch: Arch, index: int) -> float:
    """Train from the previous rung to the one of that index; return the float network's error, mm.

    Each part has a complete learning-rate schedule and batches of its own, so that errors at a rung are comparable.
    """
    config = context.config
    weights = rung_weights(config, arch, index)
    record = weights.with_suffix(".json")
    if not record.exists():
        before = samples_at(config, index - 1)
        samples = samples_at(config, index) - before
        settings, seed = config.candidate.model_copy(update={"samples": samples}), config.seed + index
        found = train_and_evaluate(
            arch,
            context.evaluator,
            settings,
            seed,
            weights,
            rung_weights(config, arch, index - 1) if index else None,
            context.lock.shared,
            lambda done, total: context.report("train", before + done, config.candidate.samples),
            context.engine,
            make_objective(settings, context.evaluator.train, seed, context.engine),
        )
        facts = {"samples": before + samples, "float_mpjpe_mm": found.mpjpe_mm, "train_s": round(found.seconds, 1)}
        write_atomic(record, json.dumps(facts))
        cache.keep_rung(config, context.evaluator, arch, index)
    return float(load_written(record)["float_mpjpe_mm"])


def train_fully(
    context: EvalContext,
    evaluator: Evaluator,
    arch: Arch,
    settings: TrainConfig,
    folder: Path,
    init_from: Path | None = None,
    seen: int = 0,
    seed: int | None = None,
) -> TrainResult:
    """Train with `settings`, from the weights `init_from` that have seen `seen` samples.

    Leaves `weights.safetensors`, the joints predicted for the part that `evaluator` evaluates (camera mm) in
    `torch.npy`, and `trained.json`.
    """
    done, engine, data = folder / "trained.json", context.engine, context.evaluator.train
    if done.exists() and (folder / "torch.npy").exists():
        return TrainResult.read(done)
    seed = context.config.seed if seed is None else seed
    teacher = teacher_of(context, settings, arch)
    state = folder / f"state{f'-{teacher.fingerprint[:8]}' if teacher else ''}.safetensors"
    result = train_network(
        arch,
        data,
        settings,
        seed,
        engine.state_file(state),
        init_from,
        context.lock.shared,
        lambda step, total: context.report("train", seen + step, seen + total),
        engine=engine,
        objective=make_objective(settings, data, seed, engine, teacher) if teacher else PoseObjective(settings),
    )
    images, step = evaluator.evaluation.images, partial(context.step, "evaluate")
    stage = evaluate_predictions(evaluator, predict(result.net, images, device=engine.device, step_context=step))
    training = TrainResult(
        samples=seen + result.samples,
        train_s=round(result.seconds, 1),
        loss=result.loss,
        skipped_steps=result.skipped_steps,
        float_mpjpe_mm=stage.accuracy.mpjpe,
        float_pa_mpjpe_mm=stage.accuracy.pa_mpjpe,
        float_mpjpe_interval=stage.accuracy.interval,
        trained_with=engine.name,
        teacher=teacher.label if teacher else None,
    )
    facts = training.model_dump(exclude_none=True, exclude={"float_mpjpe_interval"})
    save_network(
        folder / "weights.safetensors",
        result.net,
        {"data": data.name, **facts} | trained_on(context.evaluator),
    )
    np.save(folder / "torch.npy", stage.mm)
    write_atomic(done, training.model_dump_json(indent=2))
    for path in folder.glob("state*.safetensors"):  # one for each precision and teacher
        path.unlink(missing_ok=True)
    return training


def estimate(context: EvalContext, arch: Arch, folder: Path) -> TrainResult:
    """Estimate the error with the study's estimator; random weights stand in where the estimator has none."""
    found = context.estimator.estimate(arch, folder)
    weights = folder / "weights.safetensors"
    if found.weights is None:
        save_network(weights, build(arch, context.config.seed).eval(), {"untrained": True})
    elif found.weights != weights:
        shutil.copyfile(found.weights, weights)
    training = TrainResult(
        estimator=context.config.estimator,
        in_full=found.in_full,
        float_mpjpe_mm=found.mpjpe_mm,
        noise_mm=found.noise_mm,
        trained_with=context.engine.name,
        cpu_s=round(found.cpu_seconds, 2),
        measured=found.weights is not None,
    )
    write_atomic(folder / "trained.json", training.model_dump_json(indent=2))
    return training


def export_and_evaluate(
    context: EvalContext, evaluator: Evaluator, arch: Arch, folder: Path, recipe_name: str, runtime: str = ""
) -> ExportedModel:
    """Export the trained network and evaluate the exported file."""
    runtime, chosen = runtime or context.config.runtime, recipe(recipe_name)
    context.report(f"export {runtime}", 0, 1)
    weights, exporter = folder / "weights.safetensors", context.exporter(folder, evaluator)
    if chosen.float_budget_mm is not None:
        net, facts = load_network(weights)
        if not facts.get("untrained"):  # the error of random weights says nothing about layers
            with exporter.lock():
                costs = simulated_costs(exporter, net, chosen)
            return export_within_budget(exporter, context.evaluator, net, weights, runtime, chosen, costs)
    return exporter.export(arch, weights, runtime, chosen, f"{runtime}-{chosen.name}")


def counted(context: EvalContext, arch: Arch, file: Path) -> dict[str, int]:
    """Count the instructions of one inference, by processor; latency measurements wait meanwhile."""
    if not counted_cpus(context.config):
        return {}
    context.report("instructions", 0, 1)
    with context.lock.shared():
        return count_instructions(context.config, arch, file)


def measured_or_predicted(context: EvalContext, arch: Arch, recipe_name: str, file: Path) -> dict[str, Any]:
    """Return the fields of the latency on this machine: measured, or predicted if other processes disturb that."""
    context.report("latency", 0, 1)
    try:
        return measured(context, file)
    except Disturbed:
        ratio, source = predicted_ratio(context.config, recipe_name)
        return latency_fields(context.config, {"ratio": ratio(arch)}, source)


def measured(context: EvalContext, file: Path) -> dict[str, Any]:
    """Measure the exported file of a candidate beside the reference network; return the fields of its latency.

    Raises:
        Disturbed: other processes disturbed every attempt.
    """
    config = context.config
    found = measure_files(context, {"candidate": (config.runtime, file)})
    return latency_fields(config, found["candidate"].as_dict(), measured_source())


def latency_fields(config: SearchConfig, latency: dict[str, Any], source: LatencySource) -> dict[str, Any]:
    """Return the fields of a latency that `latency["ratio"]` relates to the reference network."""
    return {"latency_ms": latency["ratio"] * reference_ms(config), "latency": latency, "latency_source": source}


def network_figures(arch: Arch, config: SearchConfig) -> dict[str, Any]:
    """Return the fields of a result that follow from the network."""
    return {"name": arch.name, "arch_id": arch.id, "arch": arch, "config_hash": config.hash, **asdict(cost(arch))}
