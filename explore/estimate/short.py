"""`short`: a short run, continued in doubling lengths while the network is among the better half at its length.

This is asynchronous successive halving (Li et al. 2020) with a reduction factor of 2. Networks are ranked by
non-dominated sorting in error and MACs, so that small networks are not dropped for being small.
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
from explore.estimate import Estimate, EstimatorContext
from explore.pareto import non_dominated_rank

NOISE_MM = 3.2  # for runs of a tenth of full training, measured by `python -m benchmarks estimators`
MIN_PEERS = 3  # networks of the same length, besides this one, before any is continued


@dataclass(frozen=True)
class ShortEstimator:
    context: EstimatorContext

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        full = self.context.training.samples
        seen, more = 0, min(self.context.options.samples, full)
        cpu_seconds, init_from = 0.0, None
        while True:
            seen += more
            weights, record = folder / f"short-{seen}.safetensors", folder / f"short-{seen}.json"
            if not record.exists():
                result = self.context.train(arch, weights, more, init_from, part=seen // self.context.options.samples)
                row = {"mm": result.mpjpe_mm, "macs": cost(arch).macs, "cpu_seconds": result.cpu_seconds}
                write_atomic(record, json.dumps(row))
            row = json.loads(record.read_text())
            cpu_seconds += row["cpu_seconds"]
            if 2 * seen > full or not is_promoted(record):
                return Estimate(row["mm"], NOISE_MM, cpu_seconds, weights)
            init_from, more = weights, seen


def is_promoted(record: Path) -> bool:
    """Return whether a network is in the better half of all networks of the study with a record of the same length."""
    peers = [json.loads(path.read_text()) for path in sorted(record.parent.parent.glob(f"*/{record.name}"))]
    own = json.loads(record.read_text())
    return in_better_half([(peer["mm"], peer["macs"]) for peer in peers], (own["mm"], own["macs"]))


def in_better_half(peers: Sequence[tuple[float, float]], own: tuple[float, float]) -> bool:
    """Return whether less than half of `peers`, given as (mm, MACs), have a lower non-dominated rank than `own`.

    `own` is one of the peers. With MIN_PEERS peers or fewer the result is False.
    """
    if len(peers) <= MIN_PEERS:
        return False
    points = np.array(peers)
    ranks = non_dominated_rank(points)
    own_rank = ranks[int(np.flatnonzero((points == own).all(1))[0])]
    return bool((ranks < own_rank).sum() < len(peers) / 2)
