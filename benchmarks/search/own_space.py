"""Searches of the project's own space: hypervolume of the exported files on the test part, beside the paper's networks.

Each search is a run of the command. An interrupted one is resumed, a finished one is reused.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import WorkError
from benchmarks import Claim, at_least
from benchmarks.intervals import mean_interval
from benchmarks.search.results import OURS, Row
from benchmarks.steps import run_steps
from explore.host import default_cache
from explore.pareto import hypervolume
from explore.search.config import SearchConfig

CONFIG: dict[str, Any] = {"samplers": [OURS, "tpe", "random"], "own_seeds": [0, 1, 2, 3, 4], "budget": "15m"}
COSTS = {"latency": "ms", "macs": "macs"}  # hypervolume in mm x decades of these
PAPER, FASTER = ("paper-S", "paper-L"), 2.0  # a search should find networks as accurate and so many times as fast
AS_ACCURATE = ("at least as accurate", "not distinguishable")


def own_rows(config: Mapping[str, Any], progress: Callable[[float], None], before: Iterable[Row] = ()) -> list[Row]:
    """Run the searches and return a row for each, and those of other searches of this budget of a record.

    Both reference points have the error of the mean-pose baseline, and the largest cost of all exported files.

    Raises:
        WorkError: a search failed.
    """
    steps = {
        f"own-{name}": partial(_search, name, sampler, seed, config["budget"])
        for seed in config["own_seeds"]
        for sampler in config["samplers"]
        for name in [f"{sampler}-{seed}-{config['budget']}-{SearchConfig(seed=seed).hash}"]
    }
    results = run_steps(default_cache() / "bench-search", steps, progress, config["finished_only"])
    kept = [row for row in before if row["budget"] == config["budget"]]
    by_search = {(row["seed"], row["sampler"]): dict(row) for row in [*kept, *results.values()]}
    rows = [by_search[key] for key in sorted(by_search)]
    for name, key in COSTS.items():
        costs = [file[key] for row in rows for file in row["files"]]
        for row in rows:
            points = np.array([[file["mm"], math.log10(file[key])] for file in row["files"] if file[key]])
            corner = np.array([row["mean_pose_mm"], math.log10(max(filter(None, costs), default=1.0))])
            row[f"hypervolume_{name}"] = round(hypervolume(points.reshape(-1, 2), corner), 3)
    return rows


def own_claims(rows: list[Row]) -> list[Claim]:
    """Compare our sampler with the paper's networks, and with each rival, seed by seed."""
    found = _claims_about_paper([row for row in rows if row["sampler"] == OURS])
    for rival in dict.fromkeys(row["sampler"] for row in rows if row["sampler"] != OURS):
        for name in COSTS:
            key = f"hypervolume_{name}"
            ours, theirs = ({row["seed"]: row[key] for row in rows if row["sampler"] == each} for each in (OURS, rival))
            differences = [ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()]
            low, high = mean_interval(differences)
            found.append(
                Claim(
                    name=f"own space: hypervolume of error and {name}, {OURS} minus {rival}, mean of {len(differences)} seeds",
                    target="> 0, interval included",
                    measured=f"{np.mean(differences):+.3g}",
                    passed=low > 0,
                    low=low,
                    high=high,
                )
            )
    return found


def _claims_about_paper(rows: list[Row]) -> list[Claim]:
    """Count the searches with a file at least as accurate as a network of the paper, or not distinguishable from it."""
    claims = []
    for paper in PAPER if rows else ():
        compared = [one for row in rows for one in row["comparisons"]["equal compute"] if one["name"].startswith(paper)]
        good = [one for one in compared if one["verdict"] in AS_ACCURATE and one["low"] >= FASTER]
        name = f"default search: as accurate as {paper} (95% interval) and {FASTER:g} times as fast, seeds"
        times = ", ".join(f"{one['times']:.1f}" for one in good)
        measured = f"{len(good)} of {len(rows)} seeds" + (f", {times} times" if good else "")
        claims.append(at_least(name, len(rows), len(good), measured))
    return claims


def _search(name: str, sampler: str, seed: int, budget: str) -> Row:
    """Run one search and return its exported files: error on the test part, latency and MACs."""
    folder = default_cache() / "bench-search" / "studies"
    done = subprocess.run(
        [
            *(sys.executable, "explore.py", "search", "--json", f"--sampler={sampler}", f"--seed={seed}"),
            *(f"--budget={budget}", f"--results={folder}", f"--study={name}", "--cache=none"),
        ],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise WorkError(
            f"search with sampler {sampler}, seed {seed}: exit status {done.returncode}; its message is above"
        )
    found = json.loads(done.stdout)
    files = [
        {"name": row["name"], "mm": row["mpjpe_mm"], "ms": row["latency_ms"], "macs": row["macs"]}
        for row in found["exported"]
        if row["runtime"] == "litert" and row["name"] not in found["baselines"]
    ]
    return {
        "sampler": sampler,
        "seed": seed,
        "budget": budget,
        "trials": len(found["trials"]),
        "train_minutes": found["train_minutes"],
        "mean_pose_mm": found["mean_pose_mm"],
        "files": files,
        "comparisons": {
            "equal compute": [_comparison(one) for one in found["iso_accuracy"]],
            "equal samples": [_comparison(one) for one in found["iso_accuracy_at_equal_samples"]],
        },
    }


def _comparison(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network of the paper and the file of the search that was compared with it."""
    kept = {key: values[key] for key in ("verdict", "times", "low", "high", "text")}
    return {"name": values["other"]["name"], "file": (values["file"] or {}).get("name"), **kept}
