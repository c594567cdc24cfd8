"""Latency by our protocol compared with each runtime's own benchmark tool, on the same file and one thread."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from arch.space import Arch, preset
from benchmarks import Claim
from explore.measure.devices import Settings, open_device
from explore.measure.latency import Disturbed
from explore.measure.rows import Model

NAME = "paper-XS-relu"
RECIPES = ("float", "int8-static")
TURNS, SECONDS, WITHIN, LIMIT_S = 3, 3, 0.05, 120
CONFIG = {"network": NAME, "turns": TURNS, "seconds": SECONDS, "within": WITHIN}
APP = "from openvino.tools.benchmark.main import main; main()"
# runtime: (module, name of the tool, arguments, differences from our protocol)
TOOLS = {
    "openvino": (
        "openvino.tools.benchmark",
        "benchmark_app",
        ["-c", APP, *f"-d CPU -hint none -nstreams 1 -api sync -nthreads 1 -infer_precision f32 -ip f32 -t {SECONDS} -m".split()],
        "same plug-in and settings; benchmark_app reads the plug-in's clock, which excludes the Python call, and runs "
        "nothing between calls, so caches stay warm",
    ),
    "litert": (
        "ai_edge_litert.tools.benchmark_litert_model",
        "litert-benchmark",
        ["-m", "ai_edge_litert.tools.benchmark_litert_model", "--num_threads=1", "--num_runs=300", "--warmup_runs=20", "--model"],
        "the tool times LiteRT's CompiledModel, including buffer locks and output reads; we time the interpreter's invoke; "
        "both run XNNPACK",
    ),
}  # fmt: skip

File = tuple[Arch, str, str]  # network, runtime, recipe


def files() -> list[File]:
    return [(preset(NAME), runtime, recipe) for runtime in TOOLS for recipe in RECIPES]


def run(models: Mapping[File, Model]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for each file with both medians; claims: within 5% for each runtime."""
    rows = [_row(models[file]) for file in files()]
    claims = []
    for runtime, (_, tool, _, _) in TOOLS.items():
        gaps = [row["ours_ms"] / row["theirs_ms"] - 1 for row in rows if row["runtime"] == runtime and "ours_ms" in row]
        claims.append(
            Claim(
                name=f"difference from {tool}",
                target=f"within {WITHIN:.0%}",
                measured=", ".join(f"{gap:+.1%}" for gap in gaps) or "not measured",
                passed=len(gaps) == len(RECIPES) and all(abs(gap) <= WITHIN for gap in gaps),
            )
        )
    return rows, claims


def _row(model: Model) -> dict[str, Any]:
    module, tool, command, why = TOOLS[model.runtime]
    row = {"part": "tools", "network": model.arch.name, "runtime": model.runtime, "recipe": model.recipe}
    row |= {"tool": tool, "differs": why}
    if find_spec(module) is None:
        return row | {"missing": f"{module} is not installed"}
    ours, theirs = [], []
    for _ in range(TURNS):
        done = subprocess.run(
            [sys.executable, *command, str(model.files[0])], capture_output=True, text=True, timeout=LIMIT_S
        )
        median = re.search(r"median\)?:\s*([\d.]+)\s*ms", done.stdout + done.stderr, re.IGNORECASE)
        if median is None:
            return row | {"missing": f"{tool} printed no median: {done.stderr.strip()[-200:]}"}
        theirs.append(float(median[1]))
        try:
            ours.append(open_device("local").measure([model], Settings(), lambda share, text: None)[0].median_ms)
        except Disturbed as error:
            return row | {"missing": str(error)}
    return row | {"ours_ms": float(np.median(ours)), "theirs_ms": float(np.median(theirs)), "turns": TURNS}
