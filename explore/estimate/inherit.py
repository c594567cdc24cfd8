"""`inherit`: a short run that starts from the weights of the most similar network trained in full."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from arch.elastic import inherit, share_weights
from arch.space import Arch
from explore.estimate import Estimate, EstimatorContext, FullEstimator, TrainedNetwork
from quantize.checkpoint import load_network, save_network

NOISE_MM = 6.9  # for runs of a tenth of full training, measured by `python -m benchmarks estimators`
MIN_PARENTS = 4  # networks trained in full before others inherit


@dataclass(frozen=True)
class InheritEstimator:
    context: EstimatorContext

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        context = self.context
        weights, inherited = folder / "weights.safetensors", folder / "inherited.safetensors"
        parents = compatible_parents(arch, context.finished())
        if len(parents) < MIN_PARENTS:
            return FullEstimator(context).estimate(arch, folder)
        if not inherited.exists():
            parent = min(parents, key=lambda other: distance(arch, other.arch))
            donor, _ = load_network(parent.weights, parent.arch)
            save_network(inherited, inherit(donor, arch, context.seed), {"inherited_from": parent.arch.id})
        result = context.train(arch, weights, context.options.samples, inherited)
        inherited.unlink(missing_ok=True)
        return Estimate(result.mpjpe_mm, NOISE_MM, result.cpu_seconds, weights)


def compatible_parents(arch: Arch, finished: list[TrainedNetwork]) -> list[TrainedNetwork]:
    """Return the networks that can share weights with `arch`."""
    return [other for other in finished if share_weights(other.arch, arch)]


def distance(one: Arch, other: Arch) -> float:
    """Return how much two networks differ: the sum of |log2| ratios of channels, blocks and expansions.

    A node that only one of them has counts 1.
    """
    total = 0.0
    mine, theirs = ({node.name: node for node in arch.plan.nodes} for arch in (one, other))
    for name in mine.keys() | theirs.keys():
        if name not in mine or name not in theirs:
            total += 1
            continue
        a, b = mine[name], theirs[name]
        total += abs(math.log2(a.channels / b.channels)) + abs(math.log2(len(a.blocks) / len(b.blocks)))
    for here, there in zip(one.expansions or (), other.expansions or (), strict=False):
        total += abs(math.log2(here / there))
    return total
