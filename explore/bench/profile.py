"""The cost model beside fvcore, ptflops and torch's counter: networks a second, and whether the numbers agree."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from arch.cost import cost
from arch.opinions import opinion
from arch.search_space import Space
from arch.space import Arch, make_arch
from explore.bench import Claim
from explore.measure.probe import bootstrap_median
from explore.profile import paper_rows

NETWORKS, OPINIONS, ROUNDS, SEED = 400, 6, 5, 0
SPACES = ("mobile", "full")
CONFIG = {"networks": NETWORKS, "opinions": OPINIONS, "rounds": ROUNDS, "spaces": SPACES, "seed": SEED}
ENGINES = ("torch", "fvcore", "ptflops")


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Rows of speed and agreement, and the claims they bear out."""
    rows: list[dict[str, Any]] = []
    rates: dict[str, list[float]] = {}
    for space in SPACES:
        archs = _sample(space, NETWORKS)
        values = [arch.model_dump() for arch in archs]
        walls = [_rate(values) for _ in range(ROUNDS)]
        rates[space] = walls
        rows.append({"engine": "closed form", "space": space, "networks_per_s": median(walls), "rounds": walls})
        progress(0.2 * len(rows))
    few = _sample("mobile", OPINIONS)
    wrong = 0
    fvcore: list[float] = []
    for index, engine in enumerate(ENGINES):
        walls = []
        for arch in few:
            began = time.perf_counter()
            found = opinion(arch, engine)
            walls.append(1 / (time.perf_counter() - began))
            wrong += any(part.what == "unexplained" for part in found.differences)
        fvcore = walls if engine == "fvcore" else fvcore
        rows.append({"engine": engine, "space": "mobile", "networks_per_s": median(walls), "rounds": walls})
        progress(0.4 + 0.2 * (index + 1))
    printed = paper_rows()
    table2 = [row for row in printed if row.table == "Table 2"]
    equal = sum(row.digits == "equal" for row in table2)
    claims = [
        _claim("networks a second, mobile", "at least 2000", rates["mobile"], 2000),
        _claim("networks a second, full", "at least 2000", rates["full"], 2000),
        _claim("times fvcore's speed", "at least 100", [mine / median(fvcore) for mine in rates["mobile"]], 100),
        Claim(
            name="counts of torch, fvcore, ptflops explained", asked="all", holds=wrong == 0,
            measured=f"{len(few) * len(ENGINES) - wrong} of {len(few) * len(ENGINES)}",
        ),
        Claim(
            name="rows of Table 2 equal to both printed digits", asked=f"{len(table2)}", measured=f"{equal}",
            holds=equal == len(table2),
        ),
    ]  # fmt: skip
    return rows, claims


def _sample(space: str, count: int) -> list[Arch]:
    rng = random.Random(SEED)
    chosen = Space.named(space)
    return [chosen.sample(rng) for _ in range(count)]


def _rate(values: list[dict[str, Any]]) -> float:
    """Networks a second from plain values to cost, validation included."""
    began = time.perf_counter()
    for given in values:
        cost(make_arch(given))
    return len(values) / (time.perf_counter() - began)


def _claim(name: str, asked: str, rounds: list[float], least: float) -> Claim:
    low, high = bootstrap_median(np.array(rounds))
    middle = median(rounds)
    return Claim(name=name, asked=asked, measured=f"{middle:.0f}", holds=middle >= least, low=low, high=high)
