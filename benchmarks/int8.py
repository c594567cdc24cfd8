"""Error and latency of INT8 files: every recipe in every runtime, compared with float.

Parts: `recipes` (trained networks, evaluated and timed as files), `scale` (latency at 256 px), `legalise` (PReLU and
hardswish replaced), `conversion` (seconds), `front` (one study ranked by INT8 and by float results). Networks and files
are cached beside the rendered data: an interrupted run continues, and only timings are repeated.

Trained networks are taken from the finalists of the study in EDGEPOSE_STUDY if it has them; otherwise they are trained,
about 12 minutes each on one core.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.files import content_hash
from arch.space import Arch, named_arch
from benchmarks import Claim, at_least, at_most
from benchmarks.int8_activations import replace_and_measure
from benchmarks.int8_conversion import conversion_seconds
from benchmarks.int8_fronts import STUDY, bench_fronts, study_folder
from benchmarks.int8_full_size import latencies
from benchmarks.int8_recipes import evaluate_recipes
from benchmarks.int8_table import markdown as markdown
from benchmarks.steps import part_of
from benchmarks.trained import trained
from explore.evaluation.evaluator import Evaluator, open_evaluator
from explore.host import default_cache
from explore.progress import Display
from explore.search.config import SearchConfig
from quantize.recipes import Recipe, recipe

CONFIG: dict[str, Any] = {
    "data": "synthetic:easy", "train": 6000, "test": 500, "seed": 0, "threads": 1,
    "networks": {"paper-XS-relu": {"samples": 40_000, "qat": 2000}, "paper-L-relu": {"samples": 12_000, "qat": 500}},
    "recipes": ["float", "fp16", "int8-static", "int8-float-stem", "int8-qat"],
    "runtimes": ["litert", "openvino", "onnxruntime"], "scale": 64, "full_scale": 256,
    "legalise": {"prelu": 2000, "hardswish": 2000, "tuning": 1000},
}  # fmt: skip
FASTER = {"litert": 2.3, "openvino": 2.5}  # target for L
FASTER_XS = 1.6
COLD_S, WARM_S = 20.0, 8.0


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return the rows and claims of all parts."""
    import torch

    torch.set_num_threads(CONFIG["threads"])
    runtimes = tuple(CONFIG["runtimes"])
    config = SearchConfig(runtimes=runtimes, input_size=CONFIG["scale"], seed=CONFIG["seed"])
    evaluator = open_evaluator(config.data_config, config.processes)
    folder = default_cache() / f"bench-int8-{content_hash(CONFIG)}"
    quiet = Display(quiet=True)
    rows, claims = bench_fronts(study_folder())
    for index, (name, given) in enumerate(CONFIG["networks"].items()):
        arch = named_arch(f"{name}@{config.input_size}")

        def report(done: int, total: int, index: int = index) -> None:
            progress(0.05 + 0.3 * index + 0.2 * done / total)

        checkpoint = finalist(arch) or trained(arch, given["samples"], evaluator, config.seed, report)
        made, found = evaluate_recipes(checkpoint, folder / name, config, quiet, _recipes(given["qat"]))
        rows, claims = rows + made, claims + found
        progress(0.05 + 0.3 * (index + 1))
    rows += _legalised(evaluator, folder, config, lambda share: progress(0.65 + 0.15 * share))
    for name in CONFIG["networks"]:
        arch = named_arch(f"{name}@{CONFIG['full_scale']}")
        made = latencies(arch, runtimes, ("float", "int8-static"), folder / "scale")
        rows, claims = rows + made, claims + _faster(name, made)
        progress(0.9)
    made = conversion_seconds(runtimes)
    rows, claims = rows + made, claims + _seconds(made)
    return rows, claims


def finalist(arch: Arch) -> Path | None:
    """Return the weights of a finalist of the study in EDGEPOSE_STUDY, or None."""
    path = Path(os.environ.get(STUDY, "")) / "finalists" / arch.id / "weights.safetensors"
    return path if STUDY in os.environ and path.is_file() else None


def _recipes(qat_samples: int) -> list[Recipe]:
    """Return the recipes; `int8-qat` trains on `qat_samples` samples."""
    chosen = [recipe(name) for name in CONFIG["recipes"]]
    return [r.model_copy(update={"qat_samples": qat_samples}) if r.qat_samples else r for r in chosen]


def _legalised(
    evaluator: Evaluator, folder: Path, config: SearchConfig, progress: Callable[[float], None]
) -> list[dict[str, Any]]:
    given = dict(CONFIG["legalise"])
    tuning = given.pop("tuning")
    name = f"paper-XS-relu@{config.input_size}"
    rows = []
    for index, (activation, samples) in enumerate(given.items()):
        report = part_of(progress, index, len(given))
        rows.append(replace_and_measure(name, activation, samples, tuning, evaluator, folder, config, report))
    return rows


def _faster(name: str, rows: list[dict[str, Any]]) -> list[Claim]:
    """Compare INT8 with the float file of the same runtime."""
    claims = []
    for runtime, target in FASTER.items():
        row = next(r for r in rows if (r["runtime"], r["recipe"]) == (runtime, "int8-static"))
        text = f"{name} {runtime}: speed-up of INT8 over float, {CONFIG['full_scale']} px"
        interval = {"low": row["speedup_low"], "high": row["speedup_high"]}
        claims.append(at_least(text, FASTER_XS if "XS" in name else target, row["speedup"], **interval))
    return claims


def _seconds(rows: list[dict[str, Any]]) -> list[Claim]:
    """Compare the slowest runtime with the targets."""
    parts = (("cold_s", "new converter process", COLD_S), ("warm_64px_s", "warm converter process, 64 px", WARM_S))
    claims = []
    for key, name, target in parts:
        slowest = max(rows, key=lambda row: row[key])
        measured = f"{slowest[key]:.1f} ({slowest['runtime']})"
        claims.append(at_most(f"seconds from XS to INT8, {name}", target, slowest[key], measured))
    return claims
