"""`short`: a run of few samples, doubled for as long as the network is among the better half of those of that length.

As in asynchronous successive halving (Li et al. 2020): nobody waits, and every length is compared with itself alone.
Better means a lower rank of nondomination in error and MACs, so that small networks are not dropped for being small.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arch.cost import cost
from arch.files import write_atomic
from arch.space import Arch
from explore.estimate import Estimate, Setup
from explore.estimate.alone import train_alone
from explore.search.front import ranks

NOISE_MM = 3.2  # around full training, of runs of a tenth of it, by `bench estimators`
PEERS = 3  # of the same length, before anyone goes on


@dataclass(frozen=True)
class Short:
    setup: Setup

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        setup, full = self.setup, self.setup.training
        seen, more, cpu_seconds, start = 0, min(setup.options.samples, full.samples), 0.0, None
        while True:
            seen += more
            weights, record = folder / f"short-{seen}.safetensors", folder / f"short-{seen}.json"
            if not record.exists():
                trained = train_alone(
                    arch, setup.judge, full.model_copy(update={"samples": more}), setup.seed, weights, start,
                    setup.step_context, setup.progress,
                )  # fmt: skip
                facts = {"mm": trained.mm, "macs": cost(arch).macs, "cpu_seconds": trained.cpu_seconds}
                write_atomic(record, json.dumps(facts))
            facts = json.loads(record.read_text())
            cpu_seconds += facts["cpu_seconds"]
            if 2 * seen > full.samples or not survives(record):
                return Estimate(facts["mm"], NOISE_MM, cpu_seconds, weights)
            start, more = weights, seen


def survives(record: Path) -> bool:
    """Whether a network is in the better half of all in the study that were trained as long."""
    peers = [json.loads(path.read_text()) for path in sorted(record.parent.parent.glob(f"*/{record.name}"))]
    mine = json.loads(record.read_text())
    return in_better_half([(peer["mm"], peer["macs"]) for peer in peers], (mine["mm"], mine["macs"]))


def in_better_half(peers: Sequence[tuple[float, float]], mine: tuple[float, float]) -> bool:
    """Whether `mine`, one of the (mm, MACs) of `peers`, is of a lower rank than half of them; no one is among few."""
    if len(peers) <= PEERS:
        return False
    points = np.array(peers)
    own = ranks(points)[int(np.flatnonzero((points == mine).all(1))[0])]
    return bool((ranks(points) < own).sum() < len(peers) / 2)


def make(setup: Setup) -> Short:
    return Short(setup)
