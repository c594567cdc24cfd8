"""The time of a search with a budget: the stored plan, the time so far, and until when workers start networks."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ValidationError

from arch.errors import InputError, describe
from arch.files import write_atomic
from explore.evaluation.evaluator import rendering_options
from explore.search.budget.plan import Plan, open_keys
from explore.search.budget.speed import USUAL_SPEED
from explore.search.config import SearchConfig
from explore.search.storage.records import PLAN
from explore.train.config import PASSES

SAVE_SECONDS = 5.0
LATE = 0.5  # a finalist is started while at least this part of its expected duration is left


class Stored(BaseModel):
    """The plan of a study and its time so far, as kept in its folder.

    spent_s: time of the search so far, over all runs
    until: Unix time after which no further candidate is started, or at which the finalists should have ended; None: no
        limit
    is_empty: whether the phase had no result when it began; each worker then starts a network, however late it is
    """

    plan: Plan
    spent_s: float
    until: float | None = None
    is_empty: bool = False


def read_stored(folder: Path) -> Stored | None:
    """Return the stored plan of a study's folder; None for a study without a budget.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / PLAN
    if not path.exists():
        return None
    try:
        return Stored.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, Stored)}; restore the file, or give --study another name") from None


def with_stored_plan(config: SearchConfig) -> SearchConfig:
    """Return the configuration with the budget and the numbers of the study's plan, if it has one."""
    stored = read_stored(config.folder)
    if stored is None:
        return config
    return stored.plan.applied_to(config, open_keys(config)).model_copy(update={"budget": stored.plan.budget})


def keeps_plan(config: SearchConfig) -> bool:
    """Return whether the study has a plan and is not given another budget."""
    stored = read_stored(config.folder)
    return stored is not None and ("budget" not in config.model_fields_set or config.budget_s == stored.plan.budget_s)


def may_start(config: SearchConfig, is_first: bool, finalist: str = "", pace: float = 1.0) -> bool:
    """Return whether the budget leaves time to start a network in the present phase.

    is_first: of this worker
    finalist: id of the network, for which at least the fraction LATE of its expected duration has to be left
    pace: duration of this worker's last finalist, as a fraction of the expected one
    """
    stored = read_stored(config.folder)
    if stored is None or stored.until is None or (is_first and stored.is_empty):
        return True
    return time.time() < stored.until - LATE * pace * stored.plan.finalists_s.get(finalist, 0.0)


def pace_of(config: SearchConfig, finalist: str, seconds: float) -> float:
    """Return the pace of a worker whose finalist took so long.

    It is at most 1, because other processes that slowed the worker down may have ended.
    """
    stored = read_stored(config.folder)
    expected = stored.plan.finalists_s.get(finalist) if stored else None
    return min(1.0, seconds / expected) if expected else 1.0


def without_limit(config: SearchConfig, stored: Stored) -> SearchConfig:
    """Let workers start networks at any time; return the configuration with the numbers of the stored plan."""
    write_atomic(config.folder / PLAN, stored.model_copy(update={"until": None}).model_dump_json(indent=1))
    return stored.plan.applied_to(config, open_keys(config))


class Clock:
    """The time of a planned search, kept in its folder, so that that of interrupted runs counts."""

    def __init__(self, config: SearchConfig, plan: Plan, spent_s: float, given: Collection[str]) -> None:
        """spent_s: time of the search so far, earlier runs included; given: keys that the user gave in this run"""
        self.path, self.plan, self.given = config.folder / PLAN, plan, {*plan.given, *given}
        self._start = time.monotonic() - spent_s
        self._saved = -math.inf
        self._until: float | None = None
        self._is_empty = False
        self.save()

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self._start

    @property
    def left_s(self) -> float:
        """Time until the budget is over; 0 after it."""
        return max(0.0, self.plan.budget_s - self.spent_s)

    def start_candidates(self, is_empty: bool) -> None:
        """Let workers start candidates as long as the plan leaves them time. is_empty: there is no result yet"""
        self._start_until(None if "trials" in self.given else self.plan.candidates_until_s, is_empty)

    def start_finalists(self, is_empty: bool) -> None:
        """Let workers start finalists that can end in time. is_empty: there is no result yet"""
        self._start_until(None if "final.samples" in self.given else self.plan.finalists_until_s, is_empty)

    def _start_until(self, spent_s: float | None, is_empty: bool) -> None:
        self._until = None if spent_s is None else time.time() + spent_s - self.spent_s
        self._is_empty = is_empty
        self.save()

    def replan(self, plan: Plan) -> None:
        self.plan = plan
        self.save()

    def tick(self) -> None:
        """Record the time from time to time."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        stored = Stored(plan=self.plan, spent_s=round(self.spent_s, 1), until=self._until, is_empty=self._is_empty)
        write_atomic(self.path, stored.model_dump_json(indent=1))
        self._saved = time.monotonic()


def further_samples(config: SearchConfig, macs: float, largest_macs: float, frames: int) -> int:
    """Return the samples that a finalist needs after those that all have, for the training time of the most expensive.

    frames: training frames; those that are rendered are not seen more than PASSES times
    """
    stored = read_stored(config.folder)
    speed = stored.plan.speed if stored else USUAL_SPEED
    seen = config.candidate.samples + config.final.samples
    taught = speed.teaching(config)
    samples = int(seen * (speed.training(largest_macs) + taught) / (speed.training(macs) + taught))
    if rendering_options(config.data_config) is not None:
        samples = min(samples, max(seen, PASSES * frames))
    return samples - seen if samples - seen >= config.final.batch_size else 0
