"""Rows and claims of the searches on tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import Claim, at_least
from benchmarks.intervals import mean_interval

Row = dict[str, Any]

OURS, RIVAL = "cost-aware", "tpe"
FASTER = (60, 100, 17)  # our trials, the rival's trials, seeds in which ours is better
LEAD_STOPS = (60, 100)
LEAD_TABLES = 2
MIN_SEEDS = 5  # common seeds of two methods, below which an interval says nothing
BENCHMARKS = {"macro": ("macro",), "accel": ("accel",), "nb201": ("nb201-pixel3", "nb201-raspi4")}
REFERENCES = {"worst": "the worst error", "median": "the median error"}  # of the table, at its largest cost


def method_row(table: str, method: str, setting: str, stops: Sequence[int], found: Sequence[dict[str, Any]]) -> Row:
    """Return the row of a method on a table.

    `worst` and `median` hold the regret after each stop for each seed, by the error of the reference point.
    """
    regrets = {key: np.array([one["regrets"][key] for one in found]).T.tolist() for key in REFERENCES}
    return {
        "table": table,
        "method": method,
        "setting": setting,
        "seeds": len(found),
        "cpu_s": round(float(np.mean([one["cpu_s"] for one in found])), 2),
        "stops": list(stops),
        **regrets,
    }


def regret_at(row: Row, reference: str, stop: int) -> NDArray[np.float64]:
    """Return the regret of each seed after `stop` trials, (seeds,)."""
    return np.array(row[reference][row["stops"].index(stop)])


def lead(rows: Sequence[Row], table: str, reference: str, stop: int, method: str) -> tuple[str, float, float, float]:
    """Return the closest rival of a method, its additional regret on common seeds, and the interval of that.

    The interval is a paired bootstrap over seeds; unbounded with fewer than MIN_SEEDS.
    """
    of_table = {row["method"]: row for row in rows if row["table"] == table and stop in row["stops"]}
    own = regret_at(of_table[method], reference, stop)
    differences = {
        name: regret_at(row, reference, stop)[: len(own)] - own[: row["seeds"]]
        for name, row in of_table.items()
        if name != method
    }
    rival = min(differences, key=lambda name: differences[name].mean())
    found = differences[rival]
    interval = mean_interval(found) if len(found) >= MIN_SEEDS else (-math.inf, math.inf)
    return rival, float(found.mean()), *interval


def table_claims(rows: Sequence[Row]) -> list[Claim]:
    """Compare our sampler with the targets, for each reference point; empty where its searches have not finished."""
    of_tables = [row for row in rows if "table" in row]
    present = {(row["table"], row["method"]) for row in of_tables}
    if not present >= {("macro", RIVAL), *((table, OURS) for tables in BENCHMARKS.values() for table in tables)}:
        return []
    ours, theirs = (
        next(row for row in of_tables if (row["table"], row["method"]) == ("macro", name)) for name in (OURS, RIVAL)
    )
    mine, other, target = FASTER
    found = []
    for reference, words in REFERENCES.items():
        pairs = zip(regret_at(ours, reference, mine), regret_at(theirs, reference, other), strict=False)
        better = [ours_at < theirs_at for ours_at, theirs_at in pairs]
        found.append(
            at_least(
                f"NAS-Bench-Macro: seeds in which {OURS} at {mine} trials is better than {RIVAL} at {other}; reference point: {words}",
                target,
                sum(better),
                f"{sum(better)} of {len(better)}",
            )
        )
    for stop in LEAD_STOPS:
        for reference, words in REFERENCES.items():
            leads = {
                name: [lead(of_tables, table, reference, stop, OURS) for table in names]
                for name, names in BENCHMARKS.items()
            }
            won = [name for name, each in leads.items() if all(low > 0 for _, _, low, _ in each)]
            found.append(
                at_least(
                    f"benchmarks on which {OURS} is the best method at {stop} trials, with an interval that excludes the "
                    f"runner-up; reference point: {words}",
                    LEAD_TABLES,
                    len(won),
                    f"{len(won)} of {len(leads)}" + (f" ({', '.join(won)})" if won else ""),
                )
            )
    return found
