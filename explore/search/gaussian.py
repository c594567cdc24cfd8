"""Optuna's Gaussian-process sampler, for studies of any length.

Its fit takes the cube of the number of trials, and gets nowhere with thousands. Here it is fitted on MOST of them: half
are the best, by rank of nondomination and how alone they are on their front, the other half the latest. Of three
objectives the front of those alone makes a hundred boxes, in each of which every start of the search is weighed: a
quarter of Optuna's starts take a quarter of its seconds and of its gigabyte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from explore.search.front import best_first

MOST = 128
STARTS = 512


class GaussianSampler(optuna.samplers.GPSampler):
    def __init__(self, seed: int) -> None:
        # The one sampler that models noise: it fits its size to the values, and takes no figure from those who know it.
        super().__init__(seed=seed, n_startup_trials=8, deterministic_objective=False, warn_independent_sampling=False)
        self._n_preliminary_samples = STARTS

    def _sample_relative_impl(
        self,
        study: optuna.Study,
        completed_trials: list[FrozenTrial],
        running_trials: list[FrozenTrial],
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        kept = some(completed_trials)
        return super()._sample_relative_impl(study, kept, running_trials, search_space)


def some(trials: list[FrozenTrial], most: int = MOST) -> list[FrozenTrial]:
    """Of the finished trials, whose values are minimised, those that are fitted, in the order they came."""
    if len(trials) <= most:
        return trials
    best = best_first(np.array([trial.values for trial in trials]))[: most // 2].tolist()
    latest = [index for index in reversed(range(len(trials))) if index not in best]
    return [trials[index] for index in sorted([*best, *latest[: most - len(best)]])]
