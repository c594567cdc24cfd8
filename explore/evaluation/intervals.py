"""95% bootstrap intervals of errors, over units that are independent of each other.

Frames of one video resemble each other, and so do videos of one person. A bootstrap over frames would ignore this and
give an interval that is too narrow, so whole subjects are resampled if there are at least MIN_UNITS, else whole clips,
else frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from arch.errors import InputError
from explore.data.sample import Dataset
from explore.data.split import clip_names, file_names, subject_names
from explore.evaluation.metrics import scored_joints

CONFIDENCE = 0.95
RESAMPLES = 2000
MIN_UNITS = 6  # fewer subjects or clips do not show how much they differ
EXACT_UNITS = 100  # up to here units are drawn with replacement, above that the Poisson bootstrap is faster

CHUNK = 40  # resamples computed at once, which fit into the cache; a multiple of 8

# Poisson(1) in 256 equally probable values, with mean and variance of exactly 1: how often a resample has a unit
_FREQUENCIES = np.repeat(np.arange(6, dtype=np.float32), (94, 95, 46, 16, 4, 1))

Errors = NDArray[np.floating]


@dataclass(frozen=True)
class Units:
    """Independent units of a data set.

    kind: subject, clip or frame; labels: (N,) unit of each sample, from 0, or -1 for samples without a scored joint
    """

    kind: str
    labels: NDArray[np.int64]

    @property
    def count(self) -> int:
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class Interval:
    """A value with its 95% confidence interval, all in the same unit of measure.

    unit: independent unit that was resampled (subject, clip or frame); units: number of these
    """

    value: float
    low: float
    high: float
    unit: str
    units: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:.1f} ({self.low:.1f} to {self.high:.1f}, {self.units} {self.unit}s)"


def independent_units(data: Dataset) -> Units:
    """Return the largest units of a data set of which there are at least MIN_UNITS with scored joints."""
    scored: NDArray[np.bool_] = np.any(scored_joints(data), axis=1)
    frames = file_names(data)
    for kind, names in (("subject", subject_names(data)), ("clip", clip_names(data))):
        found = set(np.array(names, object)[scored].tolist())
        if len(found) >= MIN_UNITS and "" not in found:
            return Units("frame" if names == frames else kind, _numbered(names, scored))
    return Units("frame", _numbered(frames, scored))


def _numbered(names: Sequence[str], scored: NDArray[np.bool_]) -> NDArray[np.int64]:
    labels = np.full(len(names), -1, np.int64)
    labels[scored] = np.unique(np.array(names, str)[scored], return_inverse=True)[1]
    return labels


def bootstrap(errors: Errors, units: Units, seed: int = 0) -> Interval:
    """Return the mean of the errors with its 95% interval; NaN if an error of a scored sample is not finite.

    The percentiles are widened for small numbers of units such that the interval of normal values equals that of
    Student's t (expanded percentile interval: Hesterberg, The American Statistician 69, 2015).

    errors: (N,) of each sample, or differences of errors
    """
    scored, count = units.labels >= 0, units.count
    values, labels = np.asarray(errors, np.float64)[scored], units.labels[scored]
    mean = float(values.mean())
    if not np.isfinite(mean):
        return Interval(mean, mean, mean, units.kind, count)
    if count < 2:
        return Interval(mean, -np.inf, np.inf, units.kind, count)
    sums = np.stack([np.bincount(labels, values - mean, count), np.bincount(labels, minlength=count)], 1)
    found = _resampled(sums.astype(np.float64), np.random.default_rng((seed, count)))
    quantile = ndtr(stdtrit(count - 1, (1 - CONFIDENCE) / 2) * np.sqrt(count / (count - 1)))
    low, high = mean + np.quantile(found, [quantile, 1 - quantile])
    return Interval(mean, float(low), float(high), units.kind, count)


def _resampled(sums: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the means (RESAMPLES,) of resampled units. sums: (units, 2) error and number of samples of each."""
    count = len(sums)
    if count <= EXACT_UNITS:
        drawn = sums[rng.integers(0, count, (RESAMPLES, count))].sum(1)
        return drawn[:, 0] / drawn[:, 1]
    means, columns, words = [], sums.astype(np.float32), CHUNK * count // 8
    for _ in range(0, RESAMPLES, CHUNK):
        random = rng.integers(0, 2**64, words, np.uint64).view(np.uint8).reshape(CHUNK, count)
        drawn = _FREQUENCIES.take(random, mode="clip") @ columns
        means.append(drawn[:, 0] / drawn[:, 1])
    return np.concatenate(means).astype(np.float64)


def paired_bootstrap(errors_a: Errors, errors_b: Errors, units: Units) -> Interval:
    """Return the mean difference a - b of the errors (N,) of two models on the same samples, with its 95% interval."""
    if not len(errors_a) == len(errors_b) == len(units.labels):
        raise InputError(
            f"{len(errors_a)} and {len(errors_b)} errors of {len(units.labels)} samples cannot be paired; "
            "evaluate both models on the same frames"
        )
    return bootstrap(np.asarray(errors_a) - np.asarray(errors_b), units)
