"""The summary of a study from its records: the rows of its tables, their front and their comparisons."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from explore.pareto import non_dominated_rank
from explore.report.columns import COUNT_PREFIX, DEVICE_PREFIX
from explore.report.comparisons import Comparisons, compare_files
from explore.report.predictions import load_predictions
from explore.report.rows import AnyRow, EqualSamplesRow, ExportedRow, Row, TrialRow, nan
from explore.report.snapshot import Snapshot, load_snapshot
from explore.report.summary import Summary, label_rows, settings_of
from explore.search.config import SearchConfig
from explore.search.costs.instructions import counted_instructions
from explore.search.costs.objectives import is_within_limits, latency_key, objectives, values
from explore.search.results import FinalistResult
from explore.search.storage.records import StudyRecords, TrialRecord, interval_figures, read_networks, sources

if TYPE_CHECKING:
    from explore.evaluation.evaluator import Evaluator


def summarise(
    config: SearchConfig,
    records: StudyRecords,
    baselines: Collection[str] | None = None,
    environment: dict[str, Any] | None = None,
    evaluators: Mapping[str, Evaluator] | None = None,
    validation_mean_pose_mm: float | None = None,
    run_minutes: float | None = None,
) -> Summary:
    """Return the summary of a study from its records.

    Networks, predictions, comparisons and errors of the mean-pose baseline that an earlier report wrote into the folder
    are kept.

    baselines: names of the presets to compare with; None: all names that begin like a preset's
    evaluators: by part; files are compared on the parts that are given
    """
    before, evaluators = load_snapshot(config.folder), evaluators or {}
    networks = read_networks(config, records, before.networks)
    trials = label_rows(_trial_rows(config, records.trials), networks, baselines)
    exported = label_rows(_exported_rows(config, records.finalists), networks, baselines)
    costs = objectives(config)[1:]
    equal_samples = label_rows(equal_samples_rows(config, exported, records.finalists, costs), networks, baselines)
    compared = compare_files(config, records, trials, exported, evaluators, before.comparisons, costs)
    compared += compare_files(config, records, (), equal_samples, evaluators, before.comparisons, costs)
    comparisons = Comparisons.of(compared)
    means = {part: evaluator.mean_pose_mm for part, evaluator in evaluators.items()}
    snapshot = Snapshot(
        networks=networks,
        minutes=ended_minutes(records.trials),
        importances=records.importances,
        mean_pose_mm=means.get("test", before.mean_pose_mm),
        validation_mean_pose_mm=means.get("validation", validation_mean_pose_mm) or before.validation_mean_pose_mm,
        comparisons=compared,
    )
    return Summary(
        folder=config.folder,
        settings=settings_of(config),
        environment=environment or {},
        trials=tuple(comparisons.label_front(trials, costs)),
        exported=tuple(
            row
            for runtime in config.every_runtime
            for row in comparisons.label_front([each for each in exported if each.runtime == runtime], costs)
        ),
        certificates={row.bundle: row.certificate for found in records.finalists for row in found.rows if row.bundle},
        snapshot=snapshot,
        predictions=load_predictions(config.folder),
        run_minutes=run_minutes,
        equal_samples=tuple(comparisons.label_front(equal_samples, costs)),
    )


def ended_minutes(trials: Iterable[TrialRecord]) -> dict[int, float]:
    """Return when each complete trial ended, in minutes of a clock that runs while at least one trial does."""
    spans = sorted((t.started, t.ended, t.number) for t in trials if t.state == "complete" and t.started and t.ended)
    ended: dict[int, float] = {}
    clock, covered = 0.0, datetime.datetime.min
    for start, stop, number in spans:
        clock += max(0.0, (stop - max(start, covered)).total_seconds())
        covered = max(covered, stop)
        ended[number] = round((clock - (covered - stop).total_seconds()) / 60, 3)
    return ended


def _trial_rows(config: SearchConfig, trials: Sequence[TrialRecord]) -> list[TrialRow]:
    candidates = [trial for trial in trials if trial.state == "complete" and is_within_limits(config, trial.figures)]
    ranks = _ranks([values(config, trial.figures) for trial in candidates])
    front = {trial.number for trial, rank in zip(candidates, ranks, strict=True) if rank == 0}
    shared = [field.name for field in fields(TrialRow)]
    return [
        TrialRow(
            trial=trial.number,
            runtime=config.runtime,
            on_front=trial.number in front,
            remote={k: value for k, value in trial.figures.items() if k.startswith((DEVICE_PREFIX, COUNT_PREFIX))},
            **{
                key: value
                for key, value in (trial.figures | vars(trial)).items()
                if key in shared and value is not None and key != "runtime"
            },
        )
        for trial in trials
    ]


def _exported_rows(config: SearchConfig, finalists: Iterable[FinalistResult]) -> list[ExportedRow]:
    """Return a row for each bundle, by runtime and then by the first objective besides the error."""
    rows = []
    for runtime in config.every_runtime:
        mine = [
            ExportedRow(
                name=found.name,
                arch_id=found.arch_id,
                runtime=runtime,
                recipe=file.recipe,
                mpjpe_mm=file.mpjpe_mm,
                pa_mpjpe_mm=file.pa_mpjpe_mm,
                float_mpjpe_mm=plain.mpjpe_mm,
                latency_ms=_or_nan(file.latency_ms),
                ratio_low=_or_nan(file.latency.get("ratio_low")),
                ratio_high=_or_nan(file.latency.get("ratio_high")),
                float_latency_ms=_or_nan(plain.latency_ms if plain.is_measured else None),
                macs=found.macs,
                params=found.params,
                bytes=file.bytes,
                memory=file.peak_bytes or found.peak_activation_bytes_int8,
                samples=_or_nan(found.samples),
                train_s=_or_nan(found.total_train_s),
                bundle=file.bundle,
                part="test",
                **interval_figures(file.mpjpe_interval),
                checks_failed="; ".join(file.checks_failed),
                remote={latency_key(address): row.latency_ms for address, row in file.remote.items()}
                | counted_instructions(file),
                sources=sources(file),
            )
            for found in finalists
            for file in found.rows
            if file.runtime == runtime and file.bundle is not None
            for plain in found.rows
            if (plain.runtime, plain.recipe) == (runtime, "float")
        ]
        # A latency is unknown on a device for other runtimes than the study's, and here for them on a busy machine.
        known = {
            key for key in (*objectives(config), "latency_ms") if all(row.get(key) == row.get(key) for row in mine)
        }
        own = [key for key in objectives(config) if key in known]
        keys = own if len(own) > 1 else ["mpjpe_mm", "latency_ms" if "latency_ms" in known else "macs"]
        mine.sort(key=lambda row: float(row.get(keys[1])))
        rows += _with_front(config, mine, keys)
    return rows


def _with_front(config: SearchConfig, rows: Sequence[AnyRow], keys: Sequence[str]) -> list[AnyRow]:
    """Mark the front of the rows within the limits; the paper's networks and references may be above them."""
    within = [row for row in rows if not _above_limits(config, row)]
    ranks = _ranks([[row.get(key) for key in keys] for row in within])
    front = {row.file_key for row, rank in zip(within, ranks, strict=True) if rank == 0}
    return [replace(row, on_front=row.file_key in front) for row in rows]


def _above_limits(config: SearchConfig, row: Row) -> bool:
    """Return whether a known figure of a row is above its limit."""
    return any(float(row.get(limit.quantity.column)) > limit.value(config.input_size) for limit in config.parsed_limits)


def equal_samples_rows(
    config: SearchConfig, exported: Sequence[ExportedRow], finalists: Sequence[FinalistResult], costs: Sequence[str]
) -> list[EqualSamplesRow]:
    """Return the rows of the study's runtime with the errors of the float networks after equal samples.

    costs: column keys of the objectives besides the error
    """
    after = {found.arch_id: found.equal_samples for found in finalists if found.equal_samples is not None}
    shared = [field.name for field in fields(EqualSamplesRow) if field.name not in ("bundle", "checks_failed", "front")]
    rows = []
    for row in exported:
        training = after.get(row.arch_id)
        if training is None or row.runtime != config.runtime:
            continue
        values: dict[str, Any] = {key: getattr(row, key) for key in shared}
        values |= {"mpjpe_low_mm": nan, "mpjpe_high_mm": nan} | interval_figures(training.float_mpjpe_interval)
        values |= {
            "mpjpe_mm": training.float_mpjpe_mm,
            "pa_mpjpe_mm": _or_nan(training.float_pa_mpjpe_mm),
            "float_mpjpe_mm": training.float_mpjpe_mm,
            "samples": _or_nan(training.samples),
            "train_s": nan,
        }
        rows.append(EqualSamplesRow(**values))
    return _with_front(config, rows, ["mpjpe_mm", *costs])


def _or_nan(value: float | None) -> float:
    return nan if value is None else value


def _ranks(points: list[list[float]]) -> list[int]:
    return non_dominated_rank(np.array(points)).tolist() if points else []
