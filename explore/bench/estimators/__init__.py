"""Accuracy estimators side by side: how well each orders the reference networks, and what it costs.

What is trained for it is kept in rows, a network each: run again, the bench does only what is missing, and a new
estimator is compared in minutes. Stopped anywhere, it goes on there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from explore.bench import Claim
from explore.bench.estimators import estimates, ranking, reference, shipped
from explore.bench.estimators.ranking import Values

CONFIG: dict[str, Any] = {
    "reference": reference.SET, "budgets": {name: list(budgets) for name, budgets in estimates.BUDGETS.items()},
    "supernet": estimates.SUPERNET, "seed": estimates.SEED, "wanted": [60, 500], "finalists": 6,
}  # fmt: skip
ASKED_TAU, ASKED_SHARE = 0.7, 0.1
ASKED_SAMPLES, ASKED_TEST = 40000, 2000


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """A row for the reference, each estimator and budget, MACs and params; what was asked of them."""
    import torch

    torch.set_num_threads(1)
    judge = reference.open_judge()
    reference.train_all(judge, lambda share: progress(0.6 * share))
    rows = estimates.estimate_all(judge, lambda share: progress(0.6 + 0.3 * share))
    int8 = shipped.judge_all(judge, lambda share: progress(0.9 + 0.1 * share))
    return summary(rows, {row["arch_id"]: row["mm"] for row in int8})


def summary(estimated: list[dict[str, Any]], int8: dict[str, float]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Rows and claims from the recorded networks alone; `int8` is the error of each one's INT8 file in mm."""
    networks = reference.networks()
    ids, bins = [arch.id for arch in networks], [reference.bin_of(arch) or 0 for arch in networks]
    seeds = estimates.by_seed("mm")
    columns = [np.array([seeds[arch_id][seed] for arch_id in ids]) for seed in reference.SET["seeds"]]
    truth = np.mean(columns, axis=0)
    cpu_s = float(np.mean(list(estimates.reference_cpu_s().values())))
    deviation = ranking.seed_deviation(columns[0], columns[1])
    costs = estimates.costs()
    # a network is guessed to be the better, the larger it is
    macs, params = (np.array([1e9 / costs[arch_id][column] for arch_id in ids]) for column in (0, 1))

    files = np.array([int8[arch_id] for arch_id in ids])
    floats = np.array([seeds[arch_id][reference.SET["seeds"][0]] for arch_id in ids])

    def decides(found: Values) -> dict[str, float]:
        """The order of the INT8 files, and the front of the networks that would be trained in full."""
        share = ranking.front_share(found, truth, 1e9 / macs, CONFIG["finalists"])
        return {"tau_int8": round(ranking.tau(found, files), 2), "front_share": round(share, 3)}

    rows = [
        {
            "estimator": "full, one seed against the other",
            "budget": reference.SET["training"]["samples"],
            **_measures(columns[0], columns[1], bins, None),
            "cpu_s_a_network": round(cpu_s, 1),
            "seed_deviation_mm": round(deviation, 2),
            "spread_mm": round(float(truth.std(ddof=1)), 2),
            "ceiling_overall": round(ranking.ceiling(truth, deviation / np.sqrt(2)), 2),
            "ceiling_within_bins": round(ranking.ceiling(truth, deviation / np.sqrt(2), bins), 2),
            "random_pick_regret_mm": round(ranking.chance_regret(truth, bins), 2),
            **decides(floats),
            "random_front_share": round(ranking.chance_front_share(truth, 1e9 / macs, CONFIG["finalists"]), 3),
            "int8_loss_mm": round(float(np.mean(files - floats)), 2),
            "networks": len(ids),
            "pairs_within_bins": ranking.pairs(bins),
        },
        {
            "estimator": "MACs alone",
            "budget": 0,
            **_measures(macs, truth, bins, None),
            **decides(macs),
            "cpu_s_a_network": 0.0,
        },
        {
            "estimator": "params alone",
            "budget": 0,
            **_measures(params, truth, bins, macs),
            **decides(params),
            "cpu_s_a_network": 0.0,
        },
    ]
    for name, budgets in estimates.BUDGETS.items():
        for budget in sorted(budgets):
            mine = {row["arch_id"]: row for row in estimated if (row["estimator"], row["budget"]) == (name, budget)}
            found = np.array([mine[arch_id]["mm"] for arch_id in ids])
            spent = float(np.mean([row["cpu_s"] for row in mine.values()]))
            once = float(np.mean([row.get("once_cpu_s", 0.0) for row in mine.values()]))
            rows.append(
                {
                    "estimator": name,
                    "budget": budget,
                    **_measures(found, truth, bins, macs),
                    **decides(found),
                    "noise_mm": round(ranking.noise(found, truth), 2),
                    "cpu_s_a_network": round(spent, 2),
                    "cpu_s_once": round(once, 1),
                    **{
                        f"share_of_full_at_{wanted}": round((spent + once / wanted) / cpu_s, 3)
                        for wanted in CONFIG["wanted"]
                    },
                }
            )
    return rows, _claims(rows)


def _measures(found: Values, truth: Values, bins: list[int], macs: Values | None) -> dict[str, Any]:
    """Agreement with the truth, overall and within bins of MACs, and regret of the picks."""
    overall, within = ranking.agreement(found, truth), ranking.agreement(found, truth, bins)
    measures: dict[str, Any] = {
        "tau_overall": round(overall.tau, 2),
        "tau_overall_90": [round(overall.low, 2), round(overall.high, 2)],
        "tau_within_bins": round(within.tau, 2),
        "tau_within_bins_90": [round(within.low, 2), round(within.high, 2)],
        "regret_mm": round(ranking.regret(found, truth, bins), 2),
    }
    if macs is not None:
        measures["chance_above_macs_within_bins"] = round(ranking.chance_better(found, macs, truth, bins), 2)
    return measures


def _claims(rows: list[dict[str, Any]]) -> list[Claim]:
    full, macs = rows[0], rows[1]
    training = reference.SET["training"]
    claims = [
        Claim(
            name="reference: samples a network",
            asked=f"{ASKED_SAMPLES} or more",
            measured=str(training["samples"]),
            holds=training["samples"] >= ASKED_SAMPLES,
        ),
        Claim(
            name="reference: test images",
            asked=f"{ASKED_TEST} or more",
            measured=str(reference.SET["test"]),
            holds=reference.SET["test"] >= ASKED_TEST,
        ),
        Claim(
            name="reference: networks, seeds",
            asked="24, 2",
            measured=f"{full['networks']}, {len(reference.SET['seeds'])}",
            holds=full["networks"] >= 24 and len(reference.SET["seeds"]) >= 2,
        ),
    ]
    for row in rows[3:]:
        share = row["share_of_full_at_500"]
        claims.append(
            Claim(
                name=f"{row['estimator']} {row['budget']}: tau, within MACs bins, share of CPU at 500",
                asked=f">={ASKED_TAU}, >{macs['tau_within_bins']}, <={ASKED_SHARE}",
                measured=f"{row['tau_overall']}, {row['tau_within_bins']}, {share}",
                holds=row["tau_overall"] >= ASKED_TAU
                and row["tau_within_bins"] > macs["tau_within_bins"]
                and share <= ASKED_SHARE,
            )
        )
    return claims
