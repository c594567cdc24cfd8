"""Repeatability of the latency ratio of two networks, on an idle machine and beside a busy process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from arch.space import Arch, preset
from benchmarks import Claim
from explore.measure.config import MeasureConfig
from explore.measure.devices import Settings, open_device
from explore.measure.latency import Disturbed
from explore.measure.rows import Model

NAMES = ("paper-XS-relu@64", "paper-L-relu@64")
RUNTIME, RECIPE = "litert", "int8-static"
CALLS, LEAST, WITHIN = 20, 19, 0.03
RULES = MeasureConfig(max_seconds=3.0)
CONFIG = {"networks": NAMES, "calls": CALLS, "within": WITHIN, "rules": RULES.model_dump()}
BUSY = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"

File = tuple[Arch, str, str]  # network, runtime, recipe


def files() -> list[File]:
    return [(preset(name), RUNTIME, RECIPE) for name in NAMES]


def run(models: Mapping[File, Model]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for each call; claims: 19 of 20 ratios within 3% of the idle median, or rejected as disturbed."""
    pair = [models[file] for file in files()]
    rows = [_call(pair, "idle") for _ in range(CALLS)]
    with busy(max(os.sched_getaffinity(0))):
        rows += [_call(pair, "busy process on one core") for _ in range(CALLS)]
    ratios = [row["ratio"] for row in rows if row["background"] == "idle" and row["ratio"]]
    middle = float(np.median(ratios)) if ratios else float("nan")
    claims = []
    for background in dict.fromkeys(row["background"] for row in rows):
        mine = [row for row in rows if row["background"] == background]
        rejected = sum(row["ratio"] is None for row in mine)
        near = sum(row["ratio"] is not None and abs(row["ratio"] / middle - 1) <= WITHIN for row in mine)
        claims.append(
            Claim(
                name=f"latency ratio of two networks, {background}",
                target=f"{LEAST} of {CALLS} within {WITHIN:.0%} or rejected",
                measured=f"{near} within, {rejected} rejected, {len(mine) - near - rejected} outside",
                passed=near + rejected >= LEAST,
            )
        )
    return rows, claims


def _call(models: list[Model], background: str) -> dict[str, Any]:
    row = {"part": "steady", "background": background, "network": models[1].name, "reference": models[0].name}
    try:
        found = open_device("local").measure(models, Settings(protocol=RULES), lambda share, text: None)[1]
    except Disturbed as error:
        return row | {"ratio": None, "refused": str(error)}
    known = {"ratio": found.ratio, "ratio_low": found.ratio_low, "ratio_high": found.ratio_high}
    return row | known | {"median_ms": found.median_ms, "rounds": found.rounds, "dropped_rounds": found.dropped_rounds}


@contextlib.contextmanager
def busy(core: int) -> Iterator[None]:
    """Run a process that keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", BUSY, str(core)])
    try:
        yield
    finally:
        process.kill()
        process.wait()
