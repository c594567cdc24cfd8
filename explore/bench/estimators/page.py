"""The record as a table to read."""

from __future__ import annotations

from typing import Any

HEAD = (
    "estimator", "budget", "tau-b, 90% interval", "within MACs bins", "above MACs there", "INT8 tau-b", "regret mm",
    "front of 6", "CPU s each", "CPU s once", "of full, 60", "of full, 500",
)  # fmt: skip
SURE = 0.95  # share of bootstrap draws
BUDGET = {"short": "samples", "inherit": "samples", "supernet": "samples in all", "predictor": "networks"}


def page(rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """Markdown of the rows that the bench gives; `facts` is its configuration."""
    full, training, part = rows[0], facts["reference"]["training"], facts["reference"]
    int8 = ""
    if "int8_loss_mm" in full:
        int8 = f" INT8 files are {full['int8_loss_mm']} mm behind their float networks on average."
    twice = f"{full['networks_with_all_seeds']} of them from both of the seeds"
    table = [HEAD, ("---",) * len(HEAD), *(_cells(row) for row in rows)]
    lines = "\n".join("| " + " | ".join(cells) + " |" for cells in table)
    return f"""# Estimators

Made by `python explore.py bench estimators`, which does only what these rows lack: `reference.jsonl` (a row a network and
seed), `estimates.jsonl` (a row a network, estimator and budget), `int8.jsonl` (the INT8 files of seed 0).

The reference: {full["networks"]} networks of the space `{part["space"]}` at {part["scale"]} px, spread over {len(part["macs"]) - 1} bins of MACs from
{part["macs"][0] / 1e6:.1f} to {part["macs"][-1] / 1e6:.1f} M, each trained on its own for {training["samples"]} samples, {twice} {part["seeds"]}, judged on
{part["test"]} rendered people. Errors are spread by {full["spread_mm"]} mm (standard deviation); two seeds of one network by {full["seed_deviation_mm"]} mm.
A perfect estimator would reach a tau-b of {full["ceiling_overall"]} overall and {full["ceiling_within_bins"]} within bins ({full["pairs_within_bins"]} pairs) against this reference.

{lines}

tau-b is against the mean of the seeds; within bins, over pairs of networks of one bin of MACs alone. Above MACs: share of
bootstrap draws in which the estimator orders bins better than MACs do. Regret: how far the network that is picked in each
bin is behind the bin's best; a random pick's is {full["random_pick_regret_mm"]} mm. Front of 6: hypervolume of six networks chosen along
the estimated front and trained in full, as a share of what training all 24 gives; {full["true_front_share"]} for six chosen by their true
errors, {full["random_front_share"]} at random. Of full: CPU time a candidate as a share of training it in full, what is spent once shared by 60
or 500 candidates.{int8}

The predictor's line flatters it: about a dozen descriptions of a network and models were tried on these very networks, and
the best kept, so that only networks that are not among them can say what it is worth. Each is predicted from others alone.
An estimator counts as above MACs where it is so in {100 * SURE:.0f}% of the draws; an order found by chance is easily above in most.
Rows that the bench has yet to make are missing above; the same command makes them. What whole searches would make of these
estimates is replayed by `python explore.py bench hypervolume` ([page](../hypervolume.md)).
"""


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """One line; nothing where a row has no such figure."""

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
