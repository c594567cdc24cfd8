"""The plan of a search with a time budget: its numbers, and which of them the user gave."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict

from explore.search.budget.speed import Speed
from explore.search.config import SearchConfig

NUMBERS = ("trials", "candidate.samples", "finalists", "final.samples")  # a study that gives all of these has no plan
PLANNED = (*NUMBERS, "rungs", "references", "equal_compute", "dataset.train_frames")
BUSY = 1.2  # `Speed.busy` from which on the plan says so


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
        stop = f", none starts after {clock(self.candidates_until_s)}" if self.candidates_until_s is not None else ""
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
            found.append(f"  the numbers given take about {clock(self.expected_s)}, longer than the budget")
        return found

    @property
    def finalists_line(self) -> str:
        """The training of the finalists, as text."""
        if self.equal_compute:
            most = f"{self.samples + self.final_samples:,} samples for the most expensive one"
            return f"equal training compute, {clock(self.compute_s)} of one worker: {most}, more for the others"
        return f"{self.samples:,} + {self.final_samples:,} samples each"

    def applied_to(self, config: SearchConfig, keys: Collection[str]) -> SearchConfig:
        """Return the configuration with the planned numbers of `keys`."""
        numbers: dict[str, Any] = {
            "trials": self.trials,
            "candidate.samples": self.samples,
            "finalists": self.finalists,
            "final.samples": self.final_samples,
            "rungs": self.rungs,
            "references": self.references,
            "equal_compute": self.equal_compute,
            "dataset.train_frames": self.train_frames,
        }
        for key in keys:
            part, _, name = key.rpartition(".")
            value = numbers[key]
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


def clock(seconds: float) -> str:
    """Return a duration as `6:05` or `1:06:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
