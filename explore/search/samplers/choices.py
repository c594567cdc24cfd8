"""Values of hyperparameters: uniform draws, small changes, and their features for a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Array = NDArray[np.float64]
Params = dict[str, Any]
Pick = Callable[[str, BaseDistribution], Any]
Numeric = IntDistribution | FloatDistribution

MOVE = 0.1  # standard deviation of a change of an ordered parameter, as a fraction of its range
ONE_HOT = math.sqrt(0.5)  # two categories are as far apart as the ends of an ordered parameter


class Draw:
    """A stand-in for a trial, whose `suggest_*` return what `pick` chooses; the choices are recorded."""

    def __init__(self, pick: Pick) -> None:
        self.params: Params = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self._pick = pick

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.suggest(name, CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self.suggest(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self.suggest(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self.params:
            self.params[name] = self._pick(name, distribution)
            self.distributions[name] = distribution
        return self.params[name]


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Return whether a value belongs to a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, Numeric)
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high


def count(distribution: BaseDistribution) -> int:
    """Return the number of values; 0 for a continuous range."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, Numeric)
    if distribution.step is None:
        return 0
    return math.floor((distribution.high - distribution.low) / distribution.step + 1e-9) + 1


def uniform(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """Draw a value uniformly, on the logarithmic scale where the distribution has one."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(rng.integers(len(distribution.choices)))]
    if isinstance(distribution, IntDistribution) and not distribution.log:
        return distribution.low + distribution.step * int(rng.integers(count(distribution)))
    number = count(distribution)
    if number and not getattr(distribution, "log", False):
        return at(distribution, float(rng.integers(number)) / max(1, number - 1))
    return at(distribution, float(rng.random()))


def changed(distribution: BaseDistribution, value: Any, ordered: bool, rng: np.random.Generator) -> Any:
    """Return another value: near by if the values are ordered."""
    number = count(distribution)
    if number == 1:
        return value
    if isinstance(distribution, CategoricalDistribution) and not ordered:
        others = [index for index, choice in enumerate(distribution.choices) if choice != value]
        return distribution.choices[others[int(rng.integers(len(others)))]]
    step = max(abs(float(rng.normal(0.0, MOVE))), 1 / (number - 1) if number else 0.0)
    place = position(distribution, value) + (step if rng.random() < 0.5 else -step)
    return at(distribution, 1 - abs(1 - abs(place)))  # reflected at both ends


def position(distribution: BaseDistribution, value: Any) -> float:
    """Return the place of a value between the ends of an ordered distribution, 0 to 1."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(value) / max(1, len(distribution.choices) - 1)
    assert isinstance(distribution, Numeric)
    low, high = distribution.low, distribution.high
    if low == high:
        return 0.0
    if distribution.log:
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def at(distribution: BaseDistribution, place: float) -> Any:
    """Return the value at a place between the ends of an ordered distribution, 0 to 1."""
    place = min(1.0, max(0.0, place))
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[round(place * (len(distribution.choices) - 1))]
    assert isinstance(distribution, Numeric)
    low, high = distribution.low, distribution.high
    number = low * (high / low) ** place if distribution.log else low + place * (high - low)
    if distribution.step is not None and not distribution.log:
        number = low + round(place * (count(distribution) - 1)) * distribution.step
    number = min(high, max(low, number))
    return round(number) if isinstance(distribution, IntDistribution) else float(number)


def features(points: Sequence[Params], space: Mapping[str, BaseDistribution], ordered: Collection[str]) -> Array:
    """Return the features (N, D) of points: ordered parameters on [0, 1], others one-hot, missing ones in the middle."""
    columns: list[Array] = []
    for name, distribution in sorted(space.items()):
        known: dict[Any, float] = {}  # the places of values that occurred
        places = np.full(len(points), np.nan)
        for index, point in enumerate(points):
            if name in point:
                value = point[name]
                if value not in known:
                    known[value] = position(distribution, value) if contains(distribution, value) else np.nan
                places[index] = known[value]
        if one_hot(name, distribution, ordered):
            assert isinstance(distribution, CategoricalDistribution)
            last = max(1, len(distribution.choices) - 1)
            columns += [ONE_HOT * (np.rint(places * last) == index) for index in range(len(distribution.choices))]
        else:
            columns.append(np.where(np.isnan(places), 0.5, places))
    return np.array(columns, np.float64).reshape(len(columns), len(points)).T


def widths(space: Mapping[str, BaseDistribution], ordered: Collection[str]) -> list[int]:
    """Return the number of features of each parameter, in the order of `features`."""
    return [
        len(distribution.choices)
        if isinstance(distribution, CategoricalDistribution) and one_hot(name, distribution, ordered)
        else 1
        for name, distribution in sorted(space.items())
    ]


def one_hot(name: str, distribution: BaseDistribution, ordered: Collection[str]) -> bool:
    """Return whether a parameter has a feature for each of its values."""
    return isinstance(distribution, CategoricalDistribution) and name not in ordered
