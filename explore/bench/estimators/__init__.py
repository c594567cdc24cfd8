"""Accuracy estimators side by side: how well each orders the reference networks, and what it costs.

What is trained for it is kept in rows, a network each: run again, the bench does only what is missing, and a new
estimator is compared in minutes. Stopped anywhere, it goes on there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.cost import cost
from arch.files import write_atomic
from explore.bench import Claim
from explore.bench.estimators import estimates, ranking, reference, shipped
from explore.bench.estimators.page import SURE, page
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
    estimates.estimate_all(judge, lambda share: progress(0.6 + 0.3 * share))
    shipped.judge_all(judge, lambda share: progress(0.9 + 0.1 * share))
    rows, claims = summary()
    write_atomic(reference.FOLDER / "README.md", page(rows, CONFIG))
    return rows, claims


@dataclass(frozen=True)
class Yardstick:
    """The reference networks by MACs: their errors in mm by seed and as INT8 files, NaN where not there yet, and costs."""

    ids: list[str]
    bins: list[int]
    seeds: list[Values]
    files: Values
    macs: Values
    params: Values
    cpu_s: float

    @property
    def truth(self) -> Values:
        """Mean over the seeds, mm."""
        return np.nanmean(self.seeds, axis=0)  # type: ignore[no-any-return]

    @property
    def twice(self) -> NDArray[np.bool_]:
        """Which networks have all seeds."""
        return np.asarray(np.isfinite(self.seeds).all(0))

    def measures(self, found: Values) -> dict[str, Any]:
        """What an estimate of all networks is worth: its order, its picks, the front of its finalists."""
        overall = ranking.agreement(found, self.truth)
        within = ranking.agreement(found, self.truth, self.bins)
        above = ranking.chance_better(found, 1 / self.macs, self.truth, self.bins)
        return {
            "tau_overall": round(overall.tau, 2),
            "tau_overall_90": [round(overall.low, 2), round(overall.high, 2)],
            "tau_within_bins": round(within.tau, 2),
            "tau_within_bins_90": [round(within.low, 2), round(within.high, 2)],
            "chance_above_macs_within_bins": round(above, 2),
            **self.int8(found),
            "regret_mm": round(ranking.regret(found, self.truth, self.bins), 2),
            "front_share": round(ranking.front_share(found, self.truth, self.macs, CONFIG["finalists"]), 3),
        }

    def int8(self, found: Values) -> dict[str, float]:
        """How far the order is that of the INT8 files; nothing before all of them are there."""
        return {"tau_int8": round(ranking.tau(found, self.files), 2)} if np.isfinite(self.files).all() else {}


def yardstick() -> Yardstick:
    """The recorded reference."""
    networks = reference.networks()
    ids, mm = [arch.id for arch in networks], estimates.by_seed("mm")
    int8 = {row["arch_id"]: float(row["mm"]) for row in reference.read_rows(shipped.ROWS)}
    return Yardstick(
        ids=ids,
        bins=[reference.bin_of(arch) or 0 for arch in networks],
        seeds=[np.array([mm[arch_id].get(seed, np.nan) for arch_id in ids]) for seed in reference.SET["seeds"]],
        files=np.array([int8.get(arch_id, np.nan) for arch_id in ids]),
        macs=np.array([float(cost(arch).macs) for arch in networks]),
        params=np.array([float(cost(arch).params) for arch in networks]),
        cpu_s=float(np.mean(list(estimates.reference_cpu_s().values()))),
    )


def summary() -> tuple[list[dict[str, Any]], list[Claim]]:
    """Rows and claims from the recorded networks alone."""
    known, estimated = yardstick(), reference.read_rows(estimates.ROWS)
    rows = [_full(known)]
    for name, size in (("MACs", known.macs), ("params", known.params)):  # the larger, the better: a guess for nothing
        rows.append({"estimator": f"{name} alone", "budget": 0, **known.measures(1 / size), "cpu_s_a_network": 0.0})
    for name, budgets in estimates.BUDGETS.items():
        for budget in sorted(budgets):
            mine = {row["arch_id"]: row for row in estimated if (row["estimator"], row["budget"]) == (name, budget)}
            if len(mine) < len(known.ids):
                continue  # of a bench that was stopped
            rows.append({"estimator": name, "budget": budget, **_estimator(known, mine)})
    return rows, _claims(rows)


def _full(known: Yardstick) -> dict[str, Any]:
    """One seed's order against the other's, and what noise leaves to be reached."""
    first, second = (seed[known.twice] for seed in known.seeds[:2])
    bins = [place for place, both in zip(known.bins, known.twice, strict=True) if both]
    deviation = ranking.seed_deviation(first, second)
    overall, within = ranking.agreement(first, second), ranking.agreement(first, second, bins)
    left = deviation / np.sqrt(len(known.seeds))  # in the mean over seeds
    return {
        "estimator": "full, one seed against the other",
        "budget": reference.SET["training"]["samples"],
        "tau_overall": round(overall.tau, 2),
        "tau_overall_90": [round(overall.low, 2), round(overall.high, 2)],
        "tau_within_bins": round(within.tau, 2),
        "tau_within_bins_90": [round(within.low, 2), round(within.high, 2)],
        "ceiling_overall": round(ranking.ceiling(known.truth, left), 2),
        "ceiling_within_bins": round(ranking.ceiling(known.truth, left, known.bins), 2),
        **known.int8(known.seeds[0]),
        **({"int8_loss_mm": round(float(np.mean(known.files - known.seeds[0])), 2)} if known.int8(known.truth) else {}),
        "seed_deviation_mm": round(deviation, 2),
        "spread_mm": round(float(known.truth.std(ddof=1)), 2),
        "random_pick_regret_mm": round(ranking.chance_regret(known.truth, known.bins), 2),
        "random_front_share": round(ranking.chance_front_share(known.truth, known.macs, CONFIG["finalists"]), 3),
        "true_front_share": round(ranking.front_share(known.truth, known.truth, known.macs, CONFIG["finalists"]), 3),
        "cpu_s_a_network": round(known.cpu_s, 1),
        "networks": len(known.ids),
        "networks_with_all_seeds": int(known.twice.sum()),
        "pairs_within_bins": ranking.pairs(known.bins),
    }


def _estimator(known: Yardstick, mine: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An estimator at one budget; `mine` has its row for each network."""
    found = np.array([mine[arch_id]["mm"] for arch_id in known.ids])
    spent = float(np.mean([row["cpu_s"] for row in mine.values()]))
    once = float(np.mean([row.get("once_cpu_s", 0.0) for row in mine.values()]))
    shares = {wanted: (spent + once / wanted) / known.cpu_s for wanted in CONFIG["wanted"]}
    return {
        **known.measures(found),
        "noise_mm": round(ranking.noise(found, known.truth), 2),
        "cpu_s_a_network": round(spent, 2),
        "cpu_s_once": round(once, 1),
        **{f"share_of_full_at_{wanted}": round(share, 3) for wanted, share in shares.items()},
    }


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
            name="reference: networks with two seeds",
            asked="24 or more",
            measured=str(full["networks_with_all_seeds"]),
            holds=full["networks_with_all_seeds"] >= 24,
        ),
    ]
    for row in rows[3:]:
        share, above = row["share_of_full_at_500"], row["chance_above_macs_within_bins"]
        claims.append(
            Claim(
                name=f"{row['estimator']} {row['budget']}: tau, in bins (sure above MACs), CPU share at 500",
                asked=f">={ASKED_TAU}, >{macs['tau_within_bins']} (>={SURE}), <={ASKED_SHARE}",
                measured=f"{row['tau_overall']}, {row['tau_within_bins']} ({above}), {share}",
                holds=row["tau_overall"] >= ASKED_TAU and above >= SURE and share <= ASKED_SHARE,
                low=row["tau_overall_90"][0],
                high=row["tau_overall_90"][1],
                interval_of="90%, tau",
            )
        )
    return claims
