"""The plan of a search with a time budget, as stored in its study with the time so far, and the clock of the search."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from arch.errors import InputError, describe
from arch.files import write_atomic
from explore.search.budget.speed import Speed
from explore.search.config import SearchConfig
from explore.search.storage.records import PLAN

NUMBERS = ("trials", "candidate.samples", "finalists", "final.samples")  # a study that gives all of these has no plan
PLANNED = {  # planned keys of the configuration, and the fields of `Plan` with their numbers
    "trials": "trials",
    "candidate.samples": "samples",
    "finalists": "finalists",
    "final.samples": "final_samples",
    "rungs": "rungs",
    "references": "references",
    "equal_compute": "equal_compute",
    "dataset.train_frames": "train_frames",
}
BUSY = 1.2  # `Speed.busy` from which on the plan says so
SAVE_SECONDS = 5.0
LATE = 0.5  # a finalist is started while at least this part of its expected duration is left


class Plan(BaseModel):
    """The numbers of a search that fit a budget.

    workers: on this machine
    given: keys that the user gave
    renders: whether training frames are rendered, of which `train_frames` is the number
    samples: of a candidate; final_samples: of the most expensive finalist, after those of its candidate
    candidates_until_s: time after which no candidate starts; None: all `trials` are evaluated, since they were given
    finalists_until_s: time at which the finalists should have ended; None: all are trained, since their samples were given
    expected_s: expected duration of the search
    compute_s: training time of each finalist, its candidate's included, if all have the same
    finalists_for: ids of the finalists that `final_samples` were decided for; empty before
    finalists_s: expected duration of each of these, by id
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    budget: str
    budget_s: float
    workers: int
    speed: Speed
    given: tuple[str, ...]
    trials: int
    samples: int
    rungs: tuple[float, ...]
    finalists: int
    references: tuple[str, ...]
    final_samples: int
    equal_compute: bool
    train_frames: int
    renders: bool = True
    candidates_until_s: float | None
    finalists_until_s: float | None
    expected_s: float
    compute_s: float
    finalists_for: tuple[str, ...] = ()
    finalists_s: dict[str, float] = {}

    @property
    def lines(self) -> list[str]:
        """The plan, as lines to print."""
        small, large = 20e6, 273e6
        speed = " and ".join(
            f"{1 / self.speed.training(macs):.0f} samples/s at {macs / 1e6:.0f} M MACs" for macs in (small, large)
        )
        stop = (
            f", none starts after {clock_text(self.candidates_until_s)}" if self.candidates_until_s is not None else ""
        )
        rungs = f", rungs at {', '.join(f'{rung:.0%}' for rung in self.rungs)}" if self.rungs else ""
        others = f" and {', '.join(self.references)}" if self.references else ""
        found = [
            f"plan for {self.budget}: {self.workers} {'worker' if self.workers == 1 else 'workers'}, each {speed}",
            *([f"  data        {self.train_frames:,} rendered training frames"] if self.renders else []),
            f"  candidates  {self.trials} networks x {self.samples:,} samples{rungs}{stop}",
            f"  finalists   {self.finalists} of the front{others}; {self.finalists_line}",
        ]
        if self.given:
            found.append(f"  given       {', '.join(self.given)}")
        if self.speed.busy > BUSY:
            found.append("  other processes keep this machine busy; the search adapts to the time that is left")
        if self.expected_s > 1.02 * self.budget_s and self.given:
            found.append(f"  the numbers given take about {clock_text(self.expected_s)}, longer than the budget")
        return found

    @property
    def finalists_line(self) -> str:
        """The training of the finalists, as text."""
        if self.equal_compute:
            most = f"{self.samples + self.final_samples:,} samples for the most expensive one"
            return f"equal training compute, {clock_text(self.compute_s)} of one worker: {most}, more for the others"
        return f"{self.samples:,} + {self.final_samples:,} samples each"

    def applied_to(self, config: SearchConfig, keys: Collection[str]) -> SearchConfig:
        """Return the configuration with the planned numbers of `keys`."""
        for key in keys:
            part, _, name = key.rpartition(".")
            value: Any = getattr(self, PLANNED[key])
            if part:
                value = getattr(config, part).model_copy(update={name: value})
            config = config.model_copy(update={part or name: value})
        return config


def given_keys(config: SearchConfig) -> tuple[str, ...]:
    """Return which of the planned keys the user gave."""
    found = []
    for key in PLANNED:
        part, _, name = key.rpartition(".")
        owner = getattr(config, part) if part else config
        if name in owner.model_fields_set and (not part or part in config.model_fields_set):
            found.append(key)
    return tuple(found)


def open_keys(config: SearchConfig) -> tuple[str, ...]:
    """Return which of the planned keys the user did not give."""
    given = given_keys(config)
    return tuple(key for key in PLANNED if key not in given)


def needs_plan(config: SearchConfig) -> bool:
    """Return whether the numbers of a new study are planned: there is a budget, and not all numbers are given."""
    all_given = set(NUMBERS) <= set(given_keys(config))
    return config.budget != "none" and ("budget" in config.model_fields_set or not all_given)


def clock_text(seconds: float) -> str:
    """Return a duration as `6:05` or `1:06:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


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
        self._limit_s: float | None = None  # of `spent_s`, up to which networks may start
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
        self._limit_s = spent_s
        self._is_empty = is_empty
        self.save()

    def tick(self) -> None:
        """Record the time from time to time."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        spent_s = self.spent_s
        # Workers compare with the wall clock, which may jump, or go on while the machine sleeps.
        until = None if self._limit_s is None else time.time() + self._limit_s - spent_s
        stored = Stored(plan=self.plan, spent_s=round(spent_s, 1), until=until, is_empty=self._is_empty)
        write_atomic(self.path, stored.model_dump_json(indent=1))
        self._saved = time.monotonic()
