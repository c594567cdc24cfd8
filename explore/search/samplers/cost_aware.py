"""A sampler for studies in which every objective but the first is known before a trial runs.

The error of a network has to be measured, but its MACs, size or predicted latency follow from its hyperparameters. A
Gaussian process therefore models the error alone, and the hypervolume improvement of a candidate depends on one unknown
number, so that its expectation is an exact sum of one-dimensional expected improvements.

The package depends on Optuna, NumPy, SciPy and `explore.pareto` only.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import intersection_search_space
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from explore.pareto import crowding_sort
from explore.search.samplers.choices import Draw, Params, Pick, changed, contains, uniform
from explore.search.samplers.surrogate import Array, Costs, Observed, Point, fit

RANDOM_SHARE = 0.25  # of the candidates; the others are changed members of the front
CHANGES = (1, 1, 2, 2, 3)  # numbers of parameters that are changed, drawn uniformly
DISCOVERY = 64  # uniform draws that find the parameters of a define-by-run space
DRAWS = 3  # draws for each candidate, of which two may be rejected


class CostAwareSampler(BaseSampler):
    """Sampler with expected hypervolume improvement over the error and known costs.

    `CostAwareSampler(cost, *, space=None, ordered=(), reference=None, check=None, observe=None, noise=None,
    n_startup_trials=8, n_candidates=200, max_fitted=256, seed=None)`

    The study's first objective is the error, the others are costs. The sampler fits a Gaussian process to the log error
    (Matern 5/2, a linear term in the log costs) of the finished trials, draws candidates (25% uniform, 75% one to three
    changes of a member of the denoised front), rejects those that `check` or `cost` rejects, and proposes the one with
    the largest expected hypervolume improvement (Emmerich et al. 2006) in logarithms. Running trials are taken at their
    predicted error (Kriging believer, Ginsbourger et al. 2010) and are not proposed again. Objectives with values that
    are not positive are taken as they are instead of in logarithms.

    Args:
        cost: Returns the costs of parameters, one for each objective after the first, in units and order of the
            objectives; a float for a single one; None if the parameters are impossible. Where measured costs differ
            from it (MACs that stand for a latency), the difference is fitted to the finished trials.
        space: Distributions by name, or a define-by-run function that calls `suggest_*` of the object it receives as an
            objective does, and raises ValueError for impossible choices. None: the parameters that all finished
            trials share. `cost` and `check` are applied from the first trial on only if it is given.
        ordered: Names of categorical parameters whose choices are sorted. Integers and floats are ordered.
        reference: Reference point of the hypervolume, (error, *costs), such as the error of a trivial prediction and
            the largest cost of interest. None, for all or one of them: a little above the worst value seen.
        check: Returns the reason to skip parameters, or None (or an empty string) if they are fine.
        observe: Returns the error of a finished or pruned trial and the standard deviation of its logarithm besides
            `noise`, or None to ignore the trial. Default: (its first value, 0) if it is complete.
        noise: Standard deviation of the observed log error; None: fitted.
        n_startup_trials: Observed trials before the model is used. Until then, candidates are drawn uniformly.
        n_candidates: Candidates for each suggestion.
        max_fitted: Trials that the model is fitted to: the best half by rank and crowding distance, and the latest.
        seed: Seed of the random numbers.
    """

    def __init__(
        self,
        cost: Callable[[Params], float | Sequence[float] | None],
        *,
        space: Mapping[str, BaseDistribution] | Callable[[Any], Any] | None = None,
        ordered: Collection[str] = (),
        reference: Sequence[float | None] | None = None,
        check: Callable[[Params], str | None] | None = None,
        observe: Callable[[FrozenTrial], tuple[float, float] | None] | None = None,
        noise: float | None = None,
        n_startup_trials: int = 8,
        n_candidates: int = 200,
        max_fitted: int = 256,
        seed: int | None = None,
    ) -> None:
        self._cost, self._check, self._observe = cost, check, observe or _first_value
        self._space, self._ordered, self._reference, self._noise = space, frozenset(ordered), reference, noise
        self._n_startup_trials, self._n_candidates, self._max_fitted = n_startup_trials, n_candidates, max_fitted
        self._rng = np.random.default_rng(seed)
        self._known: dict[str, BaseDistribution] = {}  # the distributions that a define-by-run space has shown
        self._drawn: list[Params] = []  # uniform draws that are not used yet

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the distributions of all parameters, those that depend on other choices included."""
        if self._space is None:
            shared = intersection_search_space(study.get_trials(deepcopy=False))
            return {name: distribution for name, distribution in shared.items() if not distribution.single()}
        if isinstance(self._space, Mapping):
            return dict(self._space)
        if not self._known:
            self._drawn = [params for _ in range(DISCOVERY) if (params := self._draw({}, self._uniform)) is not None]
        return dict(self._known)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the most promising of the candidates that pass the checks; empty if none passes."""
        if not search_space:
            return {}
        trials = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number and other.params]
        names = sorted(search_space)
        taken = {_key(other.params, names) for other in trials}
        observed = self._observed(study, trials)
        if len(observed) < max(2, self._n_startup_trials):
            candidates = self._candidates(study, search_space, taken, [], 1)
            best = 0
        else:
            running = [other.params for other in trials if other.state == TrialState.RUNNING]
            surrogate = fit(
                observed,
                [(params, costs) for params in running if (costs := self._costs(study, params)) is not None],
                search_space,
                self._ordered,
                study.directions,
                [None] * len(study.directions) if self._reference is None else self._reference,
                self._noise,
            )
            candidates = self._candidates(study, search_space, taken, surrogate.parents, self._n_candidates)
            best = int(np.argmax(surrogate.score(candidates))) if candidates else 0
        if not candidates:
            warnings.warn("CostAwareSampler: no candidate passes the checks; parameters are random", stacklevel=2)
            return {}
        return {name: value for name, value in candidates[best][0].items() if name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._uniform(param_name, param_distribution)

    def _observed(self, study: Study, trials: list[FrozenTrial]) -> list[Observed]:
        """Return the trials to fit: all with an error, or the best and the latest of many."""
        finished = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        seen = [(trial, found) for trial in finished if (found := self._observe(trial)) and math.isfinite(found[0])]
        if len(seen) > self._max_fitted:
            signs = [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in study.directions]
            points = [
                (error, *(trial.values[1:] if trial.values else self._costs(study, trial.params) or signs[1:]))
                for trial, (error, _) in seen
            ]
            seen = [seen[index] for index in best_and_latest(np.array(points) * signs, self._max_fitted)]
        both = [(trial, error, self._costs(study, trial.params)) for trial, error in seen]
        return [Observed(trial, costs, *error) for trial, error, costs in both if costs is not None]

    def _candidates(
        self, study: Study, space: Mapping[str, BaseDistribution], taken: set[Any], parents: list[Params], count: int
    ) -> list[Point]:
        """Draw up to `count` new candidates that pass all checks, with their costs."""
        found: dict[Any, Point] = {}
        names = sorted(space)
        for _ in range(DRAWS * self._n_candidates):
            if len(found) >= count:
                break
            if not parents or self._rng.random() < RANDOM_SHARE:
                params = self._drawn.pop() if self._drawn else self._draw(space, self._uniform)
            else:
                parent = parents[int(self._rng.integers(len(parents)))]
                changes = CHANGES[int(self._rng.integers(len(CHANGES)))]
                changing = frozenset(self._rng.permutation(sorted(parent))[:changes].tolist())
                params = self._draw(space, partial(self._mutated, parent, changing))
            if params is None or (key := _key(params, names)) in taken or key in found:
                continue
            costs = self._costs(study, params)
            if costs is not None and not (self._check and self._check(params)):
                found[key] = params, costs
        return list(found.values())

    def _draw(self, space: Mapping[str, BaseDistribution], pick: Pick) -> Params | None:
        """Draw parameters; None if they are impossible."""
        draw = Draw(pick)
        if callable(self._space):
            try:
                self._space(draw)
            except ValueError:
                return None
            self._known |= draw.distributions
        else:
            for name, distribution in sorted(space.items()):
                draw.suggest(name, distribution)
        return draw.params

    def _uniform(self, name: str, distribution: BaseDistribution) -> Any:
        return uniform(distribution, self._rng)

    def _mutated(self, parent: Params, names: frozenset[str], name: str, distribution: BaseDistribution) -> Any:
        if name not in parent or not contains(distribution, parent[name]):
            return uniform(distribution, self._rng)
        if name in names:
            return changed(distribution, parent[name], name in self._ordered, self._rng)
        return parent[name]

    def _costs(self, study: Study, params: Params) -> Costs | None:
        """Return the known costs, one for each objective after the first; None for impossible parameters.

        Raises:
            ValueError: `cost` returns another number of costs.
        """
        found = self._cost(params)
        if found is None:
            return None
        costs = tuple(map(float, found)) if isinstance(found, Sequence) else (float(found),)
        if len(costs) != len(study.directions) - 1:
            raise ValueError(
                f"CostAwareSampler: number of costs: {len(costs)}; return one for each of the "
                f"{len(study.directions) - 1} objectives after the error"
            )
        return costs if all(map(math.isfinite, costs)) else None


def best_and_latest(points: Array, count: int) -> list[int]:
    """Return the indices of `count` points (N, objectives): half of them the best, half the latest of the others."""
    if len(points) <= count:
        return list(range(len(points)))
    best = crowding_sort(points)[: count // 2].tolist()
    latest = [index for index in reversed(range(len(points))) if index not in best]
    return sorted([*best, *latest[: count - len(best)]])


def _first_value(trial: FrozenTrial) -> tuple[float, float] | None:
    return (trial.values[0], 0.0) if trial.state == TrialState.COMPLETE else None


def _key(params: Params, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(map(params.get, names))
