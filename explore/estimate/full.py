"""`full`: every network is trained in full. What all others are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from arch.space import Arch
from explore.estimate import Estimate, Setup
from explore.estimate.alone import train_alone

NOISE_MM = 1.5  # between two seeds, by `bench estimators`


@dataclass(frozen=True)
class Full:
    setup: Setup

    def estimate(self, arch: Arch, folder: Path) -> Estimate:
        setup, weights = self.setup, folder / "weights.safetensors"
        trained = train_alone(
            arch, setup.judge, setup.training, setup.seed, weights, None, setup.step_context, setup.progress
        )
        return Estimate(trained.mm, NOISE_MM, trained.cpu_seconds, weights, in_full=True)


def make(setup: Setup) -> Full:
    return Full(setup)
