"""95% intervals, for `Claim.low` and `Claim.high`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explore.evaluation.evaluator import Evaluator
from explore.evaluation.metrics import joint_errors
from explore.measure.latency import Latency

DRAWS = 1000


def mean_interval(values: NDArray[Any] | Sequence[float]) -> tuple[float, float]:
    """Bootstrap interval of the mean of independent values."""
    found = np.asarray(values, np.float64)
    means = np.random.default_rng(0).choice(found, (DRAWS, len(found))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def ratio_interval(above: Latency, below: Latency) -> tuple[float, float]:
    """Conservative interval of the ratio of two medians, from the interval of each."""
    return above.low_ms / below.high_ms, above.high_ms / below.low_ms


def proportion_interval(count: int, total: int) -> tuple[float, float]:
    """Wilson score interval of a proportion."""
    z = 1.96
    share, spread = count / total, z * math.sqrt(count * (total - count) / total**3 + (z / total) ** 2 / 4)
    middle, scale = share + z**2 / (2 * total), 1 + z**2 / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def mpjpe_difference_interval(evaluator: Evaluator, mine: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """Interval of the difference in MPJPE (mm) of two predictions (N, J, 3) in camera mm on the same test samples."""
    skeleton, true = evaluator.data.skeleton, evaluator.data.joints_cam
    errors = [joint_errors(mm, true, skeleton.root)[:, skeleton.scored] for mm in (mine, other)]
    return mean_interval(np.nanmean(errors[0] - errors[1], 1))
