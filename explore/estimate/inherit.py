"""`inherit`: a short run that starts from the weights of the most alike network that is finished."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from arch.elastic import FIXED, inherit
from arch.space import Arch
from explore.estimate import Estimate, Finished, Setup
from explore.estimate.alone import train_alone
from explore.estimate.full import Full

NOISE_MM = 6.9  # around full training, of runs of a tenth of it, by `bench estimators`
PARENTS = 4  # trained in full before anyone inherits
SHARED = tuple(key for key in FIXED if key != "decoder_stages")


@dataclass(frozen=True)
class Inherit:
    setup: Setup

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        from explore.train.checkpoint import load_network, save_network

        setup = self.setup
        weights, given = folder / "weights.safetensors", folder / "inherited.safetensors"
        parents = alike(arch, setup.finished())
        if len(parents) < PARENTS:
            return Full(setup).estimate(arch, folder)
        if not given.exists():
            parent = min(parents, key=lambda other: distance(arch, other.arch))
            donor, _ = load_network(parent.weights, parent.arch)
            save_network(given, inherit(donor, arch, setup.seed), {"inherited_from": parent.arch.id})
        trained = train_alone(
            arch, setup.judge, setup.training.model_copy(update={"samples": setup.options.samples}), setup.seed, weights, given,
            setup.step_context, setup.progress,
        )  # fmt: skip
        given.unlink(missing_ok=True)
        return Estimate(trained.mm, NOISE_MM, trained.cpu_seconds, weights)


def alike(arch: Arch, finished: list[Finished]) -> list[Finished]:
    """The finished networks that share weights with `arch`."""
    return [other for other in finished if all(getattr(other.arch, key) == getattr(arch, key) for key in SHARED)]


def distance(one: Arch, other: Arch) -> float:
    """How much channels, blocks and expansions differ: the sum of doublings over what two plans have."""
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


def make(setup: Setup) -> Inherit:
    return Inherit(setup)
