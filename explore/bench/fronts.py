"""One study, two judgements: who is on its front by what ships, and who by the float network's error and its MACs."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from explore.bench import Claim
from explore.search.front import ranks

STUDY = "EDGEPOSE_STUDY"
DEFAULT = "results/reference"


def study_folder() -> Path:
    """The finished study that the bench looks at."""
    return Path(os.environ.get(STUDY) or DEFAULT)


def bench_fronts(study: Path) -> tuple[list[dict[str, Any]], list[Claim]]:
    """A row a finished candidate of the study's trials.csv, and what choosing by float figures would change.

    `by_int8`: on the front of the INT8 file's own error and latency; `by_float`: on that of float error and MACs.

    Raises:
        InputError: no finished study.
    """
    path = study / "trials.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; set {STUDY} to the folder of a finished study")
    with path.open() as file:
        done = [row for row in csv.DictReader(file) if row["state"] == "complete"]
    if not done:
        raise InputError(f"{path}: holds no finished candidate; take another study")
    shipped = ranks(_points(done, "mpjpe_mm", "latency_ms")) == 0
    plain = ranks(_points(done, "float_mpjpe_mm", "macs")) == 0
    columns = ("mpjpe_mm", "latency_ms", "float_mpjpe_mm", "macs")
    rows = [
        {"part": "front", "network": row["name"], **{key: float(row[key]) for key in columns}}
        | {"by_int8": bool(ours), "by_float": bool(theirs)}
        for row, ours, theirs in zip(done, shipped, plain, strict=True)
    ]
    enter, leave = int((shipped & ~plain).sum()), int((plain & ~shipped).sum())
    return rows, [
        Claim(
            name="front judged as shipped is not that of float error and MACs",
            asked="at least 1 member differs",
            measured=f"{enter} enter, {leave} leave, {int((shipped & plain).sum())} stay",
            holds=enter + leave > 0,
        )
    ]


def _points(rows: list[dict[str, str]], *columns: str) -> Any:
    return np.array([[float(row[column]) for column in columns] for row in rows])
