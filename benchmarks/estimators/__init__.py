"""Accuracy estimators compared on reference networks: rank correlation with full training, and cost.

Results are stored in one row for each network. A further run, also after an interruption, computes missing rows only,
so a new estimator is compared in minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.cost import cost
from benchmarks import Claim, at_least
from benchmarks.estimators import estimates, int8_files, ranking, reference
from benchmarks.estimators.page import SURE, page
from benchmarks.estimators.ranking import Values

CONFIG: dict[str, Any] = {
    "reference": reference.SET, "budgets": {name: list(budgets) for name, budgets in estimates.BUDGETS.items()},
    "supernet": estimates.SUPERNET, "seed": estimates.SEED, "wanted": [60, 500], "finalists": 6,
}  # fmt: skip
PAGE = "estimators/README.md"
TARGET_TAU, TARGET_CPU = 0.7, 0.1
TARGET_SAMPLES, TARGET_TEST = 40000, 2000


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for the reference, each estimator and budget, MACs and params; and the claims."""
    import torch

    torch.set_num_threads(1)
    evaluator = reference.open_evaluator()
    reference.train_all(evaluator, lambda share: progress(0.6 * share))
    estimates.estimate_all(evaluator, lambda share: progress(0.6 + 0.3 * share))
    int8_files.evaluate_all(evaluator, lambda share: progress(0.9 + 0.1 * share))
    return summary()


def markdown(rows: list[dict[str, Any]], claims: list[Claim]) -> str:
    """Return the page of the record."""
    return page(rows, CONFIG)


@dataclass(frozen=True)
class Reference:
    """Reference networks in order of MACs: errors in mm by seed and of INT8 files (NaN if missing), and costs."""

    ids: list[str]
    bins: list[int]
    seeds: list[Values]
    files: Values
    macs: Values
    params: Values
    cpu_s: float

    @property
    def truth(self) -> Values:
        """Mean error over the seeds, mm."""
        return np.nanmean(self.seeds, axis=0)  # type: ignore[no-any-return]

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Mask of the networks with all seeds."""
        return np.asarray(np.isfinite(self.seeds).all(0))

    def metrics(self, found: Values) -> dict[str, Any]:
        """Return rank correlations, regret and front quality of an estimate of all networks."""
        above = ranking.probability_better(found, 1 / self.macs, self.truth, self.bins)
        return {
            **_correlations(found, self.truth, self.bins),
            "chance_above_macs_within_bins": round(above, 2),
            **self.int8(found),
            "regret_mm": round(ranking.regret(found, self.truth, self.bins), 2),
            "front_share": round(ranking.front_share(found, self.truth, self.macs, CONFIG["finalists"]), 3),
        }

    def int8(self, found: Values) -> dict[str, float]:
        """Return tau-b with the errors of the INT8 files; empty if files are missing."""
        return {"tau_int8": round(ranking.tau(found, self.files), 2)} if np.isfinite(self.files).all() else {}


def read_reference() -> Reference:
    """Return the recorded reference networks."""
    networks = reference.networks()
    ids, mm = [arch.id for arch in networks], estimates.by_seed("mm")
    int8 = {row["arch_id"]: float(row["mm"]) for row in reference.read_rows(int8_files.ROWS)}
    return Reference(
        ids=ids,
        bins=[reference.bin_of(arch) or 0 for arch in networks],
        seeds=[np.array([mm[arch_id].get(seed, np.nan) for arch_id in ids]) for seed in reference.SET["seeds"]],
        files=np.array([int8.get(arch_id, np.nan) for arch_id in ids]),
        macs=np.array([float(cost(arch).macs) for arch in networks]),
        params=np.array([float(cost(arch).params) for arch in networks]),
        cpu_s=float(np.mean(list(estimates.mean_over_seeds("cpu_s").values()))),
    )


def summary() -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return rows and claims from the recorded rows."""
    known, estimated = read_reference(), reference.read_rows(estimates.ROWS)
    rows = [_full(known)]
    for name, size in (("MACs", known.macs), ("params", known.params)):  # baseline: larger networks are better
        rows.append({"estimator": f"{name} alone", "budget": 0, **known.metrics(1 / size), "cpu_s_a_network": 0.0})
    for name, budgets in estimates.BUDGETS.items():
        for budget in sorted(budgets):
            mine = {row["arch_id"]: row for row in estimated if (row["estimator"], row["budget"]) == (name, budget)}
            if len(mine) < len(known.ids):
                continue  # of an interrupted run
            rows.append({"estimator": name, "budget": budget, **_estimator(known, mine)})
    return rows, _claims(rows)


def _correlations(found: Values, truth: Values, bins: list[int]) -> dict[str, Any]:
    overall, within = ranking.agreement(found, truth), ranking.agreement(found, truth, bins)
    return {
        "tau_overall": round(overall.tau, 2), "tau_overall_90": [round(overall.low, 2), round(overall.high, 2)],
        "tau_within_bins": round(within.tau, 2), "tau_within_bins_90": [round(within.low, 2), round(within.high, 2)],
    }  # fmt: skip


def _full(known: Reference) -> dict[str, Any]:
    """Return the agreement between two seeds, and the highest tau-b that noise permits."""
    first, second = (seed[known.complete] for seed in known.seeds[:2])
    bins = [place for place, both in zip(known.bins, known.complete, strict=True) if both]
    deviation = ranking.seed_deviation(first, second)
    left = deviation / np.sqrt(len(known.seeds))  # noise of the mean over seeds
    return {
        "estimator": "full, one seed against the other",
        "budget": reference.SET["training"]["samples"],
        **_correlations(first, second, bins),
        "ceiling_overall": round(ranking.ceiling(known.truth, left), 2),
        "ceiling_within_bins": round(ranking.ceiling(known.truth, left, known.bins), 2),
        **known.int8(known.seeds[0]),
        **({"int8_loss_mm": round(float(np.mean(known.files - known.seeds[0])), 2)} if known.int8(known.truth) else {}),
        "seed_deviation_mm": round(deviation, 2),
        "spread_mm": round(float(known.truth.std(ddof=1)), 2),
        "random_pick_regret_mm": round(ranking.random_regret(known.truth, known.bins), 2),
        "random_front_share": round(ranking.random_front_share(known.truth, known.macs, CONFIG["finalists"]), 3),
        "true_front_share": round(ranking.front_share(known.truth, known.truth, known.macs, CONFIG["finalists"]), 3),
        "cpu_s_a_network": round(known.cpu_s, 1),
        "networks": len(known.ids),
        "networks_with_all_seeds": int(known.complete.sum()),
        "pairs_within_bins": ranking.pairs(known.bins),
    }


def _estimator(known: Reference, mine: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the metrics of an estimator at one budget; `mine` has its row for each network."""
    found = np.array([mine[arch_id]["mm"] for arch_id in known.ids])
    spent = float(np.mean([row["cpu_s"] for row in mine.values()]))
    once = float(np.mean([row.get("once_cpu_s", 0.0) for row in mine.values()]))
    shares = {wanted: (spent + once / wanted) / known.cpu_s for wanted in CONFIG["wanted"]}
    return {
        **known.metrics(found),
        "noise_mm": round(ranking.noise(found, known.truth), 2),
        "cpu_s_a_network": round(spent, 2),
        "cpu_s_once": round(once, 1),
        **{f"share_of_full_at_{wanted}": round(share, 3) for wanted, share in shares.items()},
    }


def _claims(rows: list[dict[str, Any]]) -> list[Claim]:
    full, macs = rows[0], rows[1]
    training = reference.SET["training"]
    claims = [
        at_least(
            "reference: training samples per network", TARGET_SAMPLES, training["samples"], str(training["samples"])
        ),
        at_least("reference: test images", TARGET_TEST, reference.SET["test"]),
        at_least("reference: networks with two seeds", 24, full["networks_with_all_seeds"]),
    ]
    for row in rows[3:]:
        share, above = row["share_of_full_at_500"], row["chance_above_macs_within_bins"]
        claims.append(
            Claim(
                name=f"{row['estimator']} {row['budget']}: tau-b, tau-b within MACs bins (probability above MACs), CPU fraction at 500",
                target=f">= {TARGET_TAU}, > {macs['tau_within_bins']} (>= {SURE}), <= {TARGET_CPU}",
                measured=f"{row['tau_overall']}, {row['tau_within_bins']} ({above}), {share}",
                passed=row["tau_overall"] >= TARGET_TAU and above >= SURE and share <= TARGET_CPU,
                low=row["tau_overall_90"][0],
                high=row["tau_overall_90"][1],
                interval_of="90%, tau-b",
            )
        )
    return claims
