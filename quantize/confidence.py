"""Calibrated probabilities: a logistic regression of a network's confidences, and its reliability.

The confidence of a joint is the largest probability of one heatmap cell. It depends on the network and its input size,
so that it is no probability. The regression turns it into the probability that a crop shows a person (presence), and
that a joint is in the image and not covered (visibility).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from quantize.sdk import edgepose_decoder

BINS = 10  # of equal width
RIDGE = 1e-3  # of the weights, for each sample: keeps them finite where a threshold separates the classes
STEPS = 50  # of Newton's method at most

Floats = NDArray[np.float64]


class Confidence(BaseModel):
    """Scale and offset of the logarithm of confidences in the logit of a probability."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    presence: tuple[float, float] = Field(description="of the mean logarithm over the joints")
    visibility: tuple[tuple[float, float], ...] = Field(description="of the logarithm of each joint's confidence")

    def presence_of(self, confidence: NDArray[np.float32]) -> Floats:
        """Return the probability (...) that crops show a person, of confidences (..., J)."""
        return np.asarray(edgepose_decoder.presence(confidence, {"confidence": self.model_dump()}))

    def visibility_of(self, confidence: NDArray[np.float32]) -> Floats:
        """Return the probability (..., J) that joints are in the image and not covered, of confidences (..., J)."""
        return edgepose_decoder.visibility(confidence, {"confidence": self.model_dump()})


class Reliability(BaseModel):
    """Agreement of probabilities with what happened, in bins of equal width.

    count: predictions in each bin; predicted, observed: mean probability, and fraction of them that came true (0 in an
        empty bin); error: expected calibration error, the mean distance of the two, weighted by `count`; separation:
        area under the ROC curve, the probability that a case that came true has a higher one than a case that did not
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: tuple[int, ...]
    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    error: float
    separation: float


def fit_logistic(values: Floats, true: NDArray[np.bool_]) -> tuple[float, float]:
    """Return scale and offset of the logit of `true` (N,) over `values` (N,): logistic regression by Newton's method.

    The offset alone is fitted if all values are equal. Classes are weighted as they occur.

    Raises:
        ValueError: one of the classes does not occur.
    """
    if true.all() or not true.any():
        raise ValueError("fit_logistic: needs cases of both classes")
    middle = float(values.mean())
    spread = float(values.std()) if np.ptp(values) > 0 else 1.0  # equal values have a deviation of 1e-16
    x = np.stack([(values - middle) / spread, np.ones(len(values))], 1)
    weights = np.zeros(2)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - true) + RIDGE * len(x) * weights * [1, 0]
        hessian = (x * (p * (1 - p))[:, None]).T @ x + len(x) * np.diag([RIDGE, 1e-9])
        step = np.linalg.solve(hessian, gradient)
        weights = weights - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    scale = weights[0] / spread
    return round(float(scale), 5), round(float(weights[1] - scale * middle), 5)


def fit_confidence(
    confidence: NDArray[np.float32], person: NDArray[np.bool_], visible: NDArray[np.bool_], known: NDArray[np.bool_]
) -> Confidence:
    """Fit both calibrations.

    Args:
        confidence: (N, J) of crops with and without a person.
        person: (N,) whether a crop shows a person.
        visible: (N, J) whether a joint is in the image and not covered.
        known: (N, J) whether `visible` is known. A joint with few cases of a class has the fit of all joints.

    Raises:
        ValueError: no crop with, or no crop without a person; or no joint that is visible, or none that is not.
    """
    logs = np.log(confidence.astype(np.float64) + edgepose_decoder.LEAST_CONFIDENCE)
    common = fit_logistic(logs[known], visible[known])
    joints = []
    for joint in range(confidence.shape[1]):
        own = visible[known[:, joint], joint]
        both = min(own.sum(), (~own).sum()) >= BINS
        joints.append(fit_logistic(logs[known[:, joint], joint], own) if both else common)
    return Confidence(presence=fit_logistic(logs.mean(1), person), visibility=tuple(joints))


def reliability(probability: Floats, true: NDArray[np.bool_]) -> Reliability:
    """Return the reliability of probabilities (N,) of events (N,)."""
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    predicted = np.bincount(bins, probability, BINS) / np.maximum(count, 1)
    observed = np.bincount(bins, true, BINS) / np.maximum(count, 1)
    error = float((count * np.abs(predicted - observed)).sum() / max(len(true), 1))
    return Reliability(
        count=tuple(count.tolist()),
        predicted=_rounded(predicted),
        observed=_rounded(observed),
        error=round(error, 4),
        separation=round(separation(probability, true), 4),
    )


def separation(score: Floats, true: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve of scores (N,); 0.5 if one of the classes does not occur."""
    values, rank = np.unique(score, return_inverse=True)
    positive, negative = np.bincount(rank[true], minlength=len(values)), np.bincount(rank[~true], minlength=len(values))
    if not positive.sum() or not negative.sum():
        return 0.5
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def _rounded(values: Sequence[float] | Floats) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
