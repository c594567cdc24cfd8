"""Search methods on a table: each returns the networks that it evaluated, in order."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import Trial, TrialState

from benchmarks.search.tables import START, Network, Table, mutated
from explore.pareto import crowding_sort
from explore.search.storage.optuna_private import GPSampler

MAX_DRAWS = 20  # draws of known networks in a row, after which a method evaluates a random network


@dataclass(frozen=True)
class Setting:
    """One configuration of a method; `options` go to its implementation."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A method with the settings to choose from, and the number of seeds and trials that its CPU time allows."""

    run: Callable[..., list[Network]]  # (table, seed, trials, **options)
    settings: tuple[Setting, ...]
    seeds: int = 20
    trials: int = 200
    tuning_seeds: int = 5
    tuning_trials: int = 100
    requires: str = ""


def random_search(table: Table, seed: int, trials: int) -> list[Network]:
    """Evaluate random networks."""
    return table.random_networks(seed, trials)


def regularised_evolution(table: Table, seed: int, trials: int, population: int, sample: int) -> list[Network]:
    """Ageing evolution (Real et al., AAAI 2019) with two objectives.

    The best of `sample` members of the latest `population` networks, by non-dominated rank and crowding distance, is
    mutated in one dimension.
    """
    rng = random.Random(f"evolution {seed}")
    found = dict.fromkeys(table.random_networks(seed, population))
    observed = [table.observe(network, seed) for network in found]
    while len(found) < trials:
        alive, order = list(found)[-population:], crowding_sort(np.array(observed[-population:])).tolist()
        for _ in range(MAX_DRAWS):
            parent = alive[order[min(rng.sample(range(len(alive)), sample))]]
            child = mutated(table, parent, 1, rng)
            if child not in found:
                break
        else:
            child = unseen(table, found, rng)
        found[child] = None
        observed.append(table.observe(child, seed))
    return list(found)


def unseen(table: Table, found: dict[Network, None], rng: random.Random) -> Network:
    """Return a random network that is not in `found`."""
    while True:
        network = tuple(rng.randrange(size) for size in table.sizes)
        if network not in found:
            return network


def optuna_search(
    table: Table,
    seed: int,
    trials: int,
    sampler: Callable[[Table, int], optuna.samplers.BaseSampler],
    ordinal: bool,
    told: TrialState = TrialState.FAIL,
    max_draws: int = MAX_DRAWS,
) -> list[Network]:
    """Run a study with one of Optuna's samplers.

    A network that is drawn again is not evaluated again, and its trial ends in the state `told`: samplers ignore trials
    that fail, TPE learns from those that are pruned. With `ordinal`, ordered dimensions are integers instead of
    categories.
    """
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler(table, seed))
    for network in table.random_networks(seed, START):
        study.enqueue_trial({name_of(place): choice for place, choice in enumerate(network)})
    rng, found = random.Random(f"unseen {seed}"), dict[Network, None]()
    while len(found) < trials:
        for _ in range(max_draws):
            trial = study.ask()
            network = suggest(table, trial, ordinal)
            if network not in found:
                break
            study.tell(trial, state=told)
        else:
            network = unseen(table, found, rng)
            study.enqueue_trial({name_of(place): choice for place, choice in enumerate(network)})
            trial = study.ask()
            suggest(table, trial, ordinal)
        found[network] = None
        study.tell(trial, table.observe(network, seed))
    return list(found)


def name_of(place: int) -> str:
    """Return the name of a dimension in a study."""
    return f"dimension{place:02d}"


def suggest(table: Table, trial: Trial, ordinal: bool) -> Network:
    """Return the network of a trial."""
    if ordinal and table.ordered:
        return tuple(trial.suggest_int(name_of(place), 0, size - 1) for place, size in enumerate(table.sizes))
    return tuple(
        trial.suggest_categorical(name_of(place), tuple(range(size))) for place, size in enumerate(table.sizes)
    )


def tpe(
    table: Table, seed: int, trials: int, ordinal: bool, max_draws: int, told: str = "FAIL", **options: Any
) -> list[Network]:
    """Optuna's TPE."""

    def sampler(table: Table, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=START, **options)

    return optuna_search(table, seed, trials, sampler, ordinal, TrialState[told], max_draws)


def nsga2(table: Table, seed: int, trials: int, ordinal: bool, population: int) -> list[Network]:
    """Optuna's NSGA-II."""

    def sampler(table: Table, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=population)

    return optuna_search(table, seed, trials, sampler, ordinal)


def gp(table: Table, seed: int, trials: int, ordinal: bool) -> list[Network]:
    """Optuna's Gaussian-process sampler as in `explore.search.samplers`; it may propose known networks forever."""

    def sampler(table: Table, seed: int) -> optuna.samplers.BaseSampler:
        return GPSampler(seed)

    return optuna_search(table, seed, trials, sampler, ordinal, max_draws=3)


def cost_aware(table: Table, seed: int, trials: int) -> list[Network]:
    """The project's sampler; its reference point has the worst error and the largest cost of the table."""
    from explore.search.samplers import CostAwareSampler

    def cost(params: dict[str, Any]) -> float:
        return table.known_cost(tuple(params[name_of(place)] for place in range(len(table.sizes))))

    def sampler(table: Table, seed: int) -> optuna.samplers.BaseSampler:
        return CostAwareSampler(
            cost, space=distributions(table), reference=(table.worst, table.largest_cost), seed=seed
        )

    return optuna_search(table, seed, trials, sampler, ordinal=True)


def distributions(table: Table) -> dict[str, BaseDistribution]:
    """Return the search space of a table with ordinal dimensions."""
    return {
        name_of(place): IntDistribution(0, size - 1) if table.ordered else CategoricalDistribution(tuple(range(size)))
        for place, size in enumerate(table.sizes)
    }


def _botorch(*args: Any, **options: Any) -> list[Network]:
    from benchmarks.search.botorch_search import qlognehvi

    return qlognehvi(*args, **options)


MULTIVARIATE = {"multivariate": True, "group": True, "max_draws": 5}
METHODS: dict[str, Method] = {
    "cost-aware": Method(cost_aware, (Setting("reference point: worst error"),)),
    "tpe": Method(
        tpe,
        (
            Setting("multivariate, categorical", MULTIVARIATE | {"ordinal": False}),
            Setting("multivariate, ordinal", MULTIVARIATE | {"ordinal": True}),
            Setting("multivariate, categorical, duplicates pruned", MULTIVARIATE | {"ordinal": False, "told": "PRUNED"}),
            Setting("multivariate, ordinal, duplicates pruned", MULTIVARIATE | {"ordinal": True, "told": "PRUNED"}),
        ),
    ),
    "evolution": Method(
        regularised_evolution,
        tuple(
            Setting(f"population {population}, sample {sample}", {"population": population, "sample": sample})
            for population, sample in ((12, 4), (20, 5), (20, 10), (50, 10))
        ),
    ),
    "nsga2": Method(
        nsga2,
        tuple(
            Setting(f"population {population}, {'ordinal' if ordinal else 'categorical'}", {"population": population, "ordinal": ordinal})
            for population in (12, 20, 50)
            for ordinal in (False, True)
        ),
    ),
    "gp": Method(
        gp, (Setting("ordinal", {"ordinal": True}), Setting("categorical", {"ordinal": False})), 5, 100, 2, 60
    ),
    "qlognehvi": Method(
        _botorch, (Setting("known cost", {"known": True}), Setting("two models", {"known": False})), 5, 60, 2, 60, "botorch"
    ),
    "random": Method(random_search, (Setting("uniform"),)),
}  # fmt: skip
