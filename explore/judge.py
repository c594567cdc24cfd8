"""What a prediction is worth: millimetres on the test part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from explore.data.crop import Evaluation, evaluation_arrays, sample_crop
from explore.data.sample import Dataset
from explore.metrics import mean_pose_error, score


@dataclass(frozen=True)
class Accuracy:
    """Mean errors over the test part in mm: after root alignment, and after Procrustes alignment."""

    mpjpe: float
    pa_mpjpe: float


@dataclass(frozen=True)
class Judge:
    """Train and test part of one data set at one input size; pictures are decoded on first use and kept."""

    train: Dataset
    test: Dataset
    size: int

    @cached_property
    def evaluation(self) -> Evaluation:
        return evaluation_arrays(self.test, self.size)

    @cached_property
    def mean_pose_mm(self) -> float:
        """Error of always answering the training part's mean pose: what a network that learned nothing gets."""
        return float(mean_pose_error(self.train, self.test))

    def score(self, normalised: NDArray[np.float32]) -> Accuracy:
        """Accuracy of normalised predictions (N, J, 3) on the whole test part."""
        scores = score(self.evaluation.to_camera(normalised), self.test)
        return Accuracy(float(scores.mpjpe), float(scores.pa_mpjpe))

    def calibration(self, count: int, seed: int) -> NDArray[np.uint8]:
        """`count` unaugmented training crops (count, S, S, 3), the same for the same seed."""
        order = np.random.default_rng((seed, 2)).permutation(len(self.train))
        chosen = [int(index) for index in np.resize(order, count)]
        return np.stack([sample_crop(self.train, index, self.size)[0] for index in chosen])
