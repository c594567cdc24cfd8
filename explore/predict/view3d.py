"""The 3D view beside an image: the ground under the people, a virtual camera beside them, and shared colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from explore.data.colours import limb_colour
from explore.data.skeleton import drawn_edges
from quantize.manifest import Skeleton

INK, BACKGROUND, GROUND, LINE, LINE_1M = "#27303a", "#eef1f5", "#fbfcfd", "#d9dfe7", "#bcc6d2"
SHADOW, OUTLINE = "#aeb8c4", "#1b222b"
TILE = 500.0  # mm between two lines of the ground grid
AZIMUTHS, ELEVATION = (32.0, -32.0, 22.0, -22.0, 45.0, -45.0), 17.0  # degrees
MAX_SLOPE = 0.6  # of the ground against the optical axis, rise / run
SLOPE_PRIOR = 400.0  # mm: with a smaller spread of the people in depth, the fitted slope shrinks towards 0


@dataclass(frozen=True)
class GroundPlane:
    """The plane y = level + slope * z in camera coordinates (mm, y down)."""

    level: float
    slope: float

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Convert camera mm (..., 3) to world mm: x right, y away from the camera along the ground, z up from it."""
        run = 1 / math.hypot(1, self.slope)
        x, y, z = (points[..., axis] for axis in range(3))
        return np.stack([x, (z + self.slope * y) * run, (self.level + self.slope * z - y) * run], -1)


def fit_ground(people: Sequence[np.ndarray]) -> GroundPlane:
    """Fit the ground that people (J, 3), in camera mm, stand on; no joint lies below it.

    The slope along the optical axis is a regularised least-squares fit of each person's lowest joint. It is for
    display only: jumping or sitting people tilt it.
    """
    lowest = np.array([joints[joints[:, 1].argmax()] for joints in people])
    depth, height = lowest[:, 2], lowest[:, 1]
    spread = depth - depth.mean()
    fitted = (spread @ height) / (spread @ spread + len(people) * SLOPE_PRIOR**2)
    slope = float(np.clip(fitted, -MAX_SLOPE, MAX_SLOPE))
    return GroundPlane(ground_level(people, slope), slope)


def ground_level(people: Sequence[np.ndarray], slope: float) -> float:
    """Return the level in mm of the highest ground of this slope that no joint of people (J, 3) lies below."""
    return max(float((joints[:, 1] - slope * joints[:, 2]).max()) for joints in people)


@dataclass(frozen=True)
class ViewCamera:
    """Virtual perspective camera: rotation (3, 3) into axes right, down, forward; position (3,) in world mm."""

    rotation: np.ndarray
    position: np.ndarray

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project world mm (..., 3) to image coordinates (..., 2) at focal length 1, y down, and depth (...)."""
        local = (points - self.position) @ self.rotation.T
        return local[..., :2] / local[..., 2:], local[..., 2]


def look_at(points: np.ndarray, azimuth: float) -> ViewCamera:
    """Place a camera outside the sphere around points (N, 3) in world mm. azimuth: degrees."""
    middle = (points.min(0) + points.max(0)) / 2
    radius = float(np.linalg.norm(points - middle, axis=1).max())
    a, e = math.radians(azimuth), math.radians(ELEVATION)
    forward = np.array([math.sin(a) * math.cos(e), math.cos(a) * math.cos(e), -math.sin(e)])
    right = np.array([math.cos(a), -math.sin(a), 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    return ViewCamera(rotation, middle - forward * (3.2 * radius + 500))


def best_view(world: np.ndarray) -> ViewCamera:
    """Return the camera in which people (N, J, 3), in world mm, are farthest apart from side to side."""
    views = [look_at(world.reshape(-1, 3), azimuth) for azimuth in AZIMUTHS]
    return max(views, key=lambda view: _smallest_gap(view.project(world)[0][..., 0]))


def _smallest_gap(x: np.ndarray) -> float:
    """Return the smallest distance between two people's mean x (N, J), as a fraction of the total width."""
    means = np.sort(x.mean(1))
    return float(np.diff(means).min() / np.ptp(x)) if len(means) > 1 else 0.0


def ground_corners(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the corners (4, 3) in world mm of a rectangle of ground between two corners (2,)."""
    return np.array([[low[0], low[1], 0], [high[0], low[1], 0], [high[0], high[1], 0], [low[0], high[1], 0]])


def ground_grid(low: np.ndarray, high: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield the ends (2, 3) in world mm of each grid line of this ground, and whether it lies on a whole metre."""
    for axis in (0, 1):
        for value in np.arange(low[axis], high[axis] + 1, TILE):
            ends = np.array([[*low, 0.0], [*high, 0.0]])
            ends[:, axis] = value
            yield ends, round(value / TILE) % 2 == 0


def lines_of(skeleton: Skeleton) -> tuple[tuple[int, int], ...]:
    """Return the pairs of joints between which lines are drawn."""
    return drawn_edges(skeleton.joints, skeleton.edges)


def line_colours(skeleton: Skeleton) -> list[str]:
    """Return the colour of each line of a skeleton as `#rrggbb`."""
    return [limb_colour(skeleton.joints[start], skeleton.joints[end]) for start, end in lines_of(skeleton)]
