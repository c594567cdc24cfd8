"""Markdown page and plot of the comparison of samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import markdown_table
from benchmarks.intervals import mean_interval
from benchmarks.search.results import LEAD_STOPS, REFERENCES, Row, lead, regret_at
from explore.report.plot import write_figure

TITLES = {
    "macro": "NAS-Bench-Macro, FLOPs",
    "accel": "Accel-NASBench, ZCU102 latency",
    "nb201-pixel3": "NAS-Bench-201, Pixel 3 latency",
    "nb201-raspi4": "NAS-Bench-201, Raspberry Pi 4 latency",
}
COLOURS = {
    "cost-aware": "#c62828", "tpe": "#1565c0", "nsga2": "#8e24aa", "evolution": "#2e7d32", "gp": "#ef6c00",
    "qlognehvi": "#00838f", "random": "#78909c",
}  # fmt: skip
SHOWN_STOPS = (20, 60, 100, 200)


def plot(path: Path, rows: Sequence[Row]) -> None:
    """Write a PNG of the regret over trials on each table, for both reference points, with intervals of the mean."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    tables = list(dict.fromkeys(row["table"] for row in rows))
    figure = Figure(figsize=(4 * len(tables), 7), dpi=110, layout="constrained")
    grid = figure.subplots(len(REFERENCES), len(tables), squeeze=False)
    for line, (reference, words) in zip(grid, REFERENCES.items(), strict=True):
        for axes, table in zip(line, tables, strict=True):
            for row in (row for row in rows if row["table"] == table):
                regrets = np.array(row[reference])
                low, high = np.array([mean_interval(each) for each in regrets]).T
                name, colour = row["method"], COLOURS[row["method"]]
                axes.plot(
                    row["stops"], regrets.mean(1), color=colour, label=f"{name} ({row['seeds']} seeds)", marker="."
                )
                axes.fill_between(row["stops"], np.maximum(low, 1e-4), high, color=colour, alpha=0.12, lw=0)
            axes.set_title(f"{TITLES[table]}\nreference point: {words}", loc="left", fontsize=9)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.xaxis.set_major_locator(FixedLocator([10, 20, 40, 60, 100, 200]))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
            axes.grid(alpha=0.25, which="both")
    for axes in grid[-1]:
        axes.set_xlabel("trials (log scale)")
    for axes in grid[:, 0]:
        axes.set_ylabel("hypervolume regret (log scale, lower is better)")
    grid[0][0].legend(fontsize=8)
    write_figure(path, figure)


def page(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """Return the page for the rows of the record; `facts` is the configuration."""
    of_tables = [row for row in rows if "table" in row]
    tuned = [
        [
            row["tuned"], row["setting"], str(row["seeds"]), f"{row['regret']:.4f}", f"{row['cpu_s']:.1f}",
            "x" if row["chosen"] else "",
        ]
        for row in rows
        if "tuned" in row
    ]  # fmt: skip
    return f"""# Samplers on public tables and on the project's space

Written by `python -m benchmarks search`. On a table, every network has been evaluated before, so that a search of hundreds of
trials takes seconds. Regret is the fraction of the exact front's hypervolume that a search lacks, in % of error x decades of cost;
lower is better. Observed errors choose the networks, true errors count. Every method starts with the same 8 random networks. Seeds and
trials of slow methods are limited by their CPU time.{_absent(of_tables, facts)}

![regret over trials](search.png)

{_regret_tables(of_tables)}
## Distance to the closest rival

Additional regret of the closest rival of each table's best method, with the 95% interval of a paired bootstrap over common seeds.

{_lead_table(of_tables)}

## Settings

Chosen on two tables ({"; ".join(TITLES[table] for table in facts["tuning_tables"])}) with seeds {facts["tuning_seeds"][0]} to {facts["tuning_seeds"][-1]}, which the tables above
do not use; mean regret at {", ".join(map(str, facts["tuning_stops"]))} trials over both reference points. The design of cost-aware comes from ablations on the same two:
its constants from the first, its model of failures and its relevances from the second. No method was tuned on Accel-NASBench, nor on
the Raspberry Pi 4, whose latencies are others but whose errors are those of the second.

{markdown_table(["method", "setting", "seeds", "regret", "CPU s", "chosen"], tuned)}
{_own_space(rows)}"""


def _absent(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    absent = [name for name in facts["methods"] if name not in {row["method"] for row in rows}]
    return f" Without results: {', '.join(absent)} (not installed, or not finished)." if absent else ""


def _regret_tables(rows: Sequence[Row]) -> str:
    parts = []
    for table in dict.fromkeys(row["table"] for row in rows):
        for reference, words in REFERENCES.items():
            body = []
            for row in (row for row in rows if row["table"] == table):
                cells = [_mean(row, reference, stop) if stop in row["stops"] else "" for stop in SHOWN_STOPS]
                body.append([row["method"], row["setting"], str(row["seeds"]), *cells, f"{row['cpu_s']:.1f}"])
            head = ["method", "setting", "seeds", *(f"{stop} trials" for stop in SHOWN_STOPS), "CPU s"]
            parts.append(f"## {TITLES[table]}; reference point: {words}\n\n{markdown_table(head, body)}\n")
    return "\n".join(parts)


def _mean(row: Row, reference: str, stop: int) -> str:
    regrets = regret_at(row, reference, stop)
    low, high = mean_interval(regrets)
    return f"{regrets.mean():.3f} ({low:.3f} to {high:.3f})"


def _lead_table(rows: Sequence[Row]) -> str:
    body = []
    for table in dict.fromkeys(row["table"] for row in rows):
        for reference, words in REFERENCES.items():
            for stop in LEAD_STOPS:
                of_table = [row for row in rows if row["table"] == table and stop in row["stops"]]
                best = min(of_table, key=lambda row: regret_at(row, reference, stop).mean())["method"]
                rival, difference, low, high = lead(rows, table, reference, stop, best)
                body.append(
                    [TITLES[table], words, str(stop), best, rival, f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"]
                )
    return markdown_table(["table", "reference point", "trials", "best", "closest rival", "additional regret"], body)


def _own_space(rows: Sequence[Row]) -> str:
    own = [row for row in rows if "sampler" in row]
    if not own:
        return ""
    head = ["sampler", "seed", "budget", "trials", "files", "mm x decades of ms", "mm x decades of MACs"]
    body = [
        [
            row["sampler"], str(row["seed"]), row["budget"], str(row["trials"]), str(len(row["files"])),
            f"{row['hypervolume_latency']:.2f}", f"{row['hypervolume_macs']:.2f}",
        ]
        for row in own
    ]  # fmt: skip
    return f"""
## The project's own space

Hypervolume of the exported files: error on the test part against the latency of the LiteRT file and against MACs. Reference point: the
error of the mean-pose baseline, and the largest cost of all files.

{markdown_table(head, body)}

{_comparisons(own)}"""


def _comparisons(rows: Sequence[Row]) -> str:
    """Return the comparisons of each search with the paper's networks."""
    parts = []
    for condition in ("equal compute", "equal samples"):
        lines = [
            f"- {row['sampler']}, seed {row['seed']}: {one['text']}"
            for row in rows
            for one in row["comparisons"][condition]
        ]
        parts.append(f"### The paper's networks at {condition}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)
