"""Proposals: the next network of a study, checked before it becomes a trial.

A sampler works on a draft, a copy of the study in memory in which ordered dimensions are integers. Networks that a free
check rejects (impossible, known, not exportable, above a limit) fail there, which samplers ignore, and never reach the
study. The constraints of the paper's networks are left out of the draft, because samplers would avoid what resembles
them.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from arch.errors import InputError
from arch.old_names import current_choices, current_key
from arch.search_space import Space
from arch.space import Arch
from explore.search.config import SearchConfig
from explore.search.costs.objectives import known_costs, limit_check, objective_quantities
from explore.search.recipes_of_trial import RECIPE, ordered_values, searched_recipes, suggest, unsupported
from explore.search.rungs import STEPS, is_stopped
from explore.search.samplers import CostAwareSampler, make_sampler
from explore.search.samplers.cost_aware import best_and_latest
from explore.search.storage.trial_values import current_values
from quantize import runtimes
from quantize.recipes import recipe as recipe_named

MEAN_POSE = "mean_pose_mm"  # user attribute of the study: the error of the mean-pose baseline on the validation part
NOISE = "noise_mm"  # user attribute of a trial: standard deviation of an estimated error
COST_AWARE_STARTUP = 5  # finished trials, of which three are the paper's
MAX_DRAWS = 200  # draws of a sampler in a row that give no new network, after which uniform draws follow
MAX_DRAWS_OF_SAMPLER = {"cost-aware": 1, "gp": 3}  # one checks hundreds of candidates itself, the other is slow
MAX_UNIFORM = 2000  # uniform draws in a row that give no new network, after which the space counts as exhausted
MAX_DRAFT = 1000  # finished trials that a sampler sees: the best half and the latest, then the latest stopped ones
SAMPLES = 40  # random networks that tell whether a space has any whose files pass all checks
MIN_PAIRS = 3  # candidates with errors at a rung and at the end from which those of stopped ones are extrapolated

Network = tuple[Arch, str]


@dataclass
class Checks:
    """The free checks of the networks of a study.

    taken: ids and recipes of networks that have a trial
    rejected: number of draws by the reason for which they were rejected
    seen: networks that were checked
    """

    config: SearchConfig
    space: Space
    taken: set[tuple[str, str]]
    rejected: Counter[str] = field(default_factory=Counter)
    seen: set[tuple[str, str]] = field(default_factory=set)
    _networks: dict[tuple[Any, ...], Network] = field(default_factory=dict)

    def __post_init__(self) -> None:  # what a study knows does not change within a proposal
        self._known_costs = cache(partial(known_costs, self.config))
        self._limit_check = cache(partial(limit_check, self.config))

    def network(self, trial: Any) -> Network:
        """Return the network and the recipe that a trial of a draft suggests.

        Raises:
            InputError: an impossible network.
        """
        try:
            found = suggest(trial, self.config, self.space, ordinal=True)
        except InputError:
            self.rejected["impossible"] += 1
            raise
        self._networks[_key(trial.params)] = found
        return found

    def reason(self, network: Network) -> str:
        """Return the reason to skip a network, or an empty string. The cheapest check comes first."""
        arch, recipe = network
        self.seen.add((arch.id, recipe))
        reason, why = self._limit_check(recipe)(arch)[0], "above a limit"
        if not reason and (arch.id, recipe) in self.taken:
            reason, why = "already tried", "tried before"
        elif not reason and (operators := unsupported(self.config, arch, recipe)):
            reason, why = operators[0], "cannot be exported"
        elif not reason and (failures := self._failed_checks(arch, recipe)) and self._avoidable:
            reason, why = failures[0], "would fail a check of its file"
        if reason:
            self.rejected[why] += 1
        return reason

    def _failed_checks(self, arch: Arch, recipe: str) -> list[str]:
        exported = self.config.quantization if self.config.objective == "float" else recipe
        return runtimes.get(self.config.runtime).failed_checks(arch, recipe_named(exported))

    @cached_property
    def _avoidable(self) -> bool:
        """Whether the space has networks whose files pass all checks: a space without them is searched all the same."""
        rng = random.Random(self.config.seed)
        names = searched_recipes(self.config)
        return any(
            not self._failed_checks(arch, name) for arch in map(self.space.sample, [rng] * SAMPLES) for name in names
        )

    @property
    def counts(self) -> str:
        """The rejected draws by reason, as text."""
        return ", ".join(f"{count} {reason}" for reason, count in self.rejected.most_common())

    def check(self, params: dict[str, Any]) -> str:
        """Return the reason against parameters of a draft."""
        return self.reason(self._of(params))

    def cost(self, params: dict[str, Any]) -> list[float]:
        """Return the known costs of parameters of a draft."""
        arch, recipe = self._of(params)
        return self._known_costs(recipe)(arch)

    def _of(self, params: dict[str, Any]) -> Network:
        key = _key(params)
        if key not in self._networks:
            self.network(optuna.trial.FixedTrial(params))
        return self._networks[key]


def _key(params: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted(params.items()))


def propose(study: optuna.Study, config: SearchConfig, space: Space) -> FrozenTrial | str:
    """Return the next network of a study, or the reason why there is none.

    A study with the same trials proposes the same network.
    """
    trials = study.get_trials(deepcopy=False)
    checks = Checks(
        config, space, {network_of(t, config) for t in trials if t.state != TrialState.PRUNED or is_stopped(t)}
    )
    size = size_if_small(config, space)
    if len(checks.taken - {("", config.quantization)}) >= size:
        return f"space {space.name}: all of its {size} networks are tried"
    draft = make_draft(study, config, space)
    seed = (config.seed * 100003 + len(trials)) % 2**32
    draft.sampler = (
        cost_aware_sampler(study, draft, checks, seed)
        if config.sampler == "cost-aware"
        else make_sampler(config.sampler, seed)
    )
    draws = MAX_DRAWS_OF_SAMPLER.get(config.sampler, MAX_DRAWS)
    for draw in range(draws + MAX_UNIFORM):
        if len(checks.seen) == size:
            return f"space {space.name}: none of its {size} networks is left ({checks.counts})"
        if draw == draws:
            draft.sampler = make_sampler("random", seed)
        trial = draft.ask()
        try:
            network = checks.network(trial)
            reason = checks.reason(network)
        except InputError as error:
            reason = str(error)
        if not reason:
            drawn = draft.get_trials(deepcopy=False)[trial.number]
            attrs = {"arch": network[0].id, "recipe": network[1]}
            choices, state = _choices(drawn, config, space), TrialState.RUNNING
            return new_template(study, choices, config, space, state, user_attrs=attrs, system_attrs=drawn.system_attrs)
        draft.tell(trial, state=TrialState.FAIL)
    return f"space {space.name}: no further network was found in {checks.rejected.total()} draws ({checks.counts})"


def size_if_small(config: SearchConfig, space: Space) -> float:
    """Return the number of candidates that a space has, or infinity if it has more than MAX_UNIFORM combinations."""
    recipes = len(searched_recipes(config))
    combinations = math.prod(len(dimension.values) for dimension in space.dimensions.values())
    return space.size() * recipes if combinations * recipes <= MAX_UNIFORM else math.inf


def network_of(trial: FrozenTrial, config: SearchConfig) -> tuple[str, str]:
    """Return the id of a trial's network and its recipe; an empty id before it is known."""
    return trial.user_attrs.get("arch", ""), trial.user_attrs.get("recipe", config.quantization)


def make_draft(study: optuna.Study, config: SearchConfig, space: Space) -> optuna.Study:
    """Copy a study into memory: trials that are finished, stopped at a rung or running."""
    draft = optuna.create_study(directions=study.directions)
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING))
    running = [t for t in trials if t.state == TrialState.RUNNING]
    finished = [t for t in trials if (t.state == TrialState.COMPLETE and "arch" in t.user_attrs) or is_stopped(t)]
    if len(finished) > MAX_DRAFT:
        complete = [t for t in finished if t.state == TrialState.COMPLETE]
        stopped = [t for t in reversed(finished) if t.state != TrialState.COMPLETE]
        kept = best_and_latest(np.array([t.values for t in complete]), MAX_DRAFT)
        finished = [complete[index] for index in kept] + stopped[: MAX_DRAFT - len(kept)]
    values = values_of(config, space)
    for trial in sorted([*finished, *running], key=lambda trial: trial.number):
        if copy := _as_draft(trial, current_values(config, trial), values):
            draft.add_trial(copy)
    return draft


def _as_draft(trial: FrozenTrial, current: list[float] | None, values: dict[str, list[Any]]) -> FrozenTrial | None:
    """Return a trial as it is in a draft; None if it has no parameters, or others than the space.

    current: values of the objectives
    values: of each dimension
    """
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for key, value in current_choices(trial.params).items():
        if value not in values.get(key, ()):
            return None
        ordered = ordered_values(values[key])
        params[key] = value if ordered is None else ordered.index(value)
        distributions[key] = (
            CategoricalDistribution(values[key]) if ordered is None else IntDistribution(0, len(ordered) - 1)
        )
    if not params:
        return None
    attrs = {
        key: value for key, value in trial.system_attrs.items() if not key.startswith(("constraint", "fixed_params"))
    }
    return create_trial(
        state=trial.state,
        values=current,
        params=params,
        distributions=distributions,
        user_attrs=trial.user_attrs,
        system_attrs=attrs,
        constraints={} if "baseline" in trial.user_attrs else trial.constraints,
    )


def new_template(
    study: optuna.Study, choices: dict[str, Any], config: SearchConfig, space: Space, state: TrialState, **attrs: Any
) -> FrozenTrial:
    """Return a new trial of a study with the given choices.

    Its parameters are named as those of the study's other trials, which may have names of version 0.1: a storage
    accepts no others.

    attrs: user_attrs and system_attrs

    Raises:
        InputError: another program added trials with other values of a dimension.
    """
    values = values_of(config, space)
    names: dict[str, tuple[str, BaseDistribution]] = {}
    for trial in study.get_trials(deepcopy=False):
        for key, distribution in trial.distributions.items():
            names.setdefault(current_key(key), (key, distribution))
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for key, value in choices.items():
        name, distribution = names.get(key, (key, CategoricalDistribution(values[key])))
        choices_of_name = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
        current = [current_choices({name: choice})[key] for choice in choices_of_name]
        if value not in current:
            raise InputError(
                f"study {study.study_name}: {name}: {value} is not possible, since another program added a trial with "
                f"{distribution}; give --study another name"
            )
        params[name], distributions[name] = choices_of_name[current.index(value)], distribution
    return create_trial(state=state, params=params, distributions=distributions, **attrs)


def values_of(config: SearchConfig, space: Space) -> dict[str, list[Any]]:
    """Return the values of each dimension of a study by its key."""
    return {key: list(one.values) for key, one in space.dimensions.items()} | {RECIPE: list(searched_recipes(config))}


def _choices(draft: FrozenTrial, config: SearchConfig, space: Space) -> dict[str, Any]:
    """Return the choices of a trial of a draft."""
    values, found = values_of(config, space), {}
    for key, value in draft.params.items():
        ordered = ordered_values(values[key])
        found[key] = value if ordered is None else ordered[value]
    return found


def cost_aware_sampler(study: optuna.Study, draft: optuna.Study, checks: Checks, seed: int) -> CostAwareSampler:
    """Return the sampler that models the error of the draft's networks."""
    config = checks.config
    limits = {limit.quantity.name: limit.value(config.input_size) for limit in config.parsed_limits}
    costs = [limits.get(objective.name) for objective in objective_quantities(config)[1:]]
    return CostAwareSampler(
        checks.cost,
        space=checks.network,
        reference=(study.user_attrs.get(MEAN_POSE), *costs),
        check=checks.check,
        observe=error_at_end(draft),
        n_startup_trials=COST_AWARE_STARTUP,
        seed=seed,
    )


def error_at_end(draft: optuna.Study) -> Callable[[FrozenTrial], tuple[float, float] | None]:
    """Return a function from a trial to its error after full training, mm, and the deviation of the error's logarithm.

    The error of a candidate that stopped at a rung is extrapolated by the mean ratio of the errors at the end and at
    that rung. Stopped candidates are the worse ones; without them, the model would propose their like again.
    """
    ratios: dict[float, list[float]] = defaultdict(list)
    for trial in draft.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        for step in trial.user_attrs.get(STEPS, []):
            ratios[step["share"]].append(math.log(trial.values[0] / step["mm"]))

    def observe(trial: FrozenTrial) -> tuple[float, float] | None:
        if trial.state == TrialState.COMPLETE:
            return trial.values[0], trial.user_attrs.get(NOISE, 0.0) / trial.values[0]
        step = trial.user_attrs[STEPS][-1]
        known = ratios[step["share"]]
        if len(known) < MIN_PAIRS:
            return None
        return step["mm"] * math.exp(statistics.mean(known)), statistics.stdev(known)

    return observe
