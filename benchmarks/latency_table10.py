"""Order of the networks of the paper's Table 10 here: each runtime, float and INT8, 1 and 2 threads, 256 px."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from arch.paper import paper_tables
from arch.space import Arch, preset
from benchmarks import Claim
from benchmarks.latency_mediapipe import pose_landmarker
from explore.measure.config import MeasureConfig
from explore.measure.latency import Disturbed, measure, retry_disturbed
from explore.measure.rows import Model
from quantize import operator_check, runtimes
from quantize.recipes import recipe

RUNTIMES, RECIPES, THREADS = ("litert", "openvino", "onnxruntime"), ("float", "int8-static"), (1, 2)
RULES = MeasureConfig(rounds=5, calls=2, max_seconds=20.0)
ATTEMPTS = 2
CONFIG = {"runtimes": RUNTIMES, "recipes": RECIPES, "threads": THREADS, "rules": RULES.model_dump()}
ORDER = ("Moon ResNet-50", "L", "S", "XS")

File = tuple[Arch, str, str]  # network, runtime, recipe


def networks() -> dict[tuple[str, str], Arch]:
    """Return the networks by row of Table 10 and activation. Upsampling replaces Moon's transposed convolutions."""
    found = {(ORDER[0], "relu"): preset("moon-resnet50")}
    for activation in ("relu", "prelu"):
        found |= {(row, activation): preset(f"paper-{row}-{activation}") for row in ORDER[1:]}
    return found


def files() -> list[File]:
    """Return the combinations that can be exported."""
    return [
        (arch, runtime, name)
        for runtime in RUNTIMES
        for name in RECIPES
        for arch in networks().values()
        if not operator_check.reasons(arch, runtime, recipe(name))
    ]


def run(models: Mapping[File, Model]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for each file and thread count, and a claim for each runtime, recipe and thread count.

    The claims compare the order of the ReLU networks with the paper's.
    """
    printed = {row.row: row.cpu_ms for row in paper_tables() if row.table == "Table 10"}
    rows: list[dict[str, Any]] = []
    for runtime, name, threads in itertools.product(RUNTIMES, RECIPES, THREADS):
        rows += [
            {"part": "table10", "runtime": runtime, "threads": threads, **row, "paper_ms": printed.get(row["row"])}
            for row in _group(runtime, name, threads, models)
        ]
    groups = dict.fromkeys((row["runtime"], row["recipe"], row["threads"]) for row in rows)
    return rows, [_claim(rows, *group) for group in groups]


def _group(runtime: str, recipe_name: str, threads: int, models: Mapping[File, Model]) -> list[dict[str, Any]]:
    """Measure the files of one runtime and recipe in interleaved rounds; longer rounds would often be disturbed."""
    abouts: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable[[], None]] = {}
    names = {arch.id: key for key, arch in networks().items()}
    picture = np.random.default_rng(0).normal(size=(1, 3, 256, 256)).astype(np.float32)
    for arch, mine, name in files():
        if (mine, name) == (runtime, recipe_name):
            row, activation = names[arch.id]
            key = f"{arch.id} {name}"
            abouts[key] = {"row": row, "activation": activation, "recipe": name}
            calls[key] = runtimes.get(runtime).load(models[arch, runtime, name].files[0], threads).prepare(picture)
    other = pose_landmarker(threads) if (runtime, recipe_name) == ("litert", "float") else None
    if other is not None:
        abouts["mediapipe"] = {"row": "MediaPipe pose_landmark_full", "activation": "", "recipe": "as published"}
        calls["mediapipe"] = other
    settings = RULES.model_copy(update={"threads": threads})
    try:
        found = retry_disturbed(lambda: measure(calls, settings, next(iter(calls))), ATTEMPTS)
    except Disturbed as error:
        return [about | {"ms": None, "rejected": str(error)} for about in abouts.values()]
    return [about | {"ms": found[key].median_ms, "p90_ms": found[key].p90_ms} for key, about in abouts.items()]


def _claim(rows: list[dict[str, Any]], runtime: str, recipe_name: str, threads: int) -> Claim:
    mine = {
        row["row"]: row["ms"]
        for row in rows
        if (row["runtime"], row["recipe"], row["threads"]) == (runtime, recipe_name, threads)
        and row["activation"] != "prelu"
    }
    name = f"Table 10: {runtime} {recipe_name}, {threads} thread{'s' * (threads > 1)}"
    if "MediaPipe pose_landmark_full" in mine:
        ms = mine["MediaPipe pose_landmark_full"]
        xs = next((r["ms"] for r in rows if (r["row"], r["recipe"], r["threads"]) == ("XS", "float", threads)), None)
        measured = f"{xs:.1f} ms, MediaPipe {ms:.1f} ms" if ms and xs else "rejected"
        return Claim(
            name=f"{name}: latency of XS float compared with MediaPipe",
            target="faster",
            measured=measured,
            passed=bool(ms and xs and xs < ms),
        )
    figures = [mine.get(row) for row in ORDER]
    known = [ms for ms in figures if ms]
    return Claim(
        name=name,
        target=" > ".join(ORDER),
        measured=" > ".join(f"{ms:.1f}" for ms in known) + " ms" if known else "rejected",
        passed=len(known) == len(ORDER) and known == sorted(known, reverse=True),
    )
