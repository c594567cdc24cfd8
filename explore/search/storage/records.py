"""The trials and finalists of a study, read from its storage and its folder, for reports."""

from __future__ import annotations

import datetime
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from arch.documents import load_written
from arch.space import Arch, make_arch
from explore.evaluation.evaluator import Evaluator
from explore.evaluation.intervals import Interval
from explore.evaluation.metrics import frame_errors
from explore.search.config import SearchConfig
from explore.search.costs.objectives import figures, latency_key
from explore.search.costs.quantities import LatencySource
from explore.search.results import CandidateResult, FinalistResult, FinalistRow, finalist_results
from explore.search.rungs import stage_reached
from explore.search.storage.trial_values import current_values, is_complete, result_of
from explore.search.study import open_stored, open_study

MIN_TRIALS = 8  # complete trials below which no parameter importance is computed
JOINTS = "joints.npy"  # beside each model file
FLOAT_JOINTS = "torch.npy"  # beside the weights
EQUAL_SAMPLES = "equal-samples"  # folder of the part of a finalist's training that all finalists have
PLAN = "budget.json"  # the plan of a search with a time budget
OBJECTIVES = ("mpjpe_mm", "latency_ms")  # of studies that do not name theirs
FOREIGN = "foreign"  # state of a complete trial without a result, which another program added


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    state: Optuna's state in lower case
    stage: how far the trial came, the last stages being `predicted` (of errors), `evaluated` and `measured`
    figures: measured values by column key, latencies on remote devices included; empty unless the trial is complete
    file: model file, relative to the study's folder
    """

    number: int
    state: str
    stage: str
    name: str
    arch_id: str
    recipe: str
    reason: str = ""
    started: datetime.datetime | None = None
    ended: datetime.datetime | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    file: str = ""


@dataclass(frozen=True)
class StudyRecords:
    """The trials and finalists of a study so far.

    importances: share of each parameter in an objective (PED-ANOVA, Watanabe et al. 2023), by objective
    """

    trials: tuple[TrialRecord, ...]
    finalists: tuple[FinalistResult, ...]
    importances: dict[str, dict[str, float]]


def read_records(config: SearchConfig, stored: bool = False) -> StudyRecords:
    """Read the records of a study.

    stored: read `study.db` in the study's folder, whatever the study was called where it was made.

    Raises:
        InputError: the storage cannot be read.
    """
    study = open_stored(config.folder) if stored else open_study(config)
    trials = study.get_trials(deepcopy=False)
    complete = sum(map(is_complete, trials))
    return StudyRecords(
        tuple(_record(trial, config) for trial in trials),
        tuple(_chosen_finalists(config.folder)),
        _importances(study, config) if complete >= MIN_TRIALS else {},
    )


def _chosen_finalists(folder: Path) -> Iterator[FinalistResult]:
    """Yield the results of the finalists in finalists.json; a reference that is no longer named is not one of them."""
    listed = folder / "finalists.json"
    chosen = {make_arch(f["arch"], str(listed)).id for f in load_written(listed)} if listed.exists() else None
    for path, result in finalist_results(folder).items():
        if chosen is None or path.parent.name in chosen:
            yield result


def read_networks(config: SearchConfig, records: StudyRecords, known: dict[str, Arch]) -> dict[str, Arch]:
    """Return the networks of all results by id; only those that are not `known` are read from disk."""
    networks = dict(known)
    for trial in records.trials:
        if trial.figures and trial.arch_id not in networks:
            path = next((config.folder / "candidates" / trial.arch_id).glob("result*.json"), None)
            if path:
                networks[trial.arch_id] = make_arch(load_written(path)["arch"], str(path))
    return networks | {result.arch_id: result.arch for result in records.finalists}


def train_minutes(folder: Path) -> float:
    """Return the training time of all candidates and finalists, interrupted runs included."""
    patterns = ("candidates/*/rung-*.json", "candidates/*/trained.json", "finalists/**/trained.json")
    parts = [load_written(path) for pattern in patterns for path in folder.glob(pattern)]
    return sum(float(part.get("train_s") or part.get("cpu_s") or 0.0) for part in parts) / 60  # cpu_s: of estimates


def _record(trial: FrozenTrial, config: SearchConfig) -> TrialRecord:
    facts = trial.user_attrs
    arch_id = facts.get("arch", "")
    found: dict[str, Any] = {}
    recipe_name = facts.get("recipe", trial.params.get("recipe", config.quantization))
    file, stage = "", stage_reached(trial)
    if is_complete(trial):
        result = result_of(config, trial)
        found, file = candidate_figures(result), candidate_file(result)
        stage, recipe_name = _last_stage(result), result.recipe
    return TrialRecord(
        number=trial.number,
        state=FOREIGN if trial.state == TrialState.COMPLETE and not file else trial.state.name.lower(),
        stage=stage,
        name=facts.get("baseline", arch_id).removesuffix("@256"),  # of studies before version 0.2
        arch_id=arch_id,
        recipe=recipe_name,
        reason=next(iter(facts.get("reason", "").splitlines()), ""),
        started=trial.datetime_start,
        ended=trial.datetime_complete,
        figures=found,
        file=file,
    )


def _last_stage(result: CandidateResult) -> str:
    """Return how far a finished candidate came; its file may be evaluated without a measured latency."""
    if not result.measured:
        return "predicted"
    return "measured" if result.sources and result.is_measured else "evaluated"


def candidate_figures(result: CandidateResult) -> dict[str, Any]:
    """Return the figures of a candidate by column key."""
    found = result.model_dump(
        exclude={"arch", "latency", "remote", "instructions", "mpjpe_interval", "float_mpjpe_interval"}
    ) | figures(result)
    return found | {"part": part_of(result), "sources": sources(result)} | interval_figures(result.mpjpe_interval)


def sources(result: CandidateResult | FinalistRow) -> dict[str, LatencySource]:
    """Return the source of each latency of a result, by column."""
    return {latency_key(address): source for address, source in result.sources.items()}


def candidate_file(result: CandidateResult) -> str:
    """Return the model file of a candidate, relative to the study's folder."""
    return f"candidates/{result.arch_id}/{result.file}"


def candidate_frame_errors(
    config: SearchConfig, evaluator: Evaluator, result: CandidateResult
) -> NDArray[np.float64] | None:
    """Return the errors (N,) of a candidate's file on the part of `evaluator`, mm; None if no joints are stored."""
    return stored_frame_errors((config.folder / candidate_file(result)).parent / JOINTS, evaluator)


def stored_frame_errors(path: Path, evaluator: Evaluator) -> NDArray[np.float64] | None:
    """Return the errors (N,) of a file of predicted joints, mm; None if there is none for the part of `evaluator`."""
    joints = np.load(path, allow_pickle=False) if path.is_file() else None
    if joints is None or joints.shape != evaluator.data.joints_cam.shape:
        return None
    errors: NDArray[np.float64] = frame_errors(joints, evaluator.data)
    return errors


def part_of(result: CandidateResult) -> str:
    """Return the part of the data that a candidate was evaluated on; version 0.1 knew only the test part."""
    return result.part or ("validation" if "mpjpe_interval" in result.model_fields_set else "test")


def interval_figures(interval: Interval | None) -> dict[str, Any]:
    """Return the figures of an MPJPE's interval by column key; none where there is no interval."""
    if interval is None or not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return {}
    units = f"{interval.units} {interval.unit}s"
    return {"mpjpe_low_mm": interval.low, "mpjpe_high_mm": interval.high, "units": units}


def joints_files(config: SearchConfig, records: StudyRecords) -> dict[tuple[str, str, str, str], Path]:
    """Return where the joints predicted by each file are stored, by kind of row, network, runtime and recipe.

    Those of the kind "equal samples" are predicted by float networks.

    The files contain camera mm (N, J, 3) of the part that the file was evaluated on. They may be missing.
    """
    found = {
        ("candidate", trial.arch_id, config.runtime, trial.recipe): trial.file for trial in records.trials if trial.file
    }
    for finalist in records.finalists:
        for row in finalist.rows:
            key = ("exported", finalist.arch_id, row.runtime, row.recipe)
            found[key] = f"finalists/{finalist.arch_id}/{row.file}"
    paths = {key: (config.folder / file).parent / JOINTS for key, file in found.items()}
    for finalist in records.finalists:
        folder = config.folder / "finalists" / finalist.arch_id
        part = folder / EQUAL_SAMPLES / FLOAT_JOINTS
        for recipe in finalist.recipes:
            key = ("equal samples", finalist.arch_id, config.runtime, recipe)
            paths[key] = part if part.is_file() else folder / FLOAT_JOINTS
    return paths


def _importances(study: optuna.Study, config: SearchConfig) -> dict[str, dict[str, float]]:
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few trials in a branch of the space; the page shows how many there were
        for index, name in enumerate(study.metric_names or OBJECTIVES):
            shares = optuna.importance.get_param_importances(study, target=_objective(config, index))
            found[name] = {key: round(value, 4) for key, value in shares.items()}
    return found


def _objective(config: SearchConfig, index: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: float((current_values(config, trial) or trial.values)[index])
