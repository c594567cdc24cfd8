"""The replay's record to read: a table and a plot."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arch.files import write_atomic
from explore.config import SearchConfig
from explore.estimate.inherit import PARENTS

COLOURS = {
    "full": "#1f2933", "short": "#1565c0", "inherit": "#8e24aa", "supernet": "#2e7d32", "predictor": "#c62828",
}  # fmt: skip
STYLES = {"tpe": "-", "nsga2": "--", "random": ":"}


def plot(path: Path, curves: Mapping[tuple[str, str], Sequence[Mapping[int, tuple[float, float]]]]) -> None:
    """A PNG of hypervolume against CPU seconds: a line a method, its mean over seeds, its range shaded."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5), dpi=120, layout="constrained")
    for (name, asks), seeds in curves.items():
        spent = np.mean([[stop[0] for stop in seed.values()] for seed in seeds], axis=0)
        shares = np.array([[stop[1] for stop in seed.values()] for seed in seeds])
        axes.plot(spent, shares.mean(0), c=COLOURS[name], ls=STYLES[asks], label=f"{name}, {asks}", marker=".", ms=4)
        if asks == "tpe":
            axes.fill_between(spent, shares.min(0), shares.max(0), color=COLOURS[name], alpha=0.08, lw=0)
    axes.set_xscale("log")
    axes.set_xlabel("CPU seconds of the search, if it is stopped there and its finalists are trained in full")
    axes.set_ylabel("hypervolume of what ships, share of the best known")
    axes.set_title("Replayed searches: errors from a surrogate, costs as measured", loc="left", fontsize=11)
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8, loc="lower right", ncols=2)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    pyplot.close(figure)
    write_atomic(path, image.getvalue())


def page(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Markdown of the rows that the bench gives; `facts` is its configuration."""
    surrogate, most = rows[0], max(facts["wanted"])
    methods = [row for row in rows if f"cpu_s_{most}" in row]
    hours = methods[0][f"cpu_s_{most}"] / 3600
    replayed = [row for row in rows if "replayed_tau_overall" in row]
    without = [name for name in ("short", "inherit", "supernet") if not any(name in row["row"] for row in replayed)]
    head = ["search", *(f"{what}, {n}" for n in facts["wanted"] for what in ("hypervolume", "CPU s", "of full", "reaches full's at"))]  # fmt: skip
    table = _table(head, [[row["row"], *_of(row, facts)] for row in methods])
    told = _table(
        ["estimator", "budget", "tau-b recorded", "replayed", "in bins recorded", "replayed", "CPU s each", "CPU s once"],
        [
            [
                row["row"].split()[0], str(row["budget"]), f"{row['tau_overall']:.2f}", f"{row['replayed_tau_overall']:.2f}",
                f"{row['tau_within_bins']:.2f}", f"{row['replayed_tau_within_bins']:.2f}",
                f"{row['cpu_s_a_network']:.1f}", f"{row['cpu_s_once']:.0f}",
            ]
            for row in replayed
        ],
    )  # fmt: skip
    missing = f"\nNot recorded yet for every network, so not replayed: {', '.join(without)}.\n" if without else ""
    return f"""# Hypervolume against CPU seconds

Made by `python explore.py bench hypervolume`. **A replay, no search**: {most} candidates trained in full are {hours:.0f} hours of CPU,
and this table has {len(facts["seeds"])} seeds of each line. Errors are looked up in a surrogate of the {surrogate["networks"]} networks that
`bench estimators` trained, as surrogate benchmarks of architecture search do ([NAS-Bench-301](https://arxiv.org/abs/2008.09777), Zela et al., ICLR 2022).
Optuna's samplers, who is trained in full, how long, and the choice of finalists are the project's own code.

![hypervolume](hypervolume.png)

{table}

Hypervolume: of the {facts["finalists"]} networks that a search ships by default when it is stopped after that many candidates, by their true errors and the
latencies of their INT8 files, in mm x decades of ms, as a share of that of the best networks that any search or {facts["pool"]} random ones have;
means over seeds. CPU s: estimates, what an estimator spends once, {surrogate["ship_s"]:.1f} s a candidate for making, judging and timing its file, and
full training ({surrogate["full_cpu_s"]:.0f} s on average) of every finalist that has not had it. Of full: share of the line `full tpe`. Reaches
full's at: CPU time when the hypervolume that `full tpe` ends with is first there, as a share of its CPU time, the median of
the seeds that get there, and how many do; nothing where fewer than half do.

## What stands for what

- **Error**: a Gaussian process over what the parts of a network cost and what the space chose for it, fitted to the recorded
  means. Each seed draws a whole function that those networks allow, with what the description leaves open
  ({surrogate["own_part_mm"]} mm) drawn for each network. Left out one by one, the {surrogate["networks"]} are told with a tau-b of {surrogate["tau_overall"]} overall and {surrogate["tau_within_bins"]} within
  bins of MACs, to {surrogate["error_mm"]} mm of {surrogate["spread_mm"]} mm that they are spread by; {100 * surrogate["within_90"]:.0f}% are within the 90% interval.
- **Full training**: the error and noise of {surrogate["seed_deviation_mm"]} mm, as two seeds of one network differ; always the same for one network.
- **short, inherit, supernet**: a straight line in the error, fitted to the recorded estimates, and a function drawn from what that
  leaves of them, which follows the networks' descriptions: their mistakes hang together as the recorded ones do. `short` beyond
  the recorded length comes nearer to full training's figure with every doubling, which is a guess: nobody has recorded it.
- **predictor**: itself, fitted on what the replayed search has trained; its own CPU time is measured.
- **Latency**: of the INT8 file by the predictor in `results/predictors`, for this machine.

{told}
{missing}
## What it does not show

Not what a real search finds: {surrogate["networks"]} networks say little of a space of millions, and a front is made of networks that are better than
those around them, which no fit to a few knows. `inherit` is recorded with the nearest of {surrogate["networks"] - 1} parents, a search has {PARENTS} at first.
Full training is the reference's {facts["reference"]["training"]["samples"]} samples; the default search trains candidates on {SearchConfig().candidate.samples}, which leaves the less to
be saved: what a candidate's file costs stays. One worker; INT8 moves no error here. The errors come from the same kind of model
as `predictor` is, if from a wider description: its line is the kindest that can be drawn.
"""


def _of(row: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    cells = []
    for wanted in facts["wanted"]:
        share = row[f"reached_share_{wanted}"]
        count = f"{row[f'reached_{wanted}']} of {len(facts['seeds'])}"
        cells += [
            f"{row[f'hypervolume_{wanted}']:.3f}",
            f"{row[f'cpu_s_{wanted}']}",
            f"{row[f'cpu_share_{wanted}']:.2f}",
            f"{share:.2f} ({count})" if share is not None else f"({count})",
        ]
    return cells


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))
