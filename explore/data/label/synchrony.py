"""Checks that videos show one scene at the same time through the cameras of a calibration.

The check compares all pairs of videos by the reprojection error of the joints when two views are triangulated, to first
order (Sampson error: Hartley and Zisserman, Multiple View Geometry, 2nd edition, section 11.4.3). If the error becomes
much smaller when one video is shifted in time, the videos are not synchronised; if no shift makes it small, the
calibration describes other cameras.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from arch.errors import InputError
from explore.data.label.calibration import Array, CalibratedCamera
from explore.data.label.triangulation import (
    Observation,
    associate,
    essential_matrix,
    rays,
    relative_size,
    sampson_errors,
    triangulate,
)
from explore.data.sample import evenly_spread

MAX_SYNCHRONOUS_ERROR = 0.02  # relative error of a pair of videos that show the same moment through the right cameras
MAX_SHIFTED_RATIO = (
    0.45  # product over a view's pairs of the relative decreases of the error, below which the view is shifted
)
MIN_OVERLAP = 0.5  # fraction of the shorter track that must remain when one is shifted
MAX_SHIFT_S = 10.0
MAX_GAP_S = 0.5  # between two labelled frames of one track that are interpolated
MIN_FRAMES, COMPARED_FRAMES = 5, 100  # labelled frames of a track that are needed, and that are compared
MIN_AGREEING = 0.5  # fraction of a person's joints, and of all frames, that must agree with most of the views
MIN_AGREEING_FRAMES = 0.1  # fraction of the frames of a single view, in which the teacher may often be wrong


@dataclass(frozen=True, eq=False)
class Track:
    """One person in one video. frames: (T,) ascending frame numbers; px: (T, K, 2); weights: (T, K); size: px."""

    frames: Array
    px: Array
    weights: Array
    size: float


def check_views(
    frames: Mapping[int, Sequence[Observation]],
    cameras: Sequence[CalibratedCamera],
    names: Sequence[str],
    fps: float,
    where: str,
) -> None:
    """Check that the videos `names` are synchronised and that the calibration describes their cameras.

    frames: observations of all views by frame number; where: the calibration, for messages

    Raises:
        InputError: videos that are not synchronised, with the shift of each, or a calibration of other cameras.
    """
    delays = _delays(frames, cameras, fps)
    if delays:
        listed = ", ".join(
            f"{names[view]} shows the same moment {abs(delay)} frames {'later' if delay > 0 else 'earlier'}"
            for view, delay in delays.items()
        )
        raise InputError(
            f"{where}: the videos are not synchronised: {listed} than the others (median reprojection error "
            f"{_median_error(frames, cameras, delays):.1f} px); cut them so that they start at the same moment"
        )
    share = agreement(frames, cameras)
    if not share:
        return
    wrong = list(share) if np.mean(list(share.values())) < MIN_AGREEING else []
    wrong = [view for view, value in share.items() if value < MIN_AGREEING_FRAMES] or wrong
    if not wrong:
        return
    own = names[wrong[0]] if len(wrong) == 1 else ", ".join(names[view] for view in share)
    raise InputError(
        f"{where}: the calibration is not that of the cameras of {own}: median reprojection error "
        f"{_median_error(frames, cameras, wrong):.0f} px, at every shift in time; give the calibration of these cameras, and name "
        "each video like its camera"
    )


def agreement(frames: Mapping[int, Sequence[Observation]], cameras: Sequence[CalibratedCamera]) -> dict[int, float]:
    """Return the fraction of the frames of each view in which it agrees with most of the views that see people.

    Frames in which only one view sees people do not count.
    """
    seen: Counter[int] = Counter()
    agreed: Counter[int] = Counter()
    for people in frames.values():
        views = {person.view for person in people}
        if len(views) < 2:
            continue
        seen.update(views)
        good: set[int] = set()
        for group in associate(people, cameras):
            found = triangulate(group, cameras)
            fine = [
                int(view)
                for view, joints in zip(found.views, found.agree, strict=True)
                if joints.mean() >= MIN_AGREEING
            ]
            if len(fine) > len(views) / 2:
                good.update(fine)
        agreed.update(good)
    return {view: agreed[view] / count for view, count in sorted(seen.items())}


def _median_error(
    frames: Mapping[int, Sequence[Observation]], cameras: Sequence[CalibratedCamera], views: Collection[int]
) -> float:
    """Return the median reprojection error in px in some views, of the largest person of each view, taken for one."""
    errors = []
    for people in frames.values():
        largest = {person.view: person for person in sorted(people, key=lambda person: person.size)}
        if len(largest) > 1:
            found = triangulate(list(largest.values()), cameras)
            errors.append(found.errors[np.isin(found.views, list(views))].ravel())
    every = np.concatenate(errors) if errors else np.empty(0)
    return float(np.median(every[np.isfinite(every)])) if np.isfinite(every).any() else float("nan")


def _delays(
    frames: Mapping[int, Sequence[Observation]], cameras: Sequence[CalibratedCamera], fps: float
) -> dict[int, int]:
    """Return the delay in frames of each view that is not synchronised with most others; empty if all are.

    The delays minimise the sum over all pairs of views of the logarithm of the pair's error.
    """
    tracks = _tracks(frames, len(cameras))
    limit = round(MAX_SHIFT_S * fps)
    curves: dict[tuple[int, int], Array] = {}
    for a, b in combinations([view for view in range(len(cameras)) if tracks[view]], 2):
        curve = _errors_by_shift(tracks[a], tracks[b], (cameras[a], cameras[b]), range(-limit, limit + 1), fps)
        if np.isfinite(curve[limit]):
            curves[a, b] = np.log(np.maximum(np.where(np.isfinite(curve), curve, np.inf), 1e-6))
    views = sorted({view for pair in curves for view in pair})
    if not views:
        return {}
    starts = [{view: _best_shift(curves, limit, start, view) for view in views} for start in views]
    delays = min((_descend(curves, limit, start) for start in starts), key=lambda found: _cost(curves, limit, found))
    values, counts = np.unique(list(delays.values()), return_counts=True)
    usual = delays[views[0]] if counts.max() == 1 else int(values[counts.argmax()])
    late = {view: delay - usual for view, delay in delays.items() if delay != usual}
    for view in list(late):
        own = {pair: curve for pair, curve in curves.items() if view in pair}
        error, still = (_cost(own, limit, found) for found in (delays, delays | {view: usual}))
        if error - still > np.log(MAX_SHIFTED_RATIO) or error / len(own) > np.log(MAX_SYNCHRONOUS_ERROR):
            del late[view]
    if not late:
        return {}
    shifted, given = (agreement(observed, cameras) for observed in (_shifted(frames, late), frames))
    if np.mean(list(shifted.values())) < MIN_AGREEING:
        return {}  # another calibration looks shifted, too
    if np.mean([shifted.get(view, 0.0) for view in late]) < np.mean([given.get(view, 0.0) for view in late]):
        return {}  # short tracks of several people may fit better at a wrong shift
    return late


def _cost(curves: Mapping[tuple[int, int], Array], limit: int, delays: Mapping[int, int]) -> float:
    """Return the sum of the logarithms of the errors of all pairs at given delays; infinite beyond the limit."""
    total = 0.0
    for (a, b), curve in curves.items():
        shift = delays[b] - delays[a] + limit
        total += float(curve[shift]) if 0 <= shift < len(curve) else np.inf
    return total


def _best_shift(curves: Mapping[tuple[int, int], Array], limit: int, start: int, view: int) -> int:
    """Return the best shift of a view relative to another one, 0 if they are not compared."""
    if (start, view) in curves:
        return int(np.argmin(curves[start, view])) - limit
    return limit - int(np.argmin(curves[view, start])) if (view, start) in curves else 0


def _descend(curves: Mapping[tuple[int, int], Array], limit: int, delays: dict[int, int]) -> dict[int, int]:
    """Return delays of least cost, improved one view at a time."""
    best = _cost(curves, limit, delays)
    while True:
        before = best
        for view in delays:
            own = {pair: curve for pair, curve in curves.items() if view in pair}
            options = [delays | {view: delay} for delay in range(-limit, limit + 1)]
            chosen = min(options, key=lambda option: _cost(own, limit, option))
            if (cost := _cost(curves, limit, chosen)) < best:
                delays, best = chosen, cost
        if best >= before:
            return delays


def _shifted(frames: Mapping[int, Sequence[Observation]], delays: Mapping[int, int]) -> dict[int, list[Observation]]:
    """Return the observations as if the videos were synchronised, to the nearest labelled frame."""
    numbers = np.array(sorted(frames))
    step = int(np.diff(numbers).min()) if len(numbers) > 1 else 1
    found: dict[int, list[Observation]] = {}
    for number, people in frames.items():
        for person in people:
            moved = number - step * round(delays.get(person.view, 0) / step)
            found.setdefault(moved, []).append(person)
    return found


def _tracks(frames: Mapping[int, Sequence[Observation]], views: int) -> list[list[Track]]:
    """Return the tracks of at least MIN_FRAMES labelled frames of each video."""
    found: list[dict[int, list[tuple[int, Observation]]]] = [{} for _ in range(views)]
    for number, people in sorted(frames.items()):
        for person in people:
            found[person.view].setdefault(person.number, []).append((number, person))
    return [
        [
            Track(
                np.array([number for number, _ in track], np.float64),
                np.stack([person.px for _, person in track]),
                np.stack([person.weights for _, person in track]),
                float(np.median([person.size for _, person in track])),
            )
            for track in tracks.values()
            if len(track) >= MIN_FRAMES
        ]
        for tracks in found
    ]


def _errors_by_shift(
    first: Sequence[Track],
    second: Sequence[Track],
    cameras: tuple[CalibratedCamera, CalibratedCamera],
    shifts: range,
    fps: float,
) -> Array:
    """Return the relative error (S,) if the second video's frame t + shift belongs to the first one's frame t.

    It is the median over the people of the first video of the error to the person in the second that fits best; NaN
    for shifts at which the tracks hardly overlap.
    """
    errors = np.full((len(first), len(shifts)), np.nan)
    for row, track in enumerate(first):
        for other in second:
            if other.frames[-1] < track.frames[0] + shifts[0] or other.frames[0] > track.frames[-1] + shifts[-1]:
                continue  # they never overlap
            errors[row] = np.fmin(errors[row], _track_errors(track, other, cameras, shifts, fps))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # shifts without overlap
        median: Array = np.nanmedian(errors, 0)
    return median


def _track_errors(
    first: Track, second: Track, cameras: tuple[CalibratedCamera, CalibratedCamera], shifts: range, fps: float
) -> Array:
    """Return the median error (S,) over frames and joints of two tracks, of which the second is shifted."""
    essential = essential_matrix(*cameras)
    chosen = evenly_spread(len(first.frames), COMPARED_FRAMES)
    times, seen = first.frames[chosen], first.weights[chosen] > 0
    own, others = rays(cameras[0], first.px[chosen]), rays(cameras[1], second.px)
    needed = max(MIN_FRAMES, MIN_OVERLAP * min(len(times), len(second.frames)))
    size = relative_size(first.size, second.size, *cameras)
    errors = np.full(len(shifts), np.nan)
    for index, shift in enumerate(shifts):
        moved, visible = _at(second, others, times + shift, MAX_GAP_S * fps)
        together = visible & seen
        if together.any(1).sum() >= needed:
            errors[index] = np.median(sampson_errors(own, moved, essential)[together]) / size
    return errors


def _at(track: Track, seen: Array, times: Array, max_gap: float) -> tuple[Array, NDArray[np.bool_]]:
    """Return rays (T, K, 3) and visibility (T, K) at other times, interpolated between neighbouring labelled frames."""
    after = np.clip(np.searchsorted(track.frames, times), 1, len(track.frames) - 1)
    before = after - 1
    gap = track.frames[after] - track.frames[before]
    share = ((times - track.frames[before]) / gap)[:, None]
    inside = (times >= track.frames[0]) & (times <= track.frames[-1]) & (gap <= max_gap)
    moved = seen[before] * (1 - share[..., None]) + seen[after] * share[..., None]
    visible = (track.weights[before] > 0) & (track.weights[after] > 0) & inside[:, None]
    return moved, visible
