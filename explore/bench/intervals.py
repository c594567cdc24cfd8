"""95% intervals of what a bench measures, for `Claim.low` and `Claim.high`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explore.judge import Judge
from explore.measure.protocol import Latency
from explore.metrics import joint_errors

DRAWS = 1000


def of_mean(values: NDArray[Any] | Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Of the mean of independent values, by drawing them again."""
    found = np.asarray(values, np.float64)
    means = np.random.default_rng(seed).choice(found, (DRAWS, len(found))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def of_ratio(above: Latency, below: Latency) -> tuple[float, float]:
    """Of the ratio of two medians, from the interval of each: wider than it need be."""
    return above.low_ms / below.high_ms, above.high_ms / below.low_ms


def of_share(count: int, total: int) -> tuple[float, float]:
    """Of a share of independent cases (Wilson 1927)."""
    z = 1.96
    share, spread = count / total, z * math.sqrt(count * (total - count) / total**3 + (z / total) ** 2 / 4)
    middle, scale = share + z**2 / (2 * total), 1 + z**2 / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def of_difference(judge: Judge, mine: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """Of MPJPE beyond another's, mm, over the same test people; joints are camera mm (N, J, 3)."""
    skeleton, true = judge.test.skeleton, judge.test.joints_cam
    errors = [joint_errors(mm, true, skeleton.root)[:, skeleton.scored] for mm in (mine, other)]
    return of_mean(np.nanmean(errors[0] - errors[1], 1))
