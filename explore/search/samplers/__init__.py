"""The samplers of a search; they depend on parameters and values only, not on networks."""

from __future__ import annotations

import optuna

from explore.search.samplers.cost_aware import CostAwareSampler

__all__ = ["CostAwareSampler", "make_sampler"]


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return one of Optuna's samplers, with the settings of a search."""
    match name:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=8)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=12)
        case "gp":
            from explore.search.storage.optuna_private import GPSampler

            return GPSampler(seed)
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
    raise ValueError(f"sampler: '{name}' is not one of tpe, nsga2, gp, random")
