"""Latency from an Arch alone, for one device, runtime, recipe and thread count: a file of JSON, fitted by `fit`.

Every model begins with sums over operators (`explore.measure.features`), each with a price that is not negative, fitted
to least relative error. `residual` adds what neighbours in the space were off by (kernel ridge regression of the
logarithm); cross validation decides whether it is worth having.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arch.cost import cost
from arch.errors import InputError
from arch.files import write_atomic
from arch.space import Arch, make_arch
from explore.config import Strict
from explore.measure.features import features
from explore.measure.rows import Row

Array = NDArray[np.float64]
Kind = Literal["linear", "log ridge", "linear and residual"]
FOLDS = 5
WIDTHS = (2.0, 4.0, 8.0, 16.0)  # of the kernel, in standard deviations
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3)  # added to its diagonal
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # of the ridge
DIGITS = 6


class Score(Strict):
    """How well latencies are told for networks never seen: shares within 5% and 10%, rank correlation (Kendall)."""

    within_5: float
    within_10: float
    worst: float = Field(description="largest relative error")
    tau: float


class Report(Strict):
    """`macs` is the same for a straight line through the logarithms of MACs and latency."""

    fitted_on: int
    unseen: int
    unsettled: int = Field(description="rows whose interval was wider than asked")
    chosen: Kind
    cross_validated: dict[Kind, float] = Field(description="typical relative error (root mean square of logarithms)")
    predictor: Score
    macs: Score


class About(Strict):
    """What a predictor is of."""

    device: str
    processor: str
    instruction_sets: tuple[str, ...]
    runtime: str
    runtime_version: str
    recipe: str
    threads: int
    isa: str | None
    space: str
    scale: int
    reference: str
    reference_ms: float


class Predictor(BaseModel):
    """`prices` of `names` sum up to the ratio to the reference; the arrays of the residual are empty without one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    about: About
    kind: Kind
    names: tuple[str, ...]
    prices: tuple[float, ...]
    offset: float = 0.0
    means: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()
    points: tuple[tuple[float, ...], ...] = ()
    weights: tuple[float, ...] = ()
    width: float = 1.0
    report: Report | None = None

    def ratios(self, archs: Sequence[Arch]) -> Array:
        """Latencies as ratios to the reference network."""
        return _ratios(self, _table(archs, self.names))

    def ms(self, archs: Sequence[Arch], reference_ms: float | None = None) -> Array:
        """Latencies in ms; `reference_ms` is what the reference takes now, where that was measured anew."""
        return self.ratios(archs) * (self.about.reference_ms if reference_ms is None else reference_ms)

    def save(self, path: Path) -> None:
        write_atomic(path, self.model_dump_json() + "\n")

    @staticmethod
    def load(path: str | Path) -> Predictor:
        """Read a predictor.

        Raises:
            InputError: no such file, or none that `measure --calibrate` wrote.
        """
        try:
            return Predictor.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; make one with measure --calibrate DEVICE") from None
        except (ValidationError, ValueError):
            raise InputError(f"{path}: is no predictor; make one with measure --calibrate DEVICE") from None


def fit(rows: Sequence[dict[str, Any]], about: About) -> Predictor:
    """The predictor of the rows whose part is `fit`, judged on those whose part is `unseen`.

    Raises:
        InputError: a row without a possible network.
    """
    archs = [make_arch(row["arch"], "calibration") for row in rows]
    ratios = np.array([row["ratio"] for row in rows])
    seen = np.array([row["part"] == "fit" for row in rows])
    names = tuple(sorted({name for arch, one in zip(archs, seen, strict=True) if one for name in features(arch)}))
    table = _table(archs, names)
    scores = {kind: _cross_validated(made, about, names, table[seen], ratios[seen]) for kind, made in KINDS.items()}
    best = min(scores, key=lambda kind: scores[kind])
    chosen = KINDS[best](about, names, table[seen], ratios[seen])
    macs = np.log([cost(arch).macs for arch in archs])
    line = np.polynomial.Polynomial.fit(macs[seen], np.log(ratios[seen]), 1)
    report = Report(
        fitted_on=int(seen.sum()),
        unseen=int((~seen).sum()),
        unsettled=sum(not row["settled"] for row in rows),
        chosen=best,
        cross_validated={kind: round(value, 4) for kind, value in scores.items()},
        predictor=score(_ratios(chosen, table[~seen]), ratios[~seen]),
        macs=score(np.exp(line(macs[~seen])), ratios[~seen]),
    )
    return chosen.model_copy(update={"report": report})


def score(predicted: Array, measured: Array) -> Score:
    from scipy.stats import kendalltau

    errors = np.abs(predicted / measured - 1)
    return Score(
        within_5=round(float((errors <= 0.05).mean()), 4),
        within_10=round(float((errors <= 0.10).mean()), 4),
        worst=round(float(errors.max()), 4),
        tau=round(float(kendalltau(predicted, measured).statistic), 4),
    )


def _table(archs: Sequence[Arch], names: Sequence[str]) -> Array:
    """(networks, names)"""
    found = [features(arch) for arch in archs]
    return np.array([[one.get(name, 0.0) for name in names] for one in found]).reshape(len(archs), len(names))


def _ratios(model: Predictor, table: Array) -> Array:
    if model.kind == "log ridge":
        return np.exp(_standard(model, table) @ np.array(model.prices) + model.offset)
    plain = table @ np.array(model.prices) + model.offset
    if model.kind == "linear":
        return plain
    near = _kernel(_standard(model, table), np.array(model.points), model.width)
    return plain * np.exp(near @ np.array(model.weights))


def _standard(model: Predictor, table: Array) -> Array:
    return (np.log1p(table) - np.array(model.means)) / np.array(model.spreads)


def _kernel(a: Array, b: Array, width: float) -> Array:
    squares = ((a[:, None] - b[None]) ** 2).mean(2)
    return np.exp(-0.5 * squares / width**2)


def _linear(about: About, names: tuple[str, ...], table: Array, ratios: Array) -> Predictor:
    """Prices that are not negative, least squares of the relative error."""
    from scipy.optimize import nnls

    scale = np.maximum(table.max(0), 1e-12)
    columns = np.column_stack([table / scale, np.ones(len(table))]) / ratios[:, None]
    prices, _ = nnls(columns, np.ones(len(table)))
    return Predictor(
        about=about, kind="linear", names=names, prices=_short(prices[:-1] / scale), offset=_short(prices[-1:])[0]
    )


def _log_ridge(about: About, names: tuple[str, ...], table: Array, ratios: Array) -> Predictor:
    """Ridge regression of the logarithm on logarithms of the sums, the penalty by leaving one out."""
    means, spreads = _moments(table)
    x, y = (np.log1p(table) - means) / spreads, np.log(ratios)
    centred = y - y.mean()
    best, prices = np.inf, np.zeros(len(names))
    for penalty in PENALTIES:
        inverse = np.linalg.inv(x.T @ x + penalty * np.eye(len(names)))
        left_out = (centred - x @ inverse @ x.T @ centred) / (1 - np.einsum("ij,jk,ik->i", x, inverse, x) - 1 / len(y))
        if (error := float((left_out**2).mean())) < best:
            best, prices = error, inverse @ x.T @ centred
    return Predictor(
        about=about,
        kind="log ridge",
        names=names,
        prices=_short(prices),
        offset=_short([y.mean()])[0],
        means=_short(means),
        spreads=_short(spreads),
    )


def _with_residual(about: About, names: tuple[str, ...], table: Array, ratios: Array) -> Predictor:
    """The linear model times what kernel ridge regression says of its relative error, set by leaving one out."""
    plain = _linear(about, names, table, ratios)
    means, spreads = _moments(table)
    x, y = (np.log1p(table) - means) / spreads, np.log(ratios / _ratios(plain, table))
    best, width = np.inf, WIDTHS[0]
    weights: Any = np.zeros(len(y))
    for candidate in WIDTHS:
        kernel = _kernel(x, x, candidate)
        for noise in NOISES:
            inverse = np.linalg.inv(kernel + noise * np.eye(len(y)))
            error = float(((inverse @ y / np.diag(inverse)) ** 2).mean())
            if error < best:
                best, weights, width = error, inverse @ y, candidate
    return plain.model_copy(
        update={
            "kind": "linear and residual",
            "means": _short(means),
            "spreads": _short(spreads),
            "points": tuple(_short(point) for point in x),
            "weights": _short(weights),
            "width": width,
        }
    )


KINDS: dict[Kind, Callable[[About, tuple[str, ...], Array, Array], Predictor]] = {
    "linear": _linear,
    "log ridge": _log_ridge,
    "linear and residual": _with_residual,
}


def _moments(table: Array) -> tuple[Array, Array]:
    logs = np.log1p(table)
    spreads = logs.std(0)
    return logs.mean(0), np.where(spreads > 1e-9, spreads, 1.0)


def _short(values: Any) -> tuple[float, ...]:
    """As many digits as matter."""
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)


def _cross_validated(
    make: Callable[[About, tuple[str, ...], Array, Array], Predictor],
    about: About,
    names: tuple[str, ...],
    table: Array,
    ratios: Array,
) -> float:
    """Root mean square of the logarithm's error on networks left out."""
    fold = np.random.default_rng(0).permutation(len(ratios)) % FOLDS
    errors = np.empty(len(ratios))
    for index in range(FOLDS):
        out = fold == index
        model = make(about, names, table[~out], ratios[~out])
        errors[out] = np.log(_ratios(model, table[out]) / ratios[out])
    return float(np.sqrt((errors**2).mean()))


def about_of(row: Row, space: str, scale: int, reference_ms: float) -> About:
    """From a row of the reference on that device."""
    return About(
        device=row.device,
        processor=row.machine.processor,
        instruction_sets=row.machine.instruction_sets,
        runtime=row.runtime,
        runtime_version=row.runtime_version,
        recipe=row.recipe,
        threads=row.threads,
        isa=row.isa,
        space=space,
        scale=scale,
        reference=row.model,
        reference_ms=reference_ms,
    )
