"""Speed of the closed-form cost model, and its agreement with fvcore, ptflops and torch's flop counter."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from arch.cost import cost
from arch.counters import count_operations
from arch.search_space import Space
from arch.space import Arch, make_arch
from benchmarks import Claim, at_least
from explore.measure.probe.protocol import median_interval
from explore.profile import paper_rows

NETWORKS, COUNTED, ROUNDS, SEED = 400, 6, 5, 0
SPACES = ("mobile", "full")
CONFIG = {"networks": NETWORKS, "counted": COUNTED, "rounds": ROUNDS, "spaces": SPACES, "seed": SEED}
ENGINES = ("torch", "fvcore", "ptflops")


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return rows of speed and agreement, and the claims."""
    rows: list[dict[str, Any]] = []
    rates: dict[str, list[float]] = {}
    for space in SPACES:
        archs = _sample(space, NETWORKS)
        values = [arch.model_dump() for arch in archs]
        walls = [_rate(values) for _ in range(ROUNDS)]
        rates[space] = walls
        rows.append({"engine": "closed form", "space": space, "networks_per_s": median(walls), "rounds": walls})
        progress(0.2 * len(rows))
    few = _sample("mobile", COUNTED)
    wrong = 0
    fvcore: list[float] = []
    for index, engine in enumerate(ENGINES):
        walls = []
        for arch in few:
            began = time.perf_counter()
            found = count_operations(arch, engine)
            walls.append(1 / (time.perf_counter() - began))
            wrong += any(part.operation == "unexplained" for part in found.differences)
        fvcore = walls if engine == "fvcore" else fvcore
        rows.append({"engine": engine, "space": "mobile", "networks_per_s": median(walls), "rounds": walls})
        progress(0.4 + 0.2 * (index + 1))
    printed = paper_rows()
    table2 = [row for row in printed if row.table == "Table 2"]
    equal = sum(row.digits == "equal" for row in table2)
    speedups = [rate / median(fvcore) for rate in rates["mobile"]]
    counted = len(few) * len(ENGINES)
    claims = [
        *(_claim(f"networks per second, {space}", 2000, rates[space]) for space in SPACES),
        _claim("speed-up over fvcore", 100, speedups),
        at_least("differences from torch, fvcore and ptflops explained", counted, counted - wrong),
        at_least("rows of Table 2 equal in both printed digits", len(table2), equal),
    ]
    return rows, claims


def _sample(space: str, count: int) -> list[Arch]:
    rng = random.Random(SEED)
    chosen = Space.named(space)
    return [chosen.sample(rng) for _ in range(count)]


def _rate(values: list[dict[str, Any]]) -> float:
    """Return networks per second, from plain values through validation to cost."""
    began = time.perf_counter()
    for given in values:
        cost(make_arch(given))
    return len(values) / (time.perf_counter() - began)


def _claim(name: str, target: float, rounds: list[float]) -> Claim:
    low, high = median_interval(np.array(rounds))
    return at_least(name, target, median(rounds), f"{median(rounds):.0f}", low=low, high=high)
