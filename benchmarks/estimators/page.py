"""Markdown page of the benchmark `estimators`."""

from __future__ import annotations

from typing import Any

from benchmarks import markdown_table

HEAD = (
    "estimator", "budget", "tau-b (90% interval)", "within MACs bins", "P(above MACs)", "INT8 tau-b", "regret mm",
    "front share", "CPU s per network", "CPU s once", "CPU fraction, 60", "CPU fraction, 500",
)  # fmt: skip
SURE = 0.95  # fraction of bootstrap samples
BUDGET = {"short": "samples", "inherit": "samples", "supernet": "samples in total", "predictor": "networks"}


def page(rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """Return the page for the rows of the record; `facts` is the configuration."""
    full, training, part = rows[0], facts["reference"]["training"], facts["reference"]
    int8 = ""
    if "int8_loss_mm" in full:
        int8 = f" The error of INT8 files is {full['int8_loss_mm']} mm higher than that of their float networks on average."
    complete = f"{full['networks_with_all_seeds']} of them with both seeds"
    lines = markdown_table(HEAD, map(_cells, rows))
    return f"""# Estimators

Written by `python -m benchmarks estimators`, which computes only missing rows of `reference.jsonl` (one per network and seed),
`estimates.jsonl` (one per network, estimator and budget) and `int8.jsonl` (the INT8 files of seed 0).

Reference: {full["networks"]} networks of the space `{part["space"]}` at {part["scale"]} px, in {len(part["macs"]) - 1} bins of MACs from {part["macs"][0] / 1e6:.1f} to {part["macs"][-1] / 1e6:.1f} M, each
trained on {training["samples"]} samples, {complete} {part["seeds"]}, and evaluated on {part["test"]} rendered test samples. The standard deviation of
the errors is {full["spread_mm"]} mm between networks and {full["seed_deviation_mm"]} mm between seeds. A perfect estimator would reach a tau-b of
{full["ceiling_overall"]} overall and {full["ceiling_within_bins"]} within bins ({full["pairs_within_bins"]} pairs).

{lines}

- **tau-b**: Kendall's rank correlation with the mean error over seeds; within bins, over pairs in the same bin of MACs.
- **P(above MACs)**: fraction of bootstrap samples in which the estimator has a higher tau-b within bins than MACs. The target is
  {SURE}, because a chance order exceeds MACs in most samples.
- **INT8 tau-b**: rank correlation with the errors of the INT8 files.{int8}
- **regret**: error of the network with the lowest estimate in each bin minus the lowest error in the bin, mean over bins; {full["random_pick_regret_mm"]} mm
  for a random choice.
- **front share**: hypervolume of six networks selected along the estimated front and trained in full, as a fraction of that of all
  24; {full["true_front_share"]} if selected by true errors, {full["random_front_share"]} if selected at random.
- **CPU fraction**: CPU time per candidate relative to full training, with one-time costs shared by 60 or 500 candidates.

The rows of `predictor` are optimistic: about a dozen features and models were compared on these networks, and the best was kept.
Each network is predicted from other networks only. The same estimates are used in simulated searches by
`python -m benchmarks hypervolume` ([page](../hypervolume.md)).
"""


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a row; missing values are empty."""

    def shown(key: str, digits: int = 2) -> str:
        return f"{row[key]:.{digits}f}" if key in row else ""

    return (
        row["estimator"],
        f"{row['budget']} {BUDGET.get(row['estimator'], 'samples')}" if row["budget"] else "",
        f"{row['tau_overall']:.2f} [{row['tau_overall_90'][0]:.2f}, {row['tau_overall_90'][1]:.2f}]",
        f"{row['tau_within_bins']:.2f} [{row['tau_within_bins_90'][0]:.2f}, {row['tau_within_bins_90'][1]:.2f}]",
        shown("chance_above_macs_within_bins"),
        shown("tau_int8"),
        shown("regret_mm", 1),
        shown("front_share"),
        shown("cpu_s_a_network", 1),
        shown("cpu_s_once", 0),
        shown("share_of_full_at_60"),
        shown("share_of_full_at_500"),
    )
