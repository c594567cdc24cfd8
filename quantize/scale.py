"""The scale of a person, mm per side of the crop, estimated from the predicted pose by a regression of bone lengths.

The network predicts depths in mm, but x and y in the crop. Their ratio follows from the distance of the person, which
is unknown in photos. The sum of the bone lengths gives it, if its mean is known; the errors of predicted depths make it
too large, though, and people are of different sizes. A linear regression of its logarithm on the length of each bone in
the image and in depth, fitted to the predictions themselves, corrects the bias and weights the bones by their
reliability.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from quantize.sdk import edgepose_decoder

RIDGE = 10.0  # on standardised features

Floats = NDArray[np.float64]


class Scale(BaseModel):
    """log mm per side = offset + size * log(r) + flat . d + deep . h, within low to high.

    r is the root mean square distance of the joints from their mean in the crop, d the lengths of the edges in the crop
    divided by r, and h the differences of depth along the edges in units of 500 mm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    edges: tuple[tuple[int, int], ...] = Field(description="pairs of joints")
    flat: tuple[float, ...] = Field(description="weights of their lengths in the crop")
    deep: tuple[float, ...] = Field(description="weights of their differences of depth")
    size: float
    offset: float
    low: float
    high: float

    def mm_per_side(self, joints: NDArray[np.float32], depth_range_mm: float) -> Floats:
        """Return mm per side of the crop (N,) of normalised joints (N, J, 3)."""
        rules = {"scale": self.model_dump(), "depth_range_mm": depth_range_mm}
        return np.asarray(edgepose_decoder.mm_per_side(joints.astype(np.float64), rules))


def fit_scale(
    joints: NDArray[np.float32], mm_per_side: Floats, edges: Sequence[tuple[int, int]], depth_range_mm: float
) -> Scale:
    """Fit the regression to normalised joints (N, J, 3) and the true mm per side (N,)."""
    first, second = np.array(edges).T
    offsets = joints[..., :2] - joints[..., :2].mean(1, keepdims=True)
    size = np.sqrt(np.square(offsets).sum(2).mean(1))
    flat = np.linalg.norm(offsets[:, first] - offsets[:, second], axis=2) / size[:, None]
    deep = np.abs(joints[:, first, 2] - joints[:, second, 2]) * (depth_range_mm / edgepose_decoder.DEPTH_UNIT_MM)
    features = np.concatenate([flat, deep, np.log(size)[:, None]], 1).astype(np.float64)
    wanted = np.log(mm_per_side)
    mean, spread = features.mean(0), features.std(0) + 1e-9
    x = (features - mean) / spread
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (wanted - wanted.mean())) / spread
    count = len(edges)
    return Scale(
        edges=tuple((int(a), int(b)) for a, b in edges),
        flat=tuple(np.round(weights[:count], 6).tolist()),
        deep=tuple(np.round(weights[count : 2 * count], 6).tolist()),
        size=round(float(weights[-1]), 6),
        offset=round(float(wanted.mean() - mean @ weights), 6),
        low=round(float(wanted.min()), 6),
        high=round(float(wanted.max()), 6),
    )


class ScaleError(BaseModel):
    """Error of estimated scales on people whom they were not fitted on: of the logarithm of their ratio to the truth.

    sd, bias: of the regression; bones_sd, bones_bias: of the sum of bone lengths alone, whose mean is that of the
        training people; constant_sd: of the assumption of a constant
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    people: int
    sd: float
    bias: float
    bones_sd: float
    bones_bias: float
    constant_sd: float


def scale_by_bones(
    joints: NDArray[np.float32], edges: Sequence[tuple[int, int]], square_mm2: float, depth_range_mm: float
) -> Floats:
    """Return mm per side (N,) at which the squared bone lengths of normalised joints (N, J, 3) sum to `square_mm2`."""
    first, second = np.array(edges).T
    difference = joints[:, first].astype(np.float64) - joints[:, second]
    flat, deep = np.square(difference[..., :2]).sum((1, 2)), np.square(difference[..., 2]).sum(1) * depth_range_mm**2
    rest = np.maximum(square_mm2 - deep, square_mm2 / 4)  # predicted depths may be longer than the bones
    return np.sqrt(rest / np.maximum(flat, 1e-9))


def scale_error(estimated: Floats, bones: Floats, true: Floats) -> ScaleError:
    """Return the error of scales (N,) mm per side, beside those by bone lengths and a constant."""
    own, others = np.log(estimated / true), np.log(bones / true)
    return ScaleError(
        people=len(true),
        sd=round(float(own.std()), 4),
        bias=round(float(own.mean()), 4),
        bones_sd=round(float(others.std()), 4),
        bones_bias=round(float(others.mean()), 4),
        constant_sd=round(float(np.log(true).std()), 4),
    )
