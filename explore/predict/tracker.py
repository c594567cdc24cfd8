"""Tracking of people through the frames of a video."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from explore.data.crop import clip_box
from explore.data.framing import Region
from explore.predict.boxes import Box
from explore.predict.detector import (
    BOX_SCALE,
    SAME_PERSON_IOU,
    TILE_FRACTION,
    Detector,
    full_region,
    iou,
    is_part,
    tiles,
)
from quantize.sdk.edgepose_decoder import REGION_SCALE

SEARCH_SCALE = 2.2  # side of the region searched around a track, in sides of its box
FULL_FRAME_EVERY, TILES_EVERY = 0.2, 1.0  # s
MAX_MISSED = 0.2  # s without a detection after which a track ends, but not before `MIN_MISSED` frames
MIN_MISSED = 2
HALF_LIFE = 0.04  # s after which an old box has half of the weight in the box of its track
CONFIRM_EVERY = 1.0  # s after which a followed person must have been detected again
REDETECT_BELOW = 0.6  # confidence of a followed person, relative to the track's mean
DRIFTED_IOU = 0.5  # of a followed person's box and the detected one, below which the detector gives the region again
DUPLICATE_IOU = 0.8  # of the boxes of two followed people, above which they are one person
MEAN_WEIGHT = 0.1  # of a frame in the mean confidence of its track
TIME_TOLERANCE = 1e-3  # s by which timestamps are rounded


@dataclass
class _Track:
    """seen_s: time of the last detection; region: in which the person is followed; confidence: mean over the frames."""

    number: int
    box: np.ndarray
    seen_s: float
    missed: int = 0
    region: Region | None = None
    confidence: float = 0.0


@dataclass
class Tracker:
    """Gives each person a number that stays the same from frame to frame.

    Every frame is searched around the tracks; in addition, every 0.2 s (every frame while there is no track) in full,
    and every second in tiles. Detections are assigned to tracks by the largest total intersection over union.

    People who are followed (`follow`) are where their joints of the frame before were, and are searched for only if
    they were not detected for a second. A detection that contains the box of a followed person is no new person. Of two
    tracks that follow one person, the one that has just moved there is detected again.
    """

    detector: Detector
    _tracks: list[_Track] = field(default_factory=list)
    _last_number: int = 0
    _full_s: float = -math.inf
    _tiles_s: float = -math.inf
    _time_s: float = -math.inf

    def update(self, image: np.ndarray, time_s: float) -> list[Box]:
        """Return the numbered boxes of the next frame (H, W, 3) RGB uint8, which is shown at `time_s`."""
        for track in self._tracks:
            if track.region is not None:
                track.box = _box_of_region(track.region, image, track.box)
        searched = [
            track.region is None or time_s - track.seen_s >= CONFIRM_EVERY - TIME_TOLERANCE for track in self._tracks
        ]
        regions = [_search_region(track.box, image) for track, due in zip(self._tracks, searched, strict=True) if due]
        if not self._tracks or time_s - self._full_s >= FULL_FRAME_EVERY - TIME_TOLERANCE:
            regions.append(full_region(image))
            self._full_s = time_s
        if time_s - self._tiles_s >= TILES_EVERY - TIME_TOLERANCE:
            regions += tiles(image, TILE_FRACTION)
            self._tiles_s = time_s
        detections = self.detector.detect_in(image, regions) if regions else np.empty((0, 4))
        weight = 1 - 0.5 ** ((time_s - self._time_s) / HALF_LIFE)  # of a new detection in the box of its track
        self._time_s = time_s

        boxes = np.array([track.box for track in self._tracks]).reshape(-1, 4)
        is_followed = np.array([[track.region is not None] for track in self._tracks], bool).reshape(-1, 1)
        overlaps = iou(boxes, detections)
        overlaps[(overlaps <= SAME_PERSON_IOU) & ~(is_followed & is_part(boxes, detections))] = 0
        pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
        matches = {row: column for row, column in pairs if overlaps[row, column] > 0}
        for index, track in enumerate(self._tracks):
            if index in matches:
                if track.region is not None and overlaps[index, matches[index]] < DRIFTED_IOU:
                    track.region, track.box = None, detections[matches[index]]
                elif track.region is None:
                    track.box = track.box + weight * (detections[matches[index]] - track.box)
                track.seen_s, track.missed = time_s, 0
            elif searched[index]:
                track.missed, track.region = track.missed + 1, None
        self._tracks = [
            track
            for track in self._tracks
            if track.missed < MIN_MISSED or time_s - track.seen_s <= MAX_MISSED + TIME_TOLERANCE
        ]
        for index in sorted(set(range(len(detections))) - set(matches.values())):
            self._last_number += 1
            self._tracks.append(_Track(self._last_number, detections[index], time_s))
        return [Box(track.number, track.box) for track in self._tracks]

    @property
    def followed(self) -> set[int]:
        """Numbers of the people who are followed."""
        return {track.number for track in self._tracks if track.region is not None}

    def follow(self, people: Mapping[int, tuple[Region | None, float]]) -> None:
        """Follow people by their joints: region of interest, if there is one, and confidence in this frame, by number.

        A person whose confidence drops is detected again in the next frame.
        """
        for track in self._tracks:
            region, confidence = people.get(track.number, (None, 0.0))
            lost = region is None or confidence < REDETECT_BELOW * track.confidence
            track.region = None if lost else region
            weight = MEAN_WEIGHT if track.confidence else 1.0
            track.confidence += weight * (confidence - track.confidence)
        kept: list[np.ndarray] = []
        for track in sorted(self._tracks, key=_change):
            if track.region is None:
                continue
            box = _square(track.region)
            if kept and iou(box[None], np.array(kept)).max() > DUPLICATE_IOU:
                track.region = None
            else:
                kept.append(box)


def _change(track: _Track) -> float:
    """Return how much the box of a followed person has changed since the last frame, from 0 to 1."""
    return 0.0 if track.region is None else 1 - float(iou(track.box[None], _square(track.region)[None])[0, 0])


def _square(region: Region) -> np.ndarray:
    """Return the box of a region, as the detector makes it of a circle."""
    half = BOX_SCALE * region.size / REGION_SCALE
    return np.array([*(region.centre - half), 2 * half, 2 * half])


def _box_of_region(region: Region, image: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return the box of a region inside the image."""
    try:
        return clip_box(_square(region), image.shape[1], image.shape[0])
    except ValueError:  # outside the image
        return otherwise


def _search_region(box: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the square around a track's box, cut at the edges of the image."""
    centre, half = box[:2] + box[2:] / 2, SEARCH_SCALE * box[2:].max() / 2
    low = np.maximum(centre - half, 0)
    high = np.minimum(centre + half, [image.shape[1], image.shape[0]])
    return np.concatenate([low, high - low])
