"""The yardstick of the estimators: networks spread over a space's MACs, each trained on its own from two seeds.

A row a network and seed is added to a file as soon as it is there; whoever runs the bench again starts from the rows.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.cost import cost
from arch.errors import InputError
from arch.files import content_hash, write_atomic
from arch.search_space import Space
from arch.space import Arch
from explore.config import TrainConfig
from explore.data import open_dataset
from explore.data.synthetic.dataset import SyntheticConfig, default_cache
from explore.judge import Judge

SET: dict[str, Any] = {
    "space": "elastic", "scale": 64, "macs": [2e6, 3.2e6, 5e6, 8e6, 12.5e6, 20e6, 32e6], "networks_a_bin": 4,
    "seeds": [0, 1], "data": "synthetic:easy", "train": 6000, "test": 2000,
    # the search's training of a candidate, twice as long; written out, so that no new default changes the set
    "training": {
        "samples": 8000, "batch": 8, "optimizer": "adamw", "rate": 8e-3, "schedule": "cosine", "warmup": 0.1,
        "weight_decay": 1e-4, "clip": 1.0, "ema": 0.0, "heatmap_loss": 0.05, "augment": "none",
    },
}  # fmt: skip
FOLDER = Path("results/bench/estimators")
ROWS = FOLDER / "reference.jsonl"


def space() -> Space:
    return Space.named(SET["space"]).at(SET["scale"])


def networks() -> list[Arch]:
    """The reference networks, by MACs: as many random ones of the space in each bin of MACs."""
    rng, chosen = random.Random(0), space()
    bins: list[dict[str, Arch]] = [{} for _ in SET["macs"][1:]]
    while any(len(found) < SET["networks_a_bin"] for found in bins):
        arch = chosen.sample(rng)
        place = bin_of(arch)
        if place is not None and len(bins[place]) < SET["networks_a_bin"]:
            bins[place][arch.id] = arch
    return sorted((arch for found in bins for arch in found.values()), key=lambda arch: cost(arch).macs)


def bin_of(arch: Arch) -> int | None:
    """The bin of MACs that a network falls in; None outside all."""
    edges, macs = SET["macs"], cost(arch).macs
    return next((i for i in range(len(edges) - 1) if edges[i] <= macs < edges[i + 1]), None)


def settings(samples: int = 0) -> TrainConfig:
    """How the set is trained, or the same for other `samples`."""
    return TrainConfig.model_validate(SET["training"] | ({"samples": samples} if samples else {}))


def open_judge(progress: Callable[[int, int], None] | None = None) -> Judge:
    """The data of the set; rendered on first use."""
    options = SyntheticConfig(level="easy", size=2 * SET["scale"], train=SET["train"], test=SET["test"])
    parts = [open_dataset(SET["data"], split, options, progress=progress) for split in ("train", "test")]
    return Judge(parts[0], parts[1], SET["scale"])


def weights_of(arch_id: str, seed: int) -> Path:
    """Where a reference network's weights are kept, out of the repository: others may start from them."""
    return default_cache() / f"estimators-{set_hash()}" / f"{arch_id}-{seed}.safetensors"


def set_hash() -> str:
    return content_hash(SET)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of this bench.

    Raises:
        InputError: rows of another reference set.
    """
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if any(row["set"] != set_hash() for row in rows):
        raise InputError(f"{path}: set: made with another reference set; delete the file to make it anew")
    return rows


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row, the file written whole."""
    rows = [*read_rows(path), {"set": set_hash(), **row}]
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows))


def train_all(judge: Judge, progress: Callable[[float], None]) -> list[dict[str, Any]]:
    """Rows of the whole set; trains what is missing."""
    from explore.estimate.alone import train_alone

    jobs = [(arch, seed) for seed in SET["seeds"] for arch in networks()]
    for index, (arch, seed) in enumerate(jobs):
        if any(row["arch_id"] == arch.id and row["seed"] == seed for row in read_rows(ROWS)):
            continue

        def told(done: int, total: int, index: int = index) -> None:
            progress((index + done / total) / len(jobs))

        trained = train_alone(
            arch, judge, settings(), seed, weights_of(arch.id, seed), progress=told
        )  # fmt: skip
        costs = cost(arch)
        row = {
            "arch_id": arch.id,
            "seed": seed,
            "mm": round(trained.mm, 3),
            "cpu_s": round(trained.cpu_seconds, 2),
            "macs": costs.macs,
            "params": costs.params,
        }
        if not math.isfinite(trained.mm):
            raise InputError(f"{arch.id}: gives no error in mm")
        add_row(ROWS, row)
    return read_rows(ROWS)
