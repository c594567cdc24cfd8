"""The yardstick of the estimators: networks spread over a space's MACs, each trained on its own from two seeds.

A row a network and seed is added to a file as soon as it is there; whoever runs the bench again starts from the rows,
and whoever starts it a second time beside the first shares the networks with it.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from explore.host import locked, try_lock
from explore.judge import Judge

SET: dict[str, Any] = {
    "space": "elastic", "scale": 64, "macs": [2e6, 3.2e6, 5e6, 8e6, 12.5e6, 20e6, 32e6], "networks_a_bin": 4,
    "seeds": [0, 1], "data": "synthetic:easy", "train": 20000, "test": 2000,
    # the search's training of a candidate, ten times as long; written out, so that no new default changes the set
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
    with alone(path.stem):
        rows = [*read_rows(path), {"set": set_hash(), **row}]
        write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows))


@contextmanager
def alone(what: str, wait: bool = True) -> Iterator[bool]:
    """Whether no other process is at it; if one is, wait for it, or not."""
    path = weights_of("locks", 0).with_name(f"{what}.lock")
    if wait:
        with locked(path):
            yield True
    elif held := try_lock(path):
        with held:
            yield True
    else:
        yield False


def shared(names: list[str], is_there: Callable[[str], bool], do: Callable[[str], None]) -> None:
    """Do what is not there; what another process is at comes last, and is waited for."""
    for wait in (False, True):
        for name in names:
            if is_there(name):
                continue
            with alone(name, wait) as mine:
                if mine and not is_there(name):
                    do(name)


def train_all(judge: Judge, progress: Callable[[float], None]) -> list[dict[str, Any]]:
    """Rows of the whole set; trains what is missing."""
    jobs = {f"{arch.id}-{seed}": (arch, seed) for seed in SET["seeds"] for arch in networks()}

    def is_there(name: str) -> bool:
        return any(f"{row['arch_id']}-{row['seed']}" == name for row in read_rows(ROWS))

    def do(name: str) -> None:
        _train(*jobs[name], judge, lambda share: progress((list(jobs).index(name) + share) / len(jobs)))

    shared(list(jobs), is_there, do)
    return read_rows(ROWS)


def _train(arch: Arch, seed: int, judge: Judge, progress: Callable[[float], None]) -> None:
    from explore.estimate.alone import train_alone

    trained = train_alone(
        arch, judge, settings(), seed, weights_of(arch.id, seed), progress=lambda done, total: progress(done / total)
    )
    if not math.isfinite(trained.mm):
        raise InputError(f"{arch.id}: gives no error in mm")
    costs = cost(arch)
    row = {"arch_id": arch.id, "seed": seed, "mm": round(trained.mm, 3), "cpu_s": round(trained.cpu_seconds, 2)}
    add_row(ROWS, row | {"macs": costs.macs, "params": costs.params})
