"""Training recipes on the embedded data: the paper's, ours, and ours with one thing changed, for the same samples."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.space import named_arch
from explore.bench import Claim
from explore.config import TrainConfig
from explore.data import open_dataset
from explore.data.synthetic.dataset import SyntheticConfig
from explore.judge import Judge
from explore.train.recipes import RECIPES

CONFIG: dict[str, Any] = {
    "data": "synthetic:easy", "train": 6000, "test": 500, "arch": "paper-XS-relu@64", "samples": 3200, "seed": 0,
    "threads": 1,
}  # fmt: skip
OURS = RECIPES["ours"]
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": RECIPES["paper"],
    "ours": OURS,
    "ours, no augmentation": OURS | {"augment": "none"},
    "ours, L1 alone": OURS | {"heatmap_loss": 0.0},
    "ours, constant rate but two steps": OURS | {"schedule": "steps"},
    "ours, averaged weights": OURS | {"ema": 0.995},
    "ours, Adam": OURS | {"optimizer": "adam", "weight_decay": 0.0},
    "ours, the paper's batch and rate": OURS | {"batch": 24, "rate": 1e-3},
}


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """A row a recipe: test error in mm, plain and with the flip test; how far ours gets below the paper's."""
    import torch

    from explore.train.loop import predict, train

    torch.set_num_threads(CONFIG["threads"])
    settings = SyntheticConfig(level="easy", size=128, train=CONFIG["train"], test=CONFIG["test"])
    parts = [open_dataset(CONFIG["data"], split, settings) for split in ("train", "test")]
    arch = named_arch(CONFIG["arch"])
    judge = Judge(parts[0], parts[1], arch.input)
    rows: list[dict[str, Any]] = []
    for index, (name, values) in enumerate(VARIANTS.items()):
        config = TrainConfig.model_validate(values | {"samples": CONFIG["samples"]})

        def told(done: int, total: int, index: int = index) -> None:
            progress((index + done / total) / len(VARIANTS))

        with tempfile.TemporaryDirectory() as folder:
            result = train(arch, judge.train, config, CONFIG["seed"], Path(folder) / "state", progress=told)
        images, order = judge.evaluation.images, judge.test.skeleton.flip_order
        plain, flipped = (judge.score(predict(result.net, images, flip_order=turn)) for turn in (None, order))
        rows.append(
            {
                "recipe": name,
                "mpjpe_mm": round(plain.mpjpe, 1),
                "pa_mpjpe_mm": round(plain.pa_mpjpe, 1),
                "flip_test_mpjpe_mm": round(flipped.mpjpe, 1),
                "samples": result.samples,
                "seconds": round(result.seconds, 1),
                "mean_pose_mm": round(judge.mean_pose_mm, 1),
                "data_hash": judge.train.hash,
            }
        )
    paper, ours = rows[0]["mpjpe_mm"], rows[1]["mpjpe_mm"]
    return rows, [
        Claim(
            name=f"mm of MPJPE below the paper's recipe, {CONFIG['samples']} samples",
            asked="more than 0",
            measured=f"{paper - ours:.1f}",
            holds=ours < paper,
        )
    ]
