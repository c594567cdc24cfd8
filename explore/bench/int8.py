"""What INT8 costs and gains: every recipe in every runtime beside float, in millimetres and milliseconds.

Parts: `recipes` (trained networks, judged and timed as files), `scale` (latency alone, at 256 px), `legalise` (PReLU and
hardswish), `conversion` (seconds), `front` (one study judged as shipped and as float). Networks and files stay beside
the rendered data: a run that was stopped goes on, and only what is timed is done again.

The trained networks are those of the study in EDGEPOSE_STUDY where it has them among its finalists; else they are
trained here, about 12 minutes each on a core.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.files import content_hash
from arch.space import Arch, named_arch
from explore.bench import Claim
from explore.bench.at_scale import latencies
from explore.bench.by_recipe import files_by_recipe
from explore.bench.converting import conversion_seconds
from explore.bench.fronts import STUDY, bench_fronts, study_folder
from explore.bench.int8_table import markdown as markdown
from explore.bench.legal import legalised
from explore.bench.trained import trained
from explore.config import MeasureConfig, SearchConfig
from explore.data.synthetic.dataset import default_cache
from explore.judge import Judge
from explore.progress import Display
from explore.search.dataset import open_judge
from quantize.recipes import Recipe, recipe

CONFIG: dict[str, Any] = {
    "data": "synthetic:easy", "train": 6000, "test": 500, "seed": 0, "threads": 1,
    "networks": {"paper-XS-relu": {"samples": 40_000, "qat": 2000}, "paper-L-relu": {"samples": 12_000, "qat": 500}},
    "recipes": ["float", "fp16", "int8-static", "int8-float-stem", "int8-qat"],
    "runtimes": ["litert", "openvino", "onnxruntime"], "scale": 64, "full_scale": 256,
    "legalise": {"prelu": 2000, "hardswish": 2000, "tuning": 1000},
}  # fmt: skip
FASTER = {"litert": 2.3, "openvino": 2.5}  # asked of L; XS: 1.6
FASTER_XS = 1.6
COLD_S, WARM_S = 20.0, 8.0
AT_SCALE = MeasureConfig(rounds=8, calls=5, budget=60.0)


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Rows of every part, and the claims they bear out."""
    import torch

    torch.set_num_threads(CONFIG["threads"])
    runtimes = tuple(CONFIG["runtimes"])
    config = SearchConfig(runtimes=runtimes, scale=CONFIG["scale"], seed=CONFIG["seed"])
    judge = open_judge(config)
    folder = default_cache() / f"bench-int8-{content_hash(CONFIG)}"
    quiet = Display(quiet=True)
    rows, claims = bench_fronts(study_folder())
    for index, (name, given) in enumerate(CONFIG["networks"].items()):
        arch = named_arch(f"{name}@{config.scale}")

        def told(done: int, total: int, index: int = index) -> None:
            progress(0.05 + 0.3 * index + 0.2 * done / total)

        checkpoint = finalist(arch) or trained(arch, given["samples"], judge, config.seed, told)
        made, found = files_by_recipe(checkpoint, folder / name, config, quiet, _recipes(given["qat"]))
        rows, claims = rows + made, claims + found
        progress(0.05 + 0.3 * (index + 1))
    rows += _legalised(judge, folder, config, lambda share: progress(0.65 + 0.15 * share))
    for name in CONFIG["networks"]:
        arch = named_arch(f"{name}@{CONFIG['full_scale']}")
        made = latencies(arch, runtimes, ("float", "int8-static"), folder / "scale", AT_SCALE)
        rows, claims = rows + made, claims + _faster(name, made)
        progress(0.9)
    made = conversion_seconds(runtimes)
    rows, claims = rows + made, claims + _seconds(made)
    return rows, claims


def finalist(arch: Arch) -> Path | None:
    """Weights of that network from the study in EDGEPOSE_STUDY."""
    path = Path(os.environ.get(STUDY, "")) / "finalists" / arch.id / "weights.safetensors"
    return path if STUDY in os.environ and path.is_file() else None


def _recipes(qat_samples: int) -> list[Recipe]:
    """Of the bench; the training in 8 bits is as long as given."""
    chosen = [recipe(name) for name in CONFIG["recipes"]]
    return [r.model_copy(update={"qat_samples": qat_samples}) if r.qat_samples else r for r in chosen]


def _legalised(
    judge: Judge, folder: Path, config: SearchConfig, progress: Callable[[float], None]
) -> list[dict[str, Any]]:
    given = dict(CONFIG["legalise"])
    tuning = given.pop("tuning")
    name = f"paper-XS-relu@{config.scale}"
    return [
        legalised(
            name,
            activation,
            samples,
            tuning,
            judge,
            folder,
            config,
            lambda s, i=index: progress((i + s) / len(given)),  # type: ignore[misc]
        )
        for index, (activation, samples) in enumerate(given.items())
    ]


def _faster(name: str, rows: list[dict[str, Any]]) -> list[Claim]:
    """INT8 beside the same runtime's float file."""
    claims = []
    for runtime, least in FASTER.items():
        asked = FASTER_XS if "XS" in name else least
        row = next(r for r in rows if (r["runtime"], r["recipe"]) == (runtime, "int8-static"))
        measured = row["speedup"]
        claims.append(
            Claim(
                name=f"{name} {runtime}: INT8 times float's speed, {CONFIG['full_scale']} px",
                asked=f"at least {asked}",
                measured=f"{measured:.2f}",
                holds=measured >= asked,
                low=row["speedup_low"],
                high=row["speedup_high"],
            )
        )
    return claims


def _seconds(rows: list[dict[str, Any]]) -> list[Claim]:
    """The slowest runtime's."""
    parts = (
        ("cold_s", "XS to INT8 in a new process", COLD_S),
        ("warm_64px_s", "XS to INT8 in a warm one, 64 px", WARM_S),
    )
    claims = []
    for key, name, most in parts:
        slowest = max(rows, key=lambda row: row[key])
        claims.append(
            Claim(
                name=name,
                asked=f"at most {most:g} s",
                measured=f"{slowest[key]:.1f} s ({slowest['runtime']})",
                holds=slowest[key] <= most,
            )
        )
    return claims
