"""Recipes for long training: one recipe and single changes of it, on 40,000 and on 160,000 samples.

The errors are those of the validation part, because the recipes of `explore.train.config` are chosen by them. Results
are cached run by run: an interrupted benchmark continues.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from arch.files import content_hash
from arch.space import Arch
from benchmarks.steps import Progress, part_of, run_steps
from explore.data.config import DataConfig
from explore.evaluation.evaluator import Evaluator, open_evaluators
from explore.host import default_cache
from explore.train.config import TrainConfig

LONG: dict[str, Any] = {
    "data": {"data": "synthetic:easy", "dataset": {"train_frames": 48000, "val_frames": 500, "test_frames": 500}},
    # a network of the space `elastic` with 3.5 M MACs, cca857ef41, one of the reference networks of the estimators,
    # whose errors from two seeds differ by 0.6 mm
    "arch": {
        "encoder": "mobilenet_v2", "width": 0.375, "stem_stride": 2, "depths": [1, 1, 1, 1, 3, 1, 1],
        "expansions": [1.0, 6.0, 6.0, 3.0, 4.0, 3.0, 4.0], "intermediate_channels": 256, "activation": "relu",
        "decoder_width": 32, "decoder_conv": "separable", "decoder_stages": 2, "heatmap_size": 8, "depth_bins": 8,
        "input_size": 64,
    },
    "start": {
        "batch_size": 16, "learning_rate": 8e-3, "schedule": "cosine", "weight_decay": 1e-4, "ema_decay": 0.0,
        "augment": "none", "seed": 0,
    },
}  # fmt: skip
FRAMES = {40000: 12000, 160000: 48000}  # frames by samples, as `explore.train.config.frames_for` renders for a run
# Changes of LONG["start"] and of the seed by samples; each is one run.
CHANGES: dict[int, tuple[dict[str, Any], ...]] = {
    40000: (
        {}, {"learning_rate": 4e-3}, {"batch_size": 8}, {"batch_size": 32}, {"ema_decay": 0.999}, {"augment": "light"},
        {"weight_decay": 1e-2}, {"learning_rate": 16e-3}, {"schedule": "steps"}, {"seed": 1},
    ),
    160000: ({}, {"augment": "light"}, {"ema_decay": 0.999}, {"weight_decay": 1e-2}, {"seed": 1}),
}  # fmt: skip
RUNS = tuple(changes | {"samples": samples} for samples, each in CHANGES.items() for changes in each)


def run_long(progress: Progress) -> list[dict[str, Any]]:
    """Return a row for each run, with the errors on the validation part in mm."""
    import torch

    torch.set_num_threads(1)
    arch = Arch(**LONG["arch"])
    data = DataConfig(**LONG["data"], input_size=arch.input_size)
    folder = default_cache() / f"bench-training-{content_hash([LONG, list(FRAMES.items())])}"
    open_validation = cache(lambda: open_evaluators(data, 1).validation)
    steps = {}
    for index, changes in enumerate(RUNS):
        key, report = content_hash(changes), part_of(progress, index, len(RUNS))
        steps[key] = partial(_train, arch, open_validation, changes, folder / f"{key}.state", report)
    return list(run_steps(folder, steps, progress).values())


def _train(
    arch: Arch, open_validation: Callable[[], Evaluator], changes: dict[str, Any], state: Path, report: Progress
) -> dict[str, Any]:
    from explore.train.loop import predict, train

    evaluator, values = open_validation(), LONG["start"] | changes
    seed, whole, frames = values.pop("seed"), evaluator.train, FRAMES[values["samples"]]
    data = whole.take(np.linspace(0, len(whole) - 1, frames).astype(int)) if frames < len(whole) else whole
    config = TrainConfig(**values)
    result = train(arch, data, config, seed, state, progress=lambda done, total: report(done / total))
    accuracy = evaluator.evaluate(predict(result.net, evaluator.evaluation.images))
    state.unlink(missing_ok=True)
    return {
        "part": "long",
        "samples": config.samples,
        "frames": frames,
        "changes": {key: value for key, value in changes.items() if key != "samples"},
        "passes": round(result.samples / frames, 1),
        "mpjpe_mm": round(accuracy.mpjpe, 1),
        "pa_mpjpe_mm": round(accuracy.pa_mpjpe, 1),
        "seconds": round(result.cpu_seconds, 1),
        "mean_pose_mm": round(evaluator.mean_pose_mm, 1),
        "data_hash": evaluator.train.hash,
    }
