"""Triangulation of the joints of people seen by several calibrated cameras at the same time.

A joint is triangulated by RANSAC over the views: every pair of views proposes a point (direct linear transformation:
Hartley and Zisserman, Multiple View Geometry, 2nd edition, section 12.2), the proposal that agrees with the most views
wins, and the point is fitted to these views. People are associated across views by the error of their joints when two
views are triangulated, which is small only for the same person.

Errors are relative to the person's size in the view, so that they do not depend on resolution and distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from explore.data.label.calibration import Array, CalibratedCamera

INLIER = 0.04  # reprojection error up to which a view agrees with a point, relative to the person's size in the view
SAME_PERSON = 0.05  # median error of two views above which they show different people
MIN_ANGLE = np.radians(4.0)  # between the rays of two views; smaller angles leave the depth open
REFITS = 2
EXCHANGED_GAIN = 3  # joints that must agree in addition before the sides of a view are exchanged


@dataclass(frozen=True, eq=False)
class Observation:
    """One person in one view.

    view: index of the camera; px: (K, 2) joints in px; weights: (K,) 0 to 1; size: of the person, px; number: of the
    person's track in this video
    """

    view: int
    px: Array
    weights: Array
    size: float
    number: int = 0


@dataclass(frozen=True, eq=False)
class Triangulated:
    """The joints of one person.

    points: (K, 3) world coordinates in the unit of the calibration; NaN where no two views see the joint
    errors: (V, K) reprojection error in px of each view that saw the person, in the order of `views`
    agree:  (V, K) whether a view agrees with the point
    views:  (V,) index of the camera of each view
    """

    points: Array
    errors: Array
    agree: NDArray[np.bool_]
    views: NDArray[np.int64]


def triangulate(people: Sequence[Observation], cameras: Sequence[CalibratedCamera]) -> Triangulated:
    """Return the joints of one person seen in at least two views.

    Joints with weight 0 in a view are not used from it. A joint on whose point no two views agree is still the best
    proposal, with `agree` False in all views.
    """
    own = [cameras[person.view] for person in people]
    seen = np.stack([camera.undistort(person.px) for camera, person in zip(own, people, strict=True)])  # (V, K, 2)
    weights = np.stack([person.weights for person in people])
    focal = np.array([camera.f.mean() for camera in own])
    limits = INLIER * np.array([person.size for person in people])
    projections = np.stack([np.column_stack([camera.rotation, camera.translation]) for camera in own])
    scale = (focal / limits)[:, None]

    best: Array = np.full((seen.shape[1], 3), np.nan)
    most = np.zeros(seen.shape[1])
    for pair in combinations(range(len(people)), 2):
        chosen = np.zeros(len(people), bool)
        chosen[list(pair)] = True
        used = weights * chosen[:, None]
        points = _fit(seen, projections, used)
        errors = _errors(points, seen, projections) * scale
        possible = (used > 0).sum(0) == 2
        possible &= (_depths(points, projections)[chosen] > 0).all(0) & (_angle(points, own, pair) > MIN_ANGLE)
        # agreeing views count, closer ones more: a truncated quadratic, as in MSAC
        gain = (weights * np.maximum(1 - errors**2, 0)).sum(0) + 1e-6 / (1 + errors[chosen].max(0))
        better = possible & (gain > most)
        best[better], most[better] = points[better], gain[better]
    agree = _agree(best, seen, projections, weights, scale)
    for _ in range(REFITS):
        enough = agree.sum(0) >= 2
        depths = np.where(agree, _depths(best, projections), 1.0)
        refined = _fit(seen, projections, agree * weights * scale / depths)  # algebraic errors become those in px
        best = np.where(enough[:, None], refined, best)
        agree = _agree(best, seen, projections, weights, scale)
    agree &= agree.sum(0) >= 2
    errors = _errors(best, seen, projections) * focal[:, None]
    return Triangulated(best, errors, agree, np.array([person.view for person in people]))


def with_sides(
    people: Sequence[Observation], cameras: Sequence[CalibratedCamera], flip_order: NDArray[np.int64]
) -> list[Observation]:
    """Return the views of one person with left and right exchanged in views where this makes more joints agree.

    Pose networks confuse the sides of people seen from behind or from the side, often in one view only.
    """
    best = list(people)
    most = int(triangulate(best, cameras).agree.sum())
    for row, person in enumerate(people):
        exchanged = replace(person, px=person.px[flip_order], weights=person.weights[flip_order])
        trial = [*best[:row], exchanged, *best[row + 1 :]]
        count = int(triangulate(trial, cameras).agree.sum())
        if count >= most + EXCHANGED_GAIN:
            best, most = trial, count
    return best


def pair_error(a: Observation, b: Observation, cameras: Sequence[CalibratedCamera]) -> float:
    """Return the median Sampson error of two views' joints, relative to the person's size; infinite without any."""
    seen = (a.weights > 0) & (b.weights > 0)
    if not seen.any():
        return float("inf")
    one, other = cameras[a.view], cameras[b.view]
    errors = sampson_errors(rays(one, a.px), rays(other, b.px), essential_matrix(one, other))
    return float(np.median(errors[seen])) / relative_size(a.size, b.size, one, other)


def rays(camera: CalibratedCamera, px: Array) -> Array:
    """Return pixels (..., 2) as points (..., 3) in the plane at depth 1."""
    flat = camera.undistort(px.reshape(-1, 2))
    return np.column_stack([flat, np.ones(len(flat))]).reshape(*px.shape[:-1], 3)


def essential_matrix(a: CalibratedCamera, b: CalibratedCamera) -> Array:
    """Return E with x_b E x_a = 0 for the rays of one point in two cameras."""
    rotation = b.rotation @ a.rotation.T
    x, y, z = b.translation - rotation @ a.translation
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation


def sampson_errors(a: Array, b: Array, essential: Array) -> Array:
    """Return the reprojection errors (...) of pairs of rays (..., 3) to first order, in the plane at depth 1.

    Source: Hartley and Zisserman, section 11.4.3.
    """
    to_b, to_a = a @ essential.T, b @ essential
    spread = (to_b[..., :2] ** 2).sum(-1) + (to_a[..., :2] ** 2).sum(-1)
    errors: Array = np.abs((b * to_b).sum(-1)) / np.sqrt(np.maximum(spread, 1e-24))
    return errors


def relative_size(a: float, b: float, one: CalibratedCamera, other: CalibratedCamera) -> float:
    """Return the mean size of a person in two views, in the plane at depth 1. a, b: px."""
    return float(a / one.f.mean() + b / other.f.mean()) / 2


def associate(people: Sequence[Observation], cameras: Sequence[CalibratedCamera]) -> list[list[Observation]]:
    """Return the views of each person that at least two cameras see, the most views first.

    Pairs of views are joined in the order of their error, up to SAME_PERSON, unless this would give a person two views
    of one camera or a view that fits none of the others on average.
    """
    errors = {
        (i, j): pair_error(people[i], people[j], cameras)
        for i, j in combinations(range(len(people)), 2)
        if people[i].view != people[j].view
    }
    group_of = {index: [index] for index in range(len(people))}
    for (i, j), error in sorted(errors.items(), key=lambda item: item[1]):
        first, second = group_of[i], group_of[j]
        if error > SAME_PERSON or first is second:
            continue
        between = [errors.get((min(a, b), max(a, b)), np.inf) for a in first for b in second]
        if np.mean(between) <= SAME_PERSON:
            merged = first + second
            group_of.update(dict.fromkeys(merged, merged))
    unique = {id(group): group for group in group_of.values() if len(group) > 1}
    return [[people[index] for index in sorted(group)] for group in sorted(unique.values(), key=len, reverse=True)]


def _fit(rays: Array, projections: Array, weights: Array) -> Array:
    """Return the points (K, 3) that minimise the weighted algebraic error of the views with weight above 0."""
    rows = rays[..., None] * projections[:, None, None, 2] - projections[:, None, :2]  # (V, K, 2, 4)
    system = (rows * weights[..., None, None]).transpose(1, 0, 2, 3).reshape(rays.shape[1], -1, 4)
    solution: Array = np.linalg.svd(system)[2][:, -1]
    w = solution[:, 3:]
    points: Array = solution[:, :3] / np.where(np.abs(w) > 1e-12, w, 1e-12)
    return points


def _errors(points: Array, rays: Array, projections: Array) -> Array:
    """Return the distance (V, K) of the projected points from the observed ones, in the plane at depth 1."""
    cam = np.einsum("vab,kb->vka", projections[:, :, :3], points) + projections[:, None, :, 3]
    depth = np.where(np.abs(cam[..., 2:]) > 1e-9, cam[..., 2:], 1e-9)
    distance: Array = np.linalg.norm(cam[..., :2] / depth - rays, axis=-1)
    return np.where(np.isnan(distance), np.inf, distance)


def _depths(points: Array, projections: Array) -> Array:
    depths: Array = np.einsum("vb,kb->vk", projections[:, 2, :3], points) + projections[:, 2, 3:]
    return depths


def _angle(points: Array, cameras: Sequence[CalibratedCamera], pair: tuple[int, int]) -> Array:
    """Return the angle (K,) in rad at which the rays of two cameras meet."""
    a, b = (points + camera.rotation.T @ camera.translation for camera in (cameras[pair[0]], cameras[pair[1]]))
    cosine = (a * b).sum(-1) / np.maximum(np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1), 1e-12)
    angle: Array = np.arccos(np.clip(cosine, -1, 1))
    return np.minimum(angle, np.pi - angle)


def _agree(points: Array, rays: Array, projections: Array, weights: Array, scale: Array) -> NDArray[np.bool_]:
    close = _errors(points, rays, projections) * scale <= 1
    seen: NDArray[np.bool_] = close & (weights > 0) & (_depths(points, projections) > 0)
    return seen
