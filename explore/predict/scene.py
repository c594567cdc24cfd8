"""People in one room: the floor under them, and the eye that looks at it from the side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

AZIMUTHS, ELEVATION = (32.0, -32.0, 22.0, -22.0, 45.0, -45.0), 17.0  # degrees round the people, and up
STEEPEST = 0.6  # of the floor against the optical axis, rise / run
FLAT_BELOW = 400.0  # mm of spread in depth, under which feet say little about the slope


@dataclass(frozen=True)
class Floor:
    """The plane y = level + slope * z of camera coordinates (mm, y down)."""

    level: float
    slope: float

    def to_room(self, points: np.ndarray) -> np.ndarray:
        """Camera mm (..., 3) to room mm: x right, y away from the camera along the floor, z above the floor."""
        run = 1 / math.hypot(1, self.slope)
        x, y, z = (points[..., axis] for axis in range(3))
        return np.stack([x, (z + self.slope * y) * run, (self.level + self.slope * z - y) * run], -1)


def find_floor(people: Sequence[np.ndarray]) -> Floor:
    """The floor that the people (J, 3) stand on, nobody below it.

    Its slope along the optical axis (a camera looks down) follows their lowest joints as far as they stand at
    different depths. It serves the picture alone: someone who jumps or sits floats or tilts it a little.
    """
    lowest = np.array([joints[joints[:, 1].argmax()] for joints in people])
    depth, height = lowest[:, 2], lowest[:, 1]
    spread = depth - depth.mean()
    fitted = (spread @ height) / (spread @ spread + len(people) * FLAT_BELOW**2)
    slope = float(np.clip(fitted, -STEEPEST, STEEPEST))
    return Floor(max(float((joints[:, 1] - slope * joints[:, 2]).max()) for joints in people), slope)


@dataclass(frozen=True)
class Eye:
    """A perspective view of a room: rotation (3, 3) into view axes (right, down, away), and a place (3,) mm."""

    rotation: np.ndarray
    place: np.ndarray

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Room mm (..., 3) to view coordinates (..., 2), y down, and to distance along the view (...)."""
        seen = (points - self.place) @ self.rotation.T
        return seen[..., :2] / seen[..., 2:], seen[..., 2]


def look_at(points: np.ndarray, azimuth: float, elevation: float = ELEVATION) -> Eye:
    """An eye outside the ball around points (N, 3) room mm, turned by degrees."""
    middle = (points.min(0) + points.max(0)) / 2
    radius = float(np.linalg.norm(points - middle, axis=1).max())
    a, e = math.radians(azimuth), math.radians(elevation)
    away = np.array([math.sin(a) * math.cos(e), math.cos(a) * math.cos(e), -math.sin(e)])
    right = np.array([math.cos(a), -math.sin(a), 0.0])
    rotation = np.stack([right, np.cross(away, right), away])
    return Eye(rotation, middle - away * (3.2 * radius + 500))


def best_eye(room: np.ndarray) -> Eye:
    """The eye that sees people (N, J, 3) room mm best apart from each other, side by side."""
    eyes = [look_at(room.reshape(-1, 3), azimuth) for azimuth in AZIMUTHS]
    return max(eyes, key=lambda eye: _least_gap(eye.project(room)[0][..., 0]))


def _least_gap(across: np.ndarray) -> float:
    """Smallest distance of two people's middles, in shares of the picture's width; across: (N, J)."""
    middles = np.sort(across.mean(1))
    return float(np.diff(middles).min() / np.ptp(across)) if len(middles) > 1 else 0.0
