"""What the page shows of a study beyond its tables, kept beside them: a copied folder needs neither storage nor data.

`page/study.json` is made from the study's storage and is small: networks by id, when each trial ended, what mattered.
"""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict

from arch.files import write_atomic
from arch.space import Arch, make_arch
from explore.report.part import read_part

FILE = "page/study.json"
FEWEST = 8  # finished trials before anything is said about what mattered
OBJECTIVES = ("mpjpe_mm", "latency_ms")  # of studies that do not name theirs


class Kept(BaseModel):
    """The content of page/study.json.

    networks: fields that differ from Arch's defaults, by arch id
    minutes: when a trial ended, by its number; the clock stands still while the study does
    importances: share of each parameter in an objective (PED-ANOVA, Watanabe et al. 2023), by objective
    """

    model_config = ConfigDict(frozen=True)

    networks: dict[str, dict[str, Any]] = {}
    minutes: dict[int, float] = {}
    importances: dict[str, dict[str, float]] = {}
    mean_pose_mm: float | None = None


def keep(folder: Path, study: optuna.Study, mean_pose_mm: float | None = None) -> None:
    """Write page/study.json; without `mean_pose_mm` the one written before stays."""
    before = load_kept(folder)
    trials = study.get_trials(deepcopy=False)
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    networks = dict(before.networks)
    for trial in done:
        made = folder / "candidates" / trial.user_attrs.get("arch", "")
        path = next(made.glob("result*.json"), None)  # by any recipe
        if path and made.name not in networks:
            arch = make_arch(json.loads(path.read_text())["arch"], str(path))
            networks[arch.id] = short_fields(arch)
    for path in folder.glob("finalists/*/result.json"):  # what is compared with was no candidate
        if path.parent.name not in networks:
            arch = make_arch(json.loads(path.read_text())["arch"], str(path))
            networks[arch.id] = short_fields(arch)
    kept = Kept(
        networks=networks,
        minutes=minutes_of(trials),
        importances=_importances(study) if len(done) >= FEWEST else {},
        mean_pose_mm=before.mean_pose_mm if mean_pose_mm is None else mean_pose_mm,
    )
    write_atomic(folder / FILE, json.dumps(kept.model_dump(mode="json"), separators=(",", ":")))


def load_kept(folder: Path) -> Kept:
    """What `keep` wrote; empty where there is nothing.

    Raises:
        InputError: a file that is no such thing.
    """
    return read_part(folder / FILE, Kept)


def short_fields(arch: Arch) -> dict[str, Any]:
    """The fields of a network that are not Arch's defaults; `make_arch` of them gives it back."""
    values = arch.model_dump(mode="json")
    return {key: values[key] for key, field in Arch.model_fields.items() if getattr(arch, key) != field.default}


def minutes_of(trials: list[FrozenTrial]) -> dict[int, float]:
    """When each finished trial ended, in minutes of a clock that runs while at least one trial does."""
    spans = sorted(
        (t.datetime_start, t.datetime_complete, t.number)
        for t in trials
        if t.state == TrialState.COMPLETE and t.datetime_start and t.datetime_complete
    )
    ended: dict[int, float] = {}
    clock, reached = 0.0, datetime.datetime.min
    for start, stop, number in spans:
        # What of this span nobody before covered is new; its end lies behind `reached` by what is left over.
        clock += max(0.0, (stop - max(start, reached)).total_seconds())
        reached = max(reached, stop)
        ended[number] = round((clock - (reached - stop).total_seconds()) / 60, 3)
    return ended


def _importances(study: optuna.Study) -> dict[str, dict[str, float]]:
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few trials in a branch of the space: said on the page
        for index, name in enumerate(study.metric_names or OBJECTIVES):
            shares = optuna.importance.get_param_importances(study, target=_objective(index))
            found[name] = {key: round(value, 4) for key, value in shares.items()}
    return found


def _objective(index: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: float(trial.values[index])
