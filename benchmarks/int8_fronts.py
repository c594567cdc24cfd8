"""Pareto front of one study by INT8 error and latency, compared with the front by float error and MACs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from benchmarks import Claim
from explore.pareto import non_dominated_rank
from explore.report.tables import read_table

STUDY = "EDGEPOSE_STUDY"
DEFAULT = "results/reference"


def study_folder() -> Path:
    """Return the folder of the finished study in EDGEPOSE_STUDY, by default the reference study."""
    return Path(os.environ.get(STUDY) or DEFAULT)


def bench_fronts(study: Path) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for each finished candidate in the study's trials.csv, and a claim that the two fronts differ.

    `by_int8`: on the front of the INT8 file's error and latency; `by_float`: on the front of float error and MACs.

    Raises:
        InputError: no finished study.
    """
    path = study / "trials.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; set {STUDY} to the folder of a finished study")
    done = [row for row in read_table(path) if row["state"] == "complete"]
    if not done:
        raise InputError(f"{path}: no finished candidate; set {STUDY} to another study")
    int8 = non_dominated_rank(_points(done, "mpjpe_mm", "latency_ms")) == 0
    plain = non_dominated_rank(_points(done, "float_mpjpe_mm", "macs")) == 0
    columns = ("mpjpe_mm", "latency_ms", "float_mpjpe_mm", "macs")
    rows = [
        {"part": "front", "network": row["name"], **{key: float(row[key]) for key in columns}}
        | {"by_int8": bool(ours), "by_float": bool(theirs)}
        for row, ours, theirs in zip(done, int8, plain, strict=True)
    ]
    enter, leave = int((int8 & ~plain).sum()), int((plain & ~int8).sum())
    return rows, [
        Claim(
            name="front by INT8 error and latency differs from front by float error and MACs",
            target=">= 1 network differs",
            measured=f"{enter} enter, {leave} leave, {int((int8 & plain).sum())} stay",
            passed=enter + leave > 0,
        )
    ]


def _points(rows: list[dict[str, str]], *columns: str) -> Any:
    return np.array([[float(row[column]) for column in columns] for row in rows])
