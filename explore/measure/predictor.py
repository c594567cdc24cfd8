"""Prediction of latency from an `Arch` alone, for one device, runtime, quantization recipe and thread count.

All models start from sums over operators (`explore.measure.features`). `linear` gives each sum a non-negative price, by
least squares of the relative error. `linear and residual` multiplies this by kernel ridge regression of its relative
error. `log ridge` is ridge regression in logarithms. `fit` chooses by cross-validation and stores coefficients as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arch.cost import cost
from arch.errors import InputError, describe
from arch.files import write_atomic
from arch.space import Arch, make_arch
from explore.config import Strict
from explore.measure.features import features
from explore.measure.rows import Row

Array = NDArray[np.float64]
Kind = Literal["linear", "log ridge", "linear and residual"]
FOLDS = 5
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # of the ridge regression
WIDTHS = (2.0, 4.0, 8.0, 16.0)  # of the kernel, in standard deviations
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3)  # penalties of the kernel ridge regression
DIGITS = 6


class Score(Strict):
    """Accuracy on networks that were not fitted: fractions within 5% and 10%, and rank correlation (Kendall's tau)."""

    within_5: float
    within_10: float
    worst: float = Field(description="largest relative error")
    tau: float


class FitReport(Strict):
    """Accuracy of a predictor, and of a straight line through the logarithms of MACs and latency (`macs`)."""

    renamed: ClassVar[dict[str, str]] = {"unsettled": "unconverged"}

    fitted_on: int
    unseen: int
    unconverged: int = Field(description="networks whose latency has a wider interval than requested")
    chosen: Kind
    cross_validated: dict[Kind, float] = Field(description="root mean square of the logarithmic error")
    predictor: Score
    macs: Score


class Conditions(Strict):
    """Device, files and search space that a predictor holds for; `reference_ms` is the reference network's latency."""

    renamed: ClassVar[dict[str, str]] = {"scale": "input_size"}

    device: str
    processor: str
    instruction_sets: tuple[str, ...]
    runtime: str
    runtime_version: str
    recipe: str
    threads: int
    isa: str | None
    space: str
    input_size: int
    reference: str
    reference_ms: float

    @staticmethod
    def of(row: Row, space: str, input_size: int, reference_ms: float) -> Conditions:
        """Return the conditions of a row of the reference network."""
        names = ("device", "runtime", "runtime_version", "recipe", "threads", "isa")
        return Conditions(
            **{name: getattr(row, name) for name in names},
            processor=row.machine.processor,
            instruction_sets=row.machine.instruction_sets,
            space=space,
            input_size=input_size,
            reference=row.model,
            reference_ms=reference_ms,
        )


class Predictor(BaseModel):
    """A fitted predictor: coefficients (`prices`) of the features `names`, and those of the model's other parts.

    `means` and `spreads` standardise log(1 + feature). `points`, `weights` and `width` are the fitted networks, weights
    and length scale of the kernel ridge regression.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    about: Conditions
    kind: Kind
    names: tuple[str, ...]
    prices: tuple[float, ...]
    offset: float = 0.0
    means: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()
    points: tuple[tuple[float, ...], ...] = ()
    weights: tuple[float, ...] = ()
    width: float = 1.0
    report: FitReport | None = None

    def ratios(self, archs: Sequence[Arch]) -> Array:
        """Return latencies as ratios to the reference network."""
        return self.ratios_of(feature_table(archs, self.names))

    def ms(self, archs: Sequence[Arch], reference_ms: float | None = None) -> Array:
        """Return latencies, ms; `reference_ms` is a newer latency of the reference network."""
        return self.ratios(archs) * (self.about.reference_ms if reference_ms is None else reference_ms)

    def ratios_of(self, table: Array) -> Array:
        """Return ratios to the reference network from a table of features (networks, names)."""
        prices = np.array(self.prices)
        if self.kind == "linear":
            return table @ prices + self.offset
        x = (np.log1p(table) - np.array(self.means)) / np.array(self.spreads)
        if self.kind == "log ridge":
            return np.exp(x @ prices + self.offset)
        squares = ((x[:, None] - np.array(self.points)) ** 2).mean(2)
        residual = np.exp(-0.5 * squares / self.width**2) @ np.array(self.weights)
        return (table @ prices + self.offset) * np.exp(residual)

    def save(self, path: Path) -> None:
        write_atomic(path, self.model_dump_json() + "\n")

    @staticmethod
    def load(path: str | Path) -> Predictor:
        """Read a predictor.

        Raises:
            InputError: the file is missing, or not a predictor.
        """
        fix = "create one with measure --calibrate TARGET"
        try:
            return Predictor.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; {fix}") from None
        except ValidationError as error:
            raise InputError(f"{path}: not a latency predictor ({describe(error, Predictor)}); {fix}") from None
        except (ValueError, RecursionError):
            raise InputError(f"{path}: not a latency predictor (not JSON); {fix}") from None


def fit(rows: Sequence[dict[str, Any]], about: Conditions) -> Predictor:
    """Fit a predictor on the rows whose `part` is `fit`, and test it on those whose `part` is `unseen`.

    Raises:
        InputError: a row with an invalid network.
    """
    archs = [make_arch(row["arch"], "calibration") for row in rows]
    ratios = np.array([row["ratio"] for row in rows])
    seen = np.array([row["part"] == "fit" for row in rows])
    names = tuple(sorted({name for arch, one in zip(archs, seen, strict=True) if one for name in features(arch)}))
    table = feature_table(archs, names)
    errors = {kind: _cross_validate(make, about, names, table[seen], ratios[seen]) for kind, make in KINDS.items()}
    best = min(errors, key=lambda kind: errors[kind])
    chosen = KINDS[best](about, names, table[seen], ratios[seen])
    macs = np.log([cost(arch).macs for arch in archs])
    line = np.polynomial.Polynomial.fit(macs[seen], np.log(ratios[seen]), 1)
    report = FitReport(
        fitted_on=int(seen.sum()),
        unseen=int((~seen).sum()),
        unconverged=sum(not row["converged"] for row in rows),
        chosen=best,
        cross_validated={kind: round(value, 4) for kind, value in errors.items()},
        predictor=score(chosen.ratios_of(table[~seen]), ratios[~seen]),
        macs=score(np.exp(line(macs[~seen])), ratios[~seen]),
    )
    return chosen.model_copy(update={"report": report})


def score(predicted: Array, measured: Array) -> Score:
    """Return the accuracy of predicted latencies."""
    from scipy.stats import kendalltau

    errors = np.abs(predicted / measured - 1)
    return Score(
        within_5=round(float((errors <= 0.05).mean()), 4),
        within_10=round(float((errors <= 0.10).mean()), 4),
        worst=round(float(errors.max()), 4),
        tau=round(float(kendalltau(predicted, measured).statistic), 4),
    )


def feature_table(archs: Sequence[Arch], names: Sequence[str]) -> Array:
    """Return the features of networks: (networks, names)."""
    found = [features(arch) for arch in archs]
    return np.array([[one.get(name, 0.0) for name in names] for one in found]).reshape(len(archs), len(names))


def _linear(about: Conditions, names: tuple[str, ...], table: Array, ratios: Array) -> Predictor:
    from sklearn.linear_model import LinearRegression

    scale = np.append(np.maximum(table.max(0), 1e-12), 1.0)
    columns = np.column_stack([table, np.ones(len(table))]) / scale  # the offset is a price, too: never negative
    model = LinearRegression(positive=True, fit_intercept=False).fit(columns, ratios, ratios**-2.0)
    *prices, offset = _rounded(model.coef_ / scale)
    return Predictor(about=about, kind="linear", names=names, prices=tuple(prices), offset=offset)


def _log_ridge(about: Conditions, names: tuple[str, ...], table: Array, ratios: Array) -> Predictor:
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(np.log1p(table))
    model = RidgeCV(PENALTIES).fit(scaler.transform(np.log1p(table)), np.log(ratios))
    prices, (offset,) = _rounded(model.coef_), _rounded([model.intercept_])
    moments = {"means": _rounded(scaler.mean_), "spreads": _rounded(scaler.scale_)}
    return Predictor(about=about, kind="log ridge", names=names, prices=prices, offset=offset, **moments)


def _with_residual(about: Conditions, names: tuple[str, ...], table: Array, ratios: Array) -> Predictor:
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import GridSearchCV
    from sklearn.preprocessing import StandardScaler

    linear = _linear(about, names, table, ratios)
    scaler = StandardScaler().fit(np.log1p(table))
    x = scaler.transform(np.log1p(table))
    widths = {0.5 / (width**2 * len(names)): width for width in WIDTHS}  # by scikit-learn's gamma
    grid = {"alpha": NOISES, "gamma": list(widths)}
    search = GridSearchCV(KernelRidge(kernel="rbf"), grid, scoring="neg_mean_squared_error", cv=2 * FOLDS)
    search.fit(x, np.log(ratios / linear.ratios_of(table)))
    return linear.model_copy(
        update={
            "kind": "linear and residual",
            "means": _rounded(scaler.mean_),
            "spreads": _rounded(scaler.scale_),
            "points": tuple(_rounded(point) for point in x),
            "weights": _rounded(search.best_estimator_.dual_coef_),
            "width": widths[search.best_params_["gamma"]],
        }
    )


KINDS: dict[Kind, Callable[[Conditions, tuple[str, ...], Array, Array], Predictor]] = {
    "linear": _linear,
    "log ridge": _log_ridge,
    "linear and residual": _with_residual,
}


def _rounded(values: Any) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)


def _cross_validate(
    make: Callable[[Conditions, tuple[str, ...], Array, Array], Predictor],
    about: Conditions,
    names: tuple[str, ...],
    table: Array,
    ratios: Array,
) -> float:
    """Return the root mean square of the logarithmic error on networks left out."""
    from sklearn.model_selection import KFold

    errors = np.empty(len(ratios))
    for seen, left_out in KFold(FOLDS, shuffle=True, random_state=0).split(table):
        model = make(about, names, table[seen], ratios[seen])
        errors[left_out] = np.log(model.ratios_of(table[left_out]) / ratios[left_out])
    return float(np.sqrt((errors**2).mean()))
