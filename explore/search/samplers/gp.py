"""Optuna's Gaussian-process sampler for studies of any length."""

from __future__ import annotations

import numpy as np
from optuna.trial import FrozenTrial

from explore.search.optuna_private import ThinnedGPSampler
from explore.search.samplers.cost_aware import best_and_latest

MAX_TRIALS = 128


class GPSampler(ThinnedGPSampler):
    """Fit at most MAX_TRIALS finished trials: the best half by rank and crowding distance, and the latest."""

    def subset(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        kept = best_and_latest(np.array([trial.values for trial in trials]), MAX_TRIALS)
        return [trials[index] for index in kept]
