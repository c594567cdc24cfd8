"""Training presets on the embedded data with equal samples: the paper's, ours, and ours with single changes.

Part `presets`: short runs. Presets are trained with several seeds; results of single seeds differ by 5 mm. Part `long`:
recipes for long runs (benchmarks.training_long). Results are cached until all are complete: an interrupted run
continues.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from arch.files import content_hash
from arch.space import Arch, named_arch
from benchmarks import Claim, decrease_of_each_seed
from benchmarks.steps import part_of, run_steps
from benchmarks.training_long import run_long
from explore.data import open_dataset
from explore.data.synthetic.config import SyntheticConfig
from explore.evaluation.evaluator import Evaluator
from explore.host import default_cache
from explore.train.config import PRESETS, TrainConfig

CONFIG: dict[str, Any] = {
    "data": "synthetic:easy", "train": 6000, "few": 600, "test": 500, "arch": "paper-XS-relu@64", "samples": 9600,
    "seeds": [0, 1, 2], "seeds_of_changes": [0], "threads": 1,
}  # fmt: skip
PARTS = ("presets", "long")
OURS = PRESETS["ours"] | {"augment": "none"}  # the choice of `default_augment` for so few epochs
LIGHT = OURS | {"augment": "light"}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": PRESETS["paper"],
    "paper, no augmentation": PRESETS["paper"] | {"augment": "none"},
    "ours": OURS,
    "ours, step schedule": OURS | {"schedule": "steps"},
    "ours, the paper's augmentation": OURS | {"augment": "paper"},
    "ours, light augmentation": LIGHT,
    "light, L1 loss only": LIGHT | {"heatmap_loss": 0.0},
    "light, step schedule": LIGHT | {"schedule": "steps"},
    "light, averaged weights": LIGHT | {"ema_decay": 0.995},
    "light, Adam": LIGHT | {"optimizer": "adam", "weight_decay": 0.0},
    "light, the paper's batch size and learning rate": LIGHT | {"batch_size": 24, "learning_rate": 1e-3},
}
ALL_SEEDS = ("paper", "ours", "ours, step schedule")  # trained with all seeds
SMALL_SET_VARIANTS = (
    "ours",
    "ours, light augmentation",
    "ours, the paper's augmentation",
)  # also trained on few frames


def run(
    progress: Callable[[float], None], part: str = "", before: Iterable[dict[str, Any]] = ()
) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return the rows of both parts, or of one and the other's rows of a record; claim: ours beats the paper's."""
    kept = [{"part": "presets", "preset": row.get("recipe"), **row} for row in before]  # as version 0.1 named it
    found = {name: [row for row in kept if row["part"] == name] for name in PARTS}
    for turn, name in enumerate(running := [part] if part else list(PARTS)):
        report = part_of(progress, turn, len(running))
        found[name] = run_presets(report) if name == "presets" else run_long(report)
    return [*found["presets"], *found["long"]], claims(found["presets"])


def run_presets(progress: Callable[[float], None]) -> list[dict[str, Any]]:
    """Return a row for each preset and number of frames: test error in mm by seed."""
    import torch

    torch.set_num_threads(CONFIG["threads"])
    settings = SyntheticConfig(level="easy", size=128, train_frames=CONFIG["train"], test_frames=CONFIG["test"])
    parts = [open_dataset(CONFIG["data"], split, settings) for split in ("train", "test")]
    arch = named_arch(CONFIG["arch"])
    few = parts[0].take(np.linspace(0, len(parts[0]) - 1, CONFIG["few"]).astype(int))
    evaluators = [Evaluator(train, parts[1], arch.input_size) for train in (parts[0], few)]
    whole = len(parts[0])

    def seeds_of(name: str, evaluator: Evaluator) -> list[int]:
        return list(CONFIG["seeds" if name in ALL_SEEDS and len(evaluator.train) == whole else "seeds_of_changes"])

    cases = [(name, evaluators[0]) for name in VARIANTS] + [
        (name, evaluators[1]) for name in SMALL_SET_VARIANTS if name in VARIANTS
    ]
    folder = default_cache() / f"bench-training-{content_hash([CONFIG, VARIANTS])}"
    runs = [(case, seed) for seed in CONFIG["seeds"] for case in cases if seed in seeds_of(*case)]
    steps = {}
    for index, ((name, evaluator), seed) in enumerate(runs):
        key, report = content_hash([name, len(evaluator.train), seed]), part_of(progress, index, len(runs))
        steps[key] = partial(_train, arch, evaluator, VARIANTS[name], seed, folder / f"{key}.state", report)
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for ((name, evaluator), _), result in zip(runs, run_steps(folder, steps, progress).values(), strict=True):
        found.setdefault((name, len(evaluator.train)), []).append(result)
    shutil.rmtree(folder)
    return [_row(name, frames, seeds, evaluators[0]) for (name, frames), seeds in found.items()]


def _train(
    arch: Arch, evaluator: Evaluator, values: dict[str, Any], seed: int, state: Path, report: Callable[[float], None]
) -> dict[str, float]:
    """Train once; return the errors in mm, with and without flip test."""
    from explore.train.loop import predict, train

    config = TrainConfig.model_validate(values | {"samples": CONFIG["samples"]})
    result = train(arch, evaluator.train, config, seed, state, progress=lambda done, total: report(done / total))
    images, order = evaluator.evaluation.images, evaluator.data.skeleton.flip_order
    plain, flipped = (evaluator.evaluate(predict(result.net, images, flip_order=turn)) for turn in (None, order))
    return {
        "mpjpe_mm": plain.mpjpe,
        "pa_mpjpe_mm": plain.pa_mpjpe,
        "flip_test_mpjpe_mm": flipped.mpjpe,
        "samples": result.samples,
        "seconds": result.cpu_seconds,
    }


def _row(name: str, frames: int, seeds: list[dict[str, float]], evaluator: Evaluator) -> dict[str, Any]:
    """Return the means over the seeds, and the error of each seed."""
    mean = {key: round(float(np.mean([seed[key] for seed in seeds])), 1) for key in seeds[0]}
    return {
        "part": "presets",
        "preset": name,
        "frames": frames,
        "mpjpe_mm": mean.pop("mpjpe_mm"),
        "by_seed_mm": [round(seed["mpjpe_mm"], 1) for seed in seeds],
        **mean,
        "samples": round(mean["samples"]),
        "mean_pose_mm": round(evaluator.mean_pose_mm, 1),
        "data_hash": evaluator.train.hash,
    }


def claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """Compare ours with the paper's preset, seed by seed; `rows` are those of the part `presets`."""
    if not rows:
        return []
    by_name = {row["preset"]: np.array(row["by_seed_mm"]) for row in rows if row["frames"] == CONFIG["train"]}
    gains = by_name["paper"] - by_name["ours"]
    return [decrease_of_each_seed(f"from the paper's preset, {CONFIG['samples']} samples", gains)]
