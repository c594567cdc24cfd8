"""Result and values of a finished trial. Optuna's copy lacks latencies that were measured after the trial ended.

Optuna changes no finished trial. Samplers and reports therefore read the values from the result's file.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from explore.search.config import SearchConfig
from explore.search.costs.objectives import figures, values
from explore.search.recipes_of_trial import result_file
from explore.search.results import CandidateResult

RESULT = "path"  # user attribute of a trial: its result's file, relative to the study's folder


def is_complete(trial: FrozenTrial) -> bool:
    """Return whether a trial has a result; other programs may add complete trials without one."""
    return trial.state == TrialState.COMPLETE and (RESULT in trial.user_attrs or "arch" in trial.user_attrs)


def result_of(config: SearchConfig, trial: FrozenTrial) -> CandidateResult:
    """Read the result of a completed trial."""
    return CandidateResult.read(_path(config, trial))


def current_values(config: SearchConfig, trial: FrozenTrial) -> list[float] | None:
    """Return the values of a trial by the latest measurements; Optuna's where there is no result, or not here."""
    if not is_complete(trial) or not _path(config, trial).is_file():
        return trial.values
    path = _path(config, trial)
    return values(config, _figures(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=2048)
def _figures(path: Path, changed_ns: int) -> dict[str, Any]:
    return figures(CandidateResult.read(path))


def _path(config: SearchConfig, trial: FrozenTrial) -> Path:
    attrs = trial.user_attrs
    if RESULT in attrs:
        return config.folder / str(attrs[RESULT])
    return result_file(config, attrs["arch"], attrs.get("recipe", config.quantization))  # version 0.1
