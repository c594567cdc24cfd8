"""Markdown page and plot of the simulated searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import markdown_table
from explore.estimate.inherit import MIN_PARENTS
from explore.report.plot import write_figure
from explore.search.config import SearchConfig

COLOURS = {
    "full": "#1f2933", "short": "#1565c0", "inherit": "#8e24aa", "supernet": "#2e7d32", "predictor": "#c62828",
}  # fmt: skip
STYLES = {"tpe": "-", "nsga2": "--", "random": ":"}


def plot(path: Path, curves: Mapping[tuple[str, str], Sequence[Mapping[int, tuple[float, float]]]]) -> None:
    """Write a PNG of hypervolume over CPU time: the mean over seeds of each method, for TPE with the range."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for (name, sampler), seeds in curves.items():
        spent = np.mean([[stop[0] for stop in seed.values()] for seed in seeds], axis=0)
        shares = np.array([[stop[1] for stop in seed.values()] for seed in seeds])
        axes.plot(
            spent, shares.mean(0), c=COLOURS[name], ls=STYLES[sampler], label=f"{name}, {sampler}", marker=".", ms=4
        )
        if sampler == "tpe":
            axes.fill_between(spent, shares.min(0), shares.max(0), color=COLOURS[name], alpha=0.08, lw=0)
    axes.set_xscale("log")
    axes.set_xlabel("CPU seconds (log scale), including full training of the finalists")
    axes.set_ylabel("hypervolume of the finalists, fraction of the best known (higher is better)")
    axes.set_title("Simulated searches: errors from a surrogate, measured costs", loc="left", fontsize=11)
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8, loc="lower right", ncols=2)
    write_figure(path, figure)


def page(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Return the page for the rows of the record; `facts` is the configuration."""
    surrogate, most = rows[0], max(facts["wanted"])
    methods = [row for row in rows if f"cpu_s_{most}" in row]
    hours = methods[0][f"cpu_s_{most}"] / 3600
    replayed = [row for row in rows if "replayed_tau_overall" in row]
    without = [name for name in ("short", "inherit", "supernet") if not any(name in row["row"] for row in replayed)]
    columns = ("hypervolume", "CPU s", "CPU fraction of full", "CPU fraction to reach full")
    head = ["search", *(f"{column}, {n}" for n in facts["wanted"] for column in columns)]
    table = markdown_table(head, [[row["row"], *_cells(row, facts)] for row in methods])
    estimators = markdown_table(
        ["estimator", "budget", "tau-b recorded", "simulated", "within bins recorded", "simulated", "CPU s per network", "CPU s once"],
        [
            [
                row["row"].split()[0], str(row["budget"]), f"{row['tau_overall']:.2f}", f"{row['replayed_tau_overall']:.2f}",
                f"{row['tau_within_bins']:.2f}", f"{row['replayed_tau_within_bins']:.2f}",
                f"{row['cpu_s_a_network']:.1f}", f"{row['cpu_s_once']:.0f}",
            ]
            for row in replayed
        ],
    )  # fmt: skip
    missing = f"\nNot simulated, because recorded rows are missing: {', '.join(without)}.\n" if without else ""
    return f"""# Hypervolume over CPU time

Written by `python -m benchmarks hypervolume`. **These are simulated searches.** Training {most} candidates in full takes {hours:.0f} hours
of CPU time, and each row of the table has {len(facts["seeds"])} seeds. Errors come from a surrogate of the {surrogate["networks"]} networks that
`python -m benchmarks estimators` trained, as in [NAS-Bench-301](https://arxiv.org/abs/2008.09777) (Zela et al., ICLR 2022). Samplers,
training lengths and the selection of finalists are the project's own code.

![hypervolume](hypervolume.png)

{table}

- **hypervolume**: of the {facts["finalists"]} finalists of a search that stops after that many candidates, by their true errors and the latencies of
  their INT8 files, in mm x decades of ms; a fraction of the hypervolume of the best networks found by any search or among
  {facts["pool"]} random ones; mean over seeds.
- **CPU s**: all estimates, the one-time cost of the estimator, {surrogate["ship_s"]:.1f} s per candidate to export, evaluate and time its file, and full
  training ({surrogate["full_cpu_s"]:.0f} s on average) of every finalist not yet trained in full.
- **CPU fraction of full**: relative to the row `full tpe`.
- **CPU fraction to reach full**: CPU time to first reach the final hypervolume of `full tpe`, relative to its CPU time; median of the
  seeds that reach it, and their number; empty if fewer than half do.

## How the searches are simulated

- **Error**: a Gaussian process over the costs of a network's parts and its parameters in the space, fitted to the recorded
  mean errors. Each seed uses a new posterior sample, with independent noise of {surrogate["own_part_mm"]} mm for each network. In leave-one-out
  tests, the predictions of the {surrogate["networks"]} networks have a tau-b of {surrogate["tau_overall"]} overall and {surrogate["tau_within_bins"]} within bins of MACs, and an RMSE of
  {surrogate["error_mm"]} mm (standard deviation of the errors: {surrogate["spread_mm"]} mm); {100 * surrogate["within_90"]:.0f}% lie within the 90% interval.
- **Full training**: the true error plus noise of {surrogate["seed_deviation_mm"]} mm, the standard deviation between seeds; fixed for each network.
- **short, inherit, supernet**: a linear function of the error, fitted to the recorded estimates, plus a posterior sample of a Gaussian
  process fitted to the residuals, so that mistakes are correlated between similar networks. `short` beyond the recorded length is
  interpolated towards full training in log samples, which is an assumption.
- **predictor**: the real estimator, fitted on the networks trained in the simulated search; its CPU time is measured.
- **Latency**: of the INT8 file, by the latency predictor in `results/predictors`.

{estimators}
{missing}
## Limits

The outcome of a real search can differ: {surrogate["networks"]} networks describe a space of millions incompletely, and networks on a front are better
than their neighbours, which a model of few networks cannot represent. `inherit` was recorded with the nearest of {surrogate["networks"] - 1} parents;
a search starts with {MIN_PARENTS}. Full training uses {facts["reference"]["training"]["samples"]} samples; the default search trains candidates on
{SearchConfig().candidate.samples}, which reduces the possible savings, because the cost of export is constant. There is one worker, and INT8 does not
change errors. The surrogate is a model of the same kind as `predictor`, which favours `predictor`.
"""


def _cells(row: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
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
