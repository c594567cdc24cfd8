"""Finalists: networks of the front that are trained longer, exported for every runtime and certified."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from arch.cost import cost
from arch.documents import load_written
from arch.files import content_hash, write_atomic
from arch.space import Arch, make_arch
from explore.estimate import FULL_NOISE_MM
from explore.evaluation.evaluator import Accuracy
from explore.evaluation.intervals import Units
from explore.export.bundles import export_bundle
from explore.export.certificates import certificate_row, simulated_costs
from explore.export.exporter import Predictions
from explore.measure.latency import Disturbed, Latency
from explore.search.budget.equal_compute import further_samples
from explore.search.candidate import counted, export_and_evaluate, latency_fields, network_figures, train_fully
from explore.search.config import SearchConfig
from explore.search.context import EvalContext
from explore.search.costs.latency import measure_files, measured_source
from explore.search.costs.objectives import figures, is_within_limits, reference_ms, values
from explore.search.costs.predicted_latency import predicted_ratio
from explore.search.costs.quantities import LOCAL, peak_memory
from explore.search.costs.remote_devices import measure_remote
from explore.search.recipes_of_trial import bundle_name, exported_recipes, result_file
from explore.search.results import CandidateResult, FinalistResult, FinalistRow, TrainResult
from explore.search.rungs import training_seconds
from explore.search.selection import UncertainError, draw_errors, front_probability, select_finalists
from explore.search.storage.records import EQUAL_SAMPLES
from explore.search.storage.trial_values import result_of
from explore.search.study import SearchFailed, completed
from explore.search.workers.leases import LATENCY, Lease, LeaseMonitor, lease_resource, release_resource
from quantize.checkpoint import load_network
from quantize.recipes import recipe

NORMAL_QUANTILE = 1.96  # half of the width of a 95% interval, in standard deviations
SETTINGS = "settings"  # file in the folder of all finalists: the hash of the settings that they were made with


@dataclass(frozen=True)
class Finalist:
    """A chosen network and the recipes that it is exported with."""

    arch: Arch
    recipes: tuple[str, ...]

    @property
    def recipe_names(self) -> list[str]:
        return [recipe(name).name for name in self.recipes]

    def folder(self, config: SearchConfig) -> Path:
        return config.folder / "finalists" / self.arch.id

    def result_file(self, config: SearchConfig) -> Path:
        return self.folder(config) / "result.json"

    def failure_file(self, config: SearchConfig) -> Path:
        return self.folder(config) / "failed.json"

    def result(self, config: SearchConfig) -> FinalistResult | None:
        """Read the result, or None if there is none for all of the recipes."""
        path = self.result_file(config)
        if not path.exists():
            return None
        result = FinalistResult.read(path)
        return result if set(self.recipe_names) <= set(result.recipes) else None

    def has_ended(self, config: SearchConfig) -> bool:
        return self.failure_file(config).exists() or self.result(config) is not None

    def fail(self, config: SearchConfig, reason: str) -> None:
        """Record that the finalist has no result; the next `search` tries it again."""
        write_atomic(self.failure_file(config), json.dumps({"reason": reason}))


@dataclass(frozen=True)
class Validation:
    """Errors on the part that candidates are chosen on: validation, or test in studies of version 0.1.

    mean_pose_mm: of the mean-pose baseline
    units: independent units of the samples; None if their errors are not known
    frame_errors: returns the errors (N,) of a candidate's exported file, mm; None if they are not known
    """

    mean_pose_mm: float = 0.0
    units: Units | None = None
    frame_errors: Callable[[CandidateResult], NDArray[np.float64] | None] = lambda result: None
    part: str = "validation"


def choose_finalists(
    config: SearchConfig, study: optuna.Study, others: dict[str, Arch], validation: Validation
) -> list[Finalist]:
    """Choose networks along the front, the paper's within the limits, and the study's references.

    Networks of the front are chosen by validation error with its uncertainty (see `explore.search.selection`). The
    choice is kept in `finalists.json`: the most expensive first, or in order of importance where all are trained equally
    long, so that the budget can end the phase.

    Raises:
        SearchFailed: no candidate finished, or none is within the limits.
    """
    trials = completed(study)
    if not trials:
        raise SearchFailed("no candidate finished; see the reasons in trials.csv and in the logs folder")
    within = [t for t in trials if is_within_limits(config, figures(result_of(config, t)))]
    if not within:
        limits = ", ".join(config.limits)
        raise SearchFailed(
            f"none of {len(trials)} candidates is within {limits}; raise a limit, or try more candidates"
        )
    ids = {arch.id for arch in others.values()}
    own = [t for t in within if t.user_attrs["arch"] not in ids] or within
    chosen, probability = _along_front(config, [result_of(config, t) for t in own], validation)
    tried_first = [t for t in within if "baseline" in t.user_attrs]
    pairs = [_network_and_recipe(config, own[index]) for index in chosen]
    compared = [_network_and_recipe(config, trial) for trial in tried_first]
    compared += [(arch, exported_recipes(config)[0]) for arch in others.values()]
    if config.equal_compute:
        ordered = [pair for both in zip_longest(pairs, compared) for pair in both if pair is not None]
    else:
        ordered = sorted(pairs + compared, key=lambda pair: -cost(pair[0]).macs)
    recipes: dict[Arch, list[str]] = {}
    for arch, name in ordered:
        recipes.setdefault(arch, []).append(config.quantization if config.objective == "float" else name)
    finalists = [Finalist(arch, tuple(dict.fromkeys(names))) for arch, names in recipes.items()]
    on_front = {pair[0].id: round(float(probability[index]), 3) for pair, index in zip(pairs, chosen, strict=True)}
    listed = [
        {
            "arch": f.arch.model_dump(mode="json"),
            "recipes": list(f.recipes),
            "front_probability": on_front.get(f.arch.id),
        }
        for f in finalists
    ]
    write_atomic(config.folder / "finalists.json", json.dumps(listed, indent=1))
    for finalist in finalists:
        finalist.failure_file(config).unlink(missing_ok=True)
    return finalists


def _along_front(
    config: SearchConfig, results: list[CandidateResult], validation: Validation
) -> tuple[list[int], NDArray[np.float64]]:
    """Return the indices of the candidates to train further, and the probability of each to be on the front."""
    points = np.array([values(config, figures(result)) for result in results])
    errors = [_uncertain_error(result, validation) for result in results]
    drawn = draw_errors(errors, validation.units, config.seed)
    worst_mm = max(validation.mean_pose_mm, float(points[:, 0].max()))
    chosen = select_finalists(drawn, points[:, 1:], config.finalists, worst_mm)
    return chosen, front_probability(drawn, points[:, 1:])


def _uncertain_error(result: CandidateResult, validation: Validation) -> UncertainError:
    interval, frames = result.mpjpe_interval, validation.frame_errors(result)
    deviation = (interval.high - interval.low) / (2 * NORMAL_QUANTILE) if interval else 0.0
    noise = FULL_NOISE_MM if result.noise_mm is None else result.noise_mm
    return UncertainError(result.mpjpe_mm, deviation, noise, frames)


def set_aside_other_settings(config: SearchConfig, finalists: list[Finalist]) -> None:
    """Move the finalists of other final settings away, and those of the present settings back.

    A finalist's folder holds files and weights of one `SearchConfig.final_hash` and, with equal training compute, of one
    most expensive finalist. The others are kept in `finalists-HASH`, in case the settings change back.
    """
    folder = config.folder / "finalists"
    mark, settings = folder / SETTINGS, config.final_hash
    if config.equal_compute:
        settings = content_hash([settings, _most_expensive(finalists).id])
    if mark.exists() and mark.read_text() != settings:
        folder.rename(config.folder / f"finalists-{mark.read_text()}")
    kept = config.folder / f"finalists-{settings}"
    if kept.exists() and not folder.exists():
        kept.rename(folder)
        for finalist in finalists:
            finalist.failure_file(config).unlink(missing_ok=True)
    write_atomic(mark, settings)


def _most_expensive(finalists: list[Finalist]) -> Arch:
    return max((finalist.arch for finalist in finalists), key=lambda arch: cost(arch).macs)


def _network_and_recipe(config: SearchConfig, trial: FrozenTrial) -> tuple[Arch, str]:
    return result_of(config, trial).arch, trial.user_attrs.get("recipe", config.quantization)


def read_finalists(config: SearchConfig) -> list[Finalist]:
    """Read the finalists that `choose_finalists` chose, in its order."""
    path = config.folder / "finalists.json"
    return [Finalist(make_arch(v["arch"], str(path)), tuple(v["recipes"])) for v in load_written(path)]


def next_finalist(
    study: optuna.Study,
    config: SearchConfig,
    monitors: dict[str, LeaseMonitor],
    abilities: frozenset[str],
    may_start: Callable[[str], bool],
) -> tuple[Finalist, Lease] | None:
    """Lease the next finalist that nobody works on; None when all have ended, or the budget leaves the rest no time.

    monitors: the worker's own, kept for all of its calls
    may_start: whether the budget leaves time for a finalist, by its id
    """
    while pending := [f for f in read_finalists(config) if not f.has_ended(config) and may_start(f.arch.id)]:
        for finalist in pending if LATENCY in abilities else []:
            name = f"finalist {finalist.arch.id}"
            monitor = monitors.setdefault(name, LeaseMonitor(config.lease))
            lease = lease_resource(study, name, monitor)
            if lease is None:
                continue
            if finalist.has_ended(config):
                release_resource(study, lease)
            elif reason := lease.give_up_reason():
                finalist.fail(config, reason)
                release_resource(study, lease)
            else:
                return finalist, lease
        time.sleep(min(2.0, config.lease / 10))
    return None


def run_finalist(context: EvalContext, finalist: Finalist) -> FinalistResult:
    """Train a finalist from its candidate's weights, export it for every runtime, and certify and measure the files.

    Its files are evaluated on the test part. The result has a row for each runtime and recipe; bundles are written to
    `bundles/NAME`. A failed check is named in the row and in the bundle's certificate, and the finalist is kept.
    """
    config, arch, folder = context.config, finalist.arch, finalist.folder(context.config)
    if (finished := finalist.result(config)) is not None:
        return finished
    training, equal_samples = _train(context, arch, folder)
    exporter = context.exporter(folder, context.test)
    assert training.float_pa_mpjpe_mm is not None
    float_network = Predictions(
        np.load(folder / "torch.npy", allow_pickle=False),
        Accuracy(training.float_mpjpe_mm, training.float_pa_mpjpe_mm),
    )
    with context.lock.shared():
        net = load_network(folder / "weights.safetensors")[0]
        quantized = [made for made in map(recipe, finalist.recipes) if made.quantized]
        costs = {made.name: simulated_costs(exporter, net, made) for made in quantized}
    models = {
        (runtime, name): export_and_evaluate(context, context.test, arch, folder, name, runtime)
        for runtime in config.every_runtime
        for name in dict.fromkeys(("float", *finalist.recipes))
    }
    context.report("latency", 0, 1)
    try:
        latencies = measure_files(context, {" ".join(key): (key[0], model.model) for key, model in models.items()})
    except Disturbed:
        latencies = {}
    rows = []
    for (runtime, name), model in models.items():
        float_file = models[runtime, "float"]
        row = certificate_row(context.test, arch, float_network, model, float_file, costs.get(model.recipe.name, {}))
        row |= {
            "mpjpe_interval": model.accuracy.interval,
            "peak_bytes": round(peak_memory(arch, model.recipe)),
            "bundle": None,
            "file": str(model.model.relative_to(folder)),
        }
        if latencies:
            row |= row_latency(config, latencies[f"{runtime} {name}"], latencies[f"{runtime} float"])
        if name in finalist.recipes:
            row["bundle"] = bundle_name(config, arch, runtime, recipe(name).name)
            if runtime == config.runtime:
                row["instructions"] = counted(context, arch, model.model)
                row["remote"] = measure_remote(config, arch, name, model.model, context.report)
            measured = {"latency_ms": None, "float_latency_ms": None} | row
            export_bundle(exporter, arch, model, measured, config.folder / row["bundle"])
            if not latencies and runtime == config.runtime:
                row |= unmeasured_latency(config, arch, name)
        rows.append(FinalistRow(**row))
    result = FinalistResult(
        **training.model_dump(),
        **network_figures(arch, config),
        recipes=finalist.recipe_names,
        rows=rows,
        equal_samples=equal_samples,
        total_train_s=_total_train_s(config, arch, folder),
    )
    write_atomic(finalist.result_file(config), result.model_dump_json(indent=2))
    return result


def row_latency(config: SearchConfig, latency: Latency, float_latency: Latency) -> dict[str, Any]:
    """Return the fields of the measured latency of an exported file. float_latency: of the network's float file"""
    found = latency_fields(config, latency.as_dict(), measured_source())
    return found | {"float_latency_ms": float_latency.ratio * reference_ms(config)}


def unmeasured_latency(config: SearchConfig, arch: Arch, name: str) -> dict[str, Any]:
    """Return the fields of a latency that could not be measured: that of the network's candidate, or a prediction."""
    path = result_file(config, arch.id, name)
    if path.exists():
        candidate = CandidateResult.read(path)
        if candidate.recipe == recipe(name).name and candidate.measured_ratio(LOCAL) is not None:
            return latency_fields(config, candidate.latency, "candidate")
    ratio, source = predicted_ratio(config, name)
    return latency_fields(config, {"ratio": ratio(arch)}, source)


def _train(context: EvalContext, arch: Arch, folder: Path) -> tuple[TrainResult, TrainResult | None]:
    """Train a finalist; return its training and, with equal training compute, the part of as many samples as all have.

    Both parts have a complete learning-rate schedule and batches of their own.
    """
    config = context.config
    init_from = _fully_trained(context, arch)
    seed = config.seed + len(config.rungs) + 1  # other batches than in any part of the candidate's training
    seen = config.candidate.samples
    more = 0
    if config.equal_compute:
        largest = cost(_most_expensive(read_finalists(config))).macs
        more = further_samples(config, cost(arch).macs, largest, len(context.test.train))
    if not more:
        training = train_fully(context, context.test, arch, config.final, folder, init_from, seen, seed)
        return training, training if config.equal_compute else None
    first = folder / EQUAL_SAMPLES
    equal_samples = train_fully(context, context.test, arch, config.final, first, init_from, seen, seed)
    rest = config.final.model_copy(update={"samples": more})
    weights = first / "weights.safetensors"
    seen += config.final.samples
    return train_fully(context, context.test, arch, rest, folder, weights, seen, seed + 1), equal_samples


def _total_train_s(config: SearchConfig, arch: Arch, folder: Path) -> float:
    """Return the training time of a finalist in s, its candidate's included."""
    candidate = config.folder / "candidates" / arch.id / "trained.json"
    total = training_seconds(config, TrainResult.read(candidate)) if candidate.exists() else 0.0
    for path in folder.glob("**/trained.json"):
        total += TrainResult.read(path).train_s or 0.0
    return round(total, 1)


def _fully_trained(context: EvalContext, arch: Arch) -> Path:
    """Return the weights of a candidate after full training; train it now if an estimator had replaced that."""
    config = context.config
    folder = config.folder / "candidates" / arch.id
    trained = folder / "trained.json"
    if not trained.exists() or not TrainResult.read(trained).in_full:
        folder = config.folder / "finalists" / arch.id / "from-start"
        train_fully(context, context.evaluator, arch, config.candidate, folder)
    return folder / "weights.safetensors"
