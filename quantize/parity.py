"""How far two stages of the same network are apart, in millimetres per joint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Deviation:
    """Distances between the joints of two stages, mm: over all joints, and of each one."""

    mean: float
    p95: float
    max: float
    joint_mean: list[float]
    joint_p95: list[float]
    joint_max: list[float]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def deviation(ours: NDArray[Any], reference: NDArray[Any]) -> Deviation:
    """Of camera coordinates (N, J, 3) in mm, each in the same frame; nothing is aligned.

    Raises:
        ValueError: shapes differ or there is nothing to compare.
    """
    if ours.shape != reference.shape or ours.ndim != 3 or not len(ours):
        raise ValueError(f"deviation: shapes {ours.shape} and {reference.shape}; both should be (N, J, 3), N above 0")
    distances = np.linalg.norm(ours.astype(np.float64) - reference.astype(np.float64), axis=2)
    p95 = np.quantile(distances, 0.95, axis=0)
    return Deviation(
        mean=float(distances.mean()),
        p95=float(np.quantile(distances, 0.95)),
        max=float(distances.max()),
        joint_mean=[round(float(v), 4) for v in distances.mean(0)],
        joint_p95=[round(float(v), 4) for v in p95],
        joint_max=[round(float(v), 4) for v in distances.max(0)],
    )


def crop_mm(normalised: NDArray[Any], mm_per_side: float = 2000.0, depth_range_mm: float = 2000.0) -> NDArray[Any]:
    """Normalised coordinates (N, J, 3) to mm when no camera is known: the crop's side is taken as `mm_per_side`."""
    return (normalised - 0.5) * np.array([mm_per_side, mm_per_side, depth_range_mm])
