"""The model of a study in which only the error is unknown: predictions and expected improvement of candidates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from scipy.special import ndtr

from explore.pareto import non_dominated_rank
from explore.search.samplers.choices import Params, features, widths
from explore.search.samplers.gaussian_process import GaussianProcess
from explore.search.samplers.improvement import expected_improvement

Array = NDArray[np.float64]
Costs = tuple[float, ...]
Point = tuple[Params, Costs]  # parameters and their known costs
EXACT = 1e-6  # largest difference between measured and known costs, in logarithms, that counts as none
MARGIN = 0.1  # of an unknown reference point above the worst error, and of failed trials below a known one, in
# standard deviations of the error
MIN_LEARNT = 3  # trials better than the reference point, below which the error is fitted to all


@dataclass(frozen=True)
class Observed:
    """A trial with its known costs, its error, and the standard deviation of the log error besides the noise of all."""

    trial: FrozenTrial
    costs: Costs
    error: float
    extra_std: float

    @property
    def measured(self) -> list[float]:
        """The measured costs; NaN for a trial without values."""
        return self.trial.values[1:] if self.trial.values else [np.nan] * len(self.costs)


@dataclass(frozen=True)
class Scale:
    """The transform of an objective for the model: minimised, in logarithms if all of its values are positive.

    least: the smallest of these values, which stands for later ones that are not positive
    """

    sign: float
    log: bool
    least: float

    @staticmethod
    def of(direction: StudyDirection, values: Array) -> Scale:
        sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
        return Scale(sign, bool((values > 0).all()), float(values.min()))

    def __call__(self, values: Array) -> Array:
        scaled: Array = self.sign * (np.log(np.where(values > 0, values, self.least)) if self.log else values)
        return scaled


@dataclass(frozen=True)
class Encoder:
    """Features of points: their scaled costs, standardised, and their parameters."""

    space: Mapping[str, BaseDistribution]
    ordered: Collection[str]
    scales: tuple[Scale, ...]  # of the costs
    centre: Array
    spread: Array

    @property
    def owners(self) -> NDArray[np.int64]:
        """The parameter that each feature belongs to, (D,); each cost counts as one."""
        counts = [1] * len(self.scales) + widths(self.space, self.ordered)
        return np.repeat(np.arange(len(counts)), counts)

    def __call__(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """Return features (N, D) and scaled costs (N, M)."""
        costs = scaled(self.scales, [costs for _, costs in points])
        parameters = features([params for params, _ in points], self.space, self.ordered)
        return np.hstack([(costs - self.centre) / self.spread, parameters]), costs


@dataclass(frozen=True)
class Surrogate:
    """Predictions of the error, of costs that deviate from the known ones, and of constraints; see `fit`.

    parents: parameters of the members of the denoised front
    front, front_costs: their errors (K,) and costs (K, M), scaled; running trials included
    reference: scaled reference point (1 + M,); NaN for unknown costs
    """

    encode: Encoder
    error: GaussianProcess
    deviations: tuple[GaussianProcess | None, ...]
    constraints: tuple[GaussianProcess, ...]
    parents: list[Params]
    front: Array
    front_costs: Array
    reference: Array

    def score(self, candidates: Sequence[Point]) -> Array:
        """Return the expected hypervolume improvement of candidates, times the probability that they are feasible."""
        x, known = self.encode(candidates)
        costs = with_deviations(x, known, self.deviations)
        mean, std = self.error.predict(x)
        every = np.vstack([costs, self.front_costs])
        highest = every.max(0) + 0.05 * np.ptp(every, axis=0)
        reference = np.where(np.isnan(self.reference), np.append(0.0, highest), self.reference)
        score = expected_improvement(mean, std, costs, self.front, self.front_costs, reference)
        for process in self.constraints:
            excess, excess_std = process.predict(x)
            score *= ndtr(-excess / excess_std)
        return score


def scaled(scales: Sequence[Scale], costs: Sequence[Costs] | Array) -> Array:
    """Return costs (N, M) on their scales."""
    table = np.array(costs, np.float64).reshape(len(costs), len(scales))
    columns = [scale(column) for scale, column in zip(scales, table.T, strict=True)]
    return np.array(columns).reshape(len(scales), len(costs)).T


def with_deviations(x: Array, known: Array, deviations: Sequence[GaussianProcess | None]) -> Array:
    """Return the costs (N, M) that are expected to be measured, from features and known costs."""
    columns = [
        column if process is None else column + process.predict(x)[0]
        for column, process in zip(known.T, deviations, strict=True)
    ]
    return np.array(columns).reshape(known.T.shape).T


def fit(
    observed: Sequence[Observed],
    running: Sequence[Point],
    space: Mapping[str, BaseDistribution],
    ordered: Collection[str],
    directions: Sequence[StudyDirection],
    reference: Sequence[float | None],
    noise: float | None,
) -> Surrogate:
    """Fit a surrogate to observed trials, and believe its predictions of running ones.

    reference: in units of the objectives; None where unknown
    noise: standard deviation of the scaled error; None: fitted
    """
    given, measured = (
        np.array(rows, np.float64).reshape(len(observed), len(directions) - 1)
        for rows in ([one.costs for one in observed], [one.measured for one in observed])
    )
    errors = np.array([one.error for one in observed])
    both = [np.append(a, b[np.isfinite(b)]) for a, b in zip(given.T, measured.T, strict=True)]
    scale, *scales = (Scale.of(one, values) for one, values in zip(directions, [errors, *both], strict=True))
    costs = scaled(scales, given)
    encode = Encoder(space, ordered, tuple(scales), costs.mean(0), np.maximum(costs.std(0), 1e-6))
    x, known = encode([(one.trial.params, one.costs) for one in observed])
    linear = slice(len(scales))

    real = np.where(np.isfinite(measured), scaled(scales, np.where(np.isfinite(measured), measured, given)), np.nan)
    deviations = tuple(_deviation(x, linear, column, encode.owners) for column in (real - known).T)
    costs = np.where(np.isfinite(real), real, with_deviations(x, known, deviations))

    y = scale(errors)
    failed = _failed(y, np.inf if reference[0] is None else float(scale(np.array(reference[0]))))
    extra_std = np.array([one.extra_std for one in observed])[~failed]
    process = GaussianProcess.fit(x[~failed], y[~failed], linear, noise, extra_std, encode.owners)
    x_running, known_running = encode(running)
    process = process.believe(x_running)
    costs = np.vstack([costs, with_deviations(x_running, known_running, deviations)])
    points = [one.trial.params for one in observed] + [params for params, _ in running]
    denoised = process.predict(np.vstack([x, x_running]))[0]
    denoised[: len(y)][failed] = y[failed]
    feasible = np.array(
        [all(v <= 0 for v in one.trial.constraints.values()) for one in observed] + [True] * len(running)
    )
    chosen = np.flatnonzero(feasible) if feasible.any() else np.arange(len(feasible))
    chosen = chosen[non_dominated_rank(np.column_stack([denoised, costs])[chosen]) == 0]

    highest = max(y.max(), denoised.max()) + MARGIN * (y.std() or 1.0)
    corner = [highest if reference[0] is None else float(scale(np.array(reference[0])))]
    corner += [
        np.nan if value is None else float(one(np.array(value)))
        for one, value in zip(scales, reference[1:], strict=True)
    ]
    front = chosen if feasible.any() else chosen[:0]
    return Surrogate(
        encode,
        process,
        deviations,
        _constraints(observed, failed, x, linear, encode.owners),
        [points[index] for index in chosen],
        denoised[front],
        costs[front],
        np.array(corner),
    )


def _failed(y: Array, reference: float) -> NDArray[np.bool_]:
    """Return which errors (N,) are no better than the reference, such as those of networks that learnt nothing.

    Their number says nothing about the others, and a smooth model of both is wrong for both.
    """
    failed = y >= reference - MARGIN * y.std()
    return failed if (~failed).sum() >= MIN_LEARNT else np.zeros(len(y), np.bool_)


def _deviation(x: Array, linear: slice, difference: Array, owners: NDArray[np.int64]) -> GaussianProcess | None:
    """Fit the difference between measured and known costs; None if there is none, or nothing was measured."""
    here = np.isfinite(difference)
    if here.sum() < 2 or np.abs(difference[here]).max() <= EXACT:
        return None
    return GaussianProcess.fit(x[here], difference[here], linear, None, np.zeros(int(here.sum())), owners)


def _constraints(
    observed: Sequence[Observed], failed: NDArray[np.bool_], x: Array, linear: slice, owners: NDArray[np.int64]
) -> tuple[GaussianProcess, ...]:
    """Fit each constraint that an observed trial violates (see `Trial.set_constraint`), and whether trials fail."""
    targets = []
    for name in sorted({name for one in observed for name in one.trial.constraints}):
        targets.append(np.array([one.trial.constraints.get(name, np.nan) for one in observed]))
    targets.append(np.where(failed, 1.0, -1.0))
    found = []
    for target in targets:
        rows = np.isfinite(target)
        if target[rows].max() > 0:
            found.append(GaussianProcess.fit(x[rows], target[rows], linear, None, np.zeros(int(rows.sum())), owners))
    return tuple(found)
