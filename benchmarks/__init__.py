"""Benchmarks that measure the project's own claims: run `python -m benchmarks NAME` in a clone.

Each benchmark is a module with `CONFIG` and `run(progress)`, which returns rows and claims. Its record is written to
results/bench/NAME.json; a claim that misses its target stays in the record with `passed: false`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

BENCHES: dict[str, str] = {
    "data": "benchmarks.data",
    "training": "benchmarks.training",
    "distillation": "benchmarks.distillation",
    "reference": "benchmarks.reference",
    "headline": "benchmarks.headline",
    "loop": "benchmarks.loop",
    "profile": "benchmarks.profile",
    "int8": "benchmarks.int8",
    "recipes": "benchmarks.recipes",
    "latency": "benchmarks.latency",
    "predictor": "benchmarks.predictor",
    "estimators": "benchmarks.estimators",
    "hypervolume": "benchmarks.hypervolume",
    "search": "benchmarks.search",
    "faults": "benchmarks.faults",
    "scale": "benchmarks.scale",
    "landmark_map": "benchmarks.landmark_map",
    "real": "benchmarks.real",
    "task": "benchmarks.task",
    "arm": "benchmarks.arm",
}
OLD_KEYS = {"asked": "target", "holds": "passed"}  # of records of version 0.1


class Claim(BaseModel):
    """One claim: its target, the measured value, and whether the target was met.

    `low` and `high` bound the measured value in its own unit, where an interval was measured; `interval_of` names the
    kind of interval.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    target: str
    measured: str
    passed: bool
    low: float | None = None
    high: float | None = None
    interval_of: str = "95%"

    @model_validator(mode="before")
    @classmethod
    def _accept_old_keys(cls, values: Any) -> Any:
        return {OLD_KEYS.get(key, key): value for key, value in values.items()} if isinstance(values, dict) else values

    @property
    def interval(self) -> str:
        """The interval as text, or an empty string."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:.3g} to {self.high:.3g} ({self.interval_of})"


def decrease_of_each_seed(name: str, gains: NDArray[np.float64]) -> Claim:
    """Return the claim that the MPJPE decreases with every seed. gains: mm, one for each seed"""
    return Claim(
        name=f"decrease in MPJPE (mm) {name}, mean over seeds",
        target="> 0 with every seed",
        measured=f"{gains.mean():.1f} ({', '.join(f'{gain:.1f}' for gain in gains)})",
        passed=bool((gains > 0).all()),
        low=float(gains.min()),
        high=float(gains.max()),
        interval_of="all seeds",
    )


def at_least(name: str, target: float, value: float, measured: str = "", **interval: Any) -> Claim:
    """Return the claim that `value` is at least `target`; `measured` replaces the value as text."""
    return Claim(
        name=name,
        target=f">= {target:g}",
        measured=measured or f"{value:.4g}",
        passed=bool(value >= target),
        **interval,
    )


def at_most(name: str, target: float, value: float, measured: str = "", **interval: Any) -> Claim:
    """Return the claim that `value` is at most `target`; `measured` replaces the value as text."""
    return Claim(
        name=name,
        target=f"<= {target:g}",
        measured=measured or f"{value:.4g}",
        passed=bool(value <= target),
        **interval,
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def claims_table(claims: Iterable[Claim]) -> str:
    """Return the Markdown table of claims."""
    rows = [(c.name, c.target, c.measured, c.interval, "pass" if c.passed else "FAIL") for c in claims]
    return markdown_table(("claim", "target", "measured", "interval", ""), rows)


class Record(BaseModel):
    """The result of one benchmark, as written to results/bench/NAME.json."""

    model_config = ConfigDict(frozen=True)

    bench: str
    when: str
    machine: dict[str, Any]
    versions: dict[str, str]
    config_hash: str
    minutes: float | None = None  # duration of the last run, which may have reused results of earlier ones
    rows: list[dict[str, Any]]
    claims: list[Claim]


def get(name: str) -> Any:
    """Return the module of a benchmark.

    Optional attributes: `PARTS`, names of parts that can be run alone with `run(progress, part, rows)`; `OPTIONS`, the
    class of the options of `run(progress, options)`; `markdown(rows, claims)`, the text of an additional page, and
    `PAGE`, its path in the folder of the records.
    """
    return importlib.import_module(BENCHES[name])
