"""The project's own claims, measured again: each bench is a function that returns a record.

A claim that falls short stays in the record with `holds: false`.
"""

from __future__ import annotations

import importlib
from typing import Any

from pydantic import BaseModel, ConfigDict

BENCHES: dict[str, str] = {
    "data": "explore.bench.data",
    "training": "explore.bench.training",
    "headline": "explore.bench.headline",
    "loop": "explore.bench.loop",
    "profile": "explore.bench.profile",
    "int8": "explore.bench.int8",
    "latency": "explore.bench.latency",
    "predictor": "explore.bench.predictor",
    "estimators": "explore.bench.estimators",
    "hypervolume": "explore.bench.hypervolume",
    "faults": "explore.bench.faults",
    "scale": "explore.bench.scale",
}


class Claim(BaseModel):
    """What is claimed, what was asked for and what was measured.

    low, high: of the measured figure in its own unit, where the measurement gives an interval; `interval_of` says which
    """

    model_config = ConfigDict(frozen=True)

    name: str
    asked: str
    measured: str
    holds: bool
    low: float | None = None
    high: float | None = None
    interval_of: str = "95%"

    @property
    def interval(self) -> str:
        """In words; empty where none was measured."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:.3g} to {self.high:.3g} ({self.interval_of})"


class Record(BaseModel):
    """One bench as written to results/bench/NAME.json."""

    model_config = ConfigDict(frozen=True)

    bench: str
    when: str
    machine: dict[str, Any]
    versions: dict[str, str]
    config_hash: str
    minutes: float | None = None  # that this run took, what an earlier one left taken as it was
    rows: list[dict[str, Any]]
    claims: list[Claim]


def get(name: str) -> Any:
    """The module of a bench; its `run()` gives rows and claims, its `CONFIG` says how it is set.

    One with `markdown(rows, claims)` also leaves a page.
    """
    return importlib.import_module(BENCHES[name])
