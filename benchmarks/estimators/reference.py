"""Reference networks of the estimators, spread over the MACs of a space, each trained from two seeds.

Each finished training adds a row to a file. A further run starts from these rows, and processes that run at the same
time share the networks.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from arch.cost import cost
from arch.errors import InputError
from arch.files import content_hash, write_atomic
from arch.search_space import Space
from arch.space import Arch
from benchmarks.steps import Progress, part_of, run_missing
from explore.data import open_dataset
from explore.data.synthetic.config import SyntheticConfig
from explore.evaluation.evaluator import Evaluator
from explore.host import default_cache, locked
from explore.train.config import TrainConfig

SET: dict[str, Any] = {
    "space": "elastic", "scale": 64, "macs": [2e6, 3.2e6, 5e6, 8e6, 12.5e6, 20e6, 32e6], "networks_a_bin": 4,
    "seeds": [0, 1], "data": "synthetic:easy", "train": 20000, "test": 2000,
    # training of a candidate, ten times as long; written out with the keys of version 0.1, which are part of the set's
    # hash
    "training": {
        "samples": 40000, "batch": 8, "optimizer": "adamw", "rate": 8e-3, "schedule": "cosine", "warmup": 0.1,
        "weight_decay": 1e-4, "clip": 1.0, "ema": 0.0, "heatmap_loss": 0.05, "augment": "none",
    },
}  # fmt: skip
FOLDER = Path("results/bench/estimators")
ROWS = FOLDER / "reference.jsonl"


def space() -> Space:
    return Space.named(SET["space"]).at(SET["scale"])


def networks() -> list[Arch]:
    """Return the reference networks in order of MACs, with equal numbers of random networks in each bin."""
    rng, chosen = random.Random(0), space()
    bins: list[dict[str, Arch]] = [{} for _ in SET["macs"][1:]]
    while any(len(found) < SET["networks_a_bin"] for found in bins):
        arch = chosen.sample(rng)
        place = bin_of(arch)
        if place is not None and len(bins[place]) < SET["networks_a_bin"]:
            bins[place][arch.id] = arch
    return sorted((arch for found in bins for arch in found.values()), key=lambda arch: cost(arch).macs)


def bin_of(arch: Arch) -> int | None:
    """Return the index of the MACs bin of a network, or None outside all bins."""
    edges, macs = SET["macs"], cost(arch).macs
    return next((i for i in range(len(edges) - 1) if edges[i] <= macs < edges[i + 1]), None)


def settings(samples: int = 0) -> TrainConfig:
    """Return the training configuration of the set, with other `samples` if given."""
    return TrainConfig.model_validate(SET["training"] | ({"samples": samples} if samples else {}))


def open_evaluator() -> Evaluator:
    """Open the data of the set, which is rendered on first use."""
    options = SyntheticConfig(level="easy", size=2 * SET["scale"], train_frames=SET["train"], test_frames=SET["test"])
    parts = [open_dataset(SET["data"], split, options) for split in ("train", "test")]
    return Evaluator(parts[0], parts[1], SET["scale"])


def folder() -> Path:
    """Return the folder of weights and locks in the cache."""
    return default_cache() / f"estimators-{set_hash()}"


def weights_of(arch_id: str, seed: int) -> Path:
    """Return the path of a reference network's weights."""
    return folder() / f"{arch_id}-{seed}.safetensors"


def set_hash() -> str:
    return content_hash(SET)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file.

    Raises:
        InputError: the rows belong to another reference set.
    """
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if any(row["set"] != set_hash() for row in rows):
        raise InputError(f"{path}: set: belongs to another reference set; delete the file to compute it again")
    return rows


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row; the file is replaced atomically."""
    with locked(folder() / f"{path.stem}.lock"):
        rows = [*read_rows(path), {"set": set_hash(), **row}]
        write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows))


def train_all(evaluator: Evaluator, progress: Progress) -> None:
    """Train the missing networks and add their rows."""
    jobs = {f"{arch.id}-{seed}": (arch, seed) for seed in SET["seeds"] for arch in networks()}

    def is_done(name: str) -> bool:
        return any(f"{row['arch_id']}-{row['seed']}" == name for row in read_rows(ROWS))

    def do(name: str) -> None:
        _train(*jobs[name], evaluator, part_of(progress, list(jobs).index(name), len(jobs)))

    run_missing(folder(), jobs, is_done, do)


def _train(arch: Arch, seed: int, evaluator: Evaluator, progress: Progress) -> None:
    from explore.train.loop import train_and_evaluate

    trained = train_and_evaluate(
        arch,
        evaluator,
        settings(),
        seed,
        weights_of(arch.id, seed),
        progress=lambda done, total: progress(done / total),
    )
    if not math.isfinite(trained.mpjpe_mm):
        raise InputError(f"{arch.id}: the error is not finite")
    costs = cost(arch)
    row = {"arch_id": arch.id, "seed": seed, "mm": round(trained.mpjpe_mm, 3), "cpu_s": round(trained.cpu_seconds, 2)}
    add_row(ROWS, row | {"macs": costs.macs, "params": costs.params})
