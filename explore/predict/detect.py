"""People found in pictures by BlazePose's detector (MediaPipe, Apache-2.0, 3 MB), which ships with edgepose.

It was made for one person who fills much of the picture; smaller ones are found where the picture is looked at in
parts as well. Anchors and decoding as in MediaPipe's pose_detection graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from explore.data.crop import clip_box
from quantize.runtimes.litert import interpreter

MODEL = Path(__file__).with_name("person.tflite")
SIDE = 224  # px of its input
LAYERS = ((28, 2), (14, 2), (7, 6))  # cells of a side, anchors a cell
SURE = 0.5  # least score
SAME = 0.3  # overlap above which two boxes are one person
WITHIN = 0.8  # share of a box inside a larger one above which it is a part of that person
FIT = 0.94  # of the circle that it tells: as large as boxes drawn round people, on rendered and Human3.6M frames
PART = 0.6  # of the longer side, in a search of the whole picture
AROUND = 2.2  # sides of a known person's box, in which they are looked for in the next frame
WHOLE_EVERY, SEARCH_EVERY = 5, 25  # frames
MISSED = 5  # frames that a person is kept where nothing was found
STEADY = 0.5  # share of the new box in the one of a film


class Detector:
    """Loaded once, for pictures of any size (H, W, 3) RGB uint8."""

    def __init__(self, threads: int = 1) -> None:
        self._run = interpreter(MODEL, threads)
        self._entry = self._run.get_input_details()[0]["index"]
        exits = {detail["shape"][-1]: detail["index"] for detail in self._run.get_output_details()}
        self._scores, self._places = exits[1], exits[12]

    def everyone(self, image: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) x, y, w, h px of all people found, the surest first: the whole picture and its parts."""
        return self.within(image, [_whole(image), *_parts(image)])

    def within(self, image: np.ndarray, regions: Sequence[np.ndarray]) -> np.ndarray:
        """Boxes (N, 4) of the people found in squares or oblongs (x, y, w, h px) of the picture, the surest first."""
        height, width = image.shape[:2]
        found = [self._look(image, region) for region in regions]
        scores, boxes = (np.concatenate([one[index] for one in found]) for index in (0, 1))
        kept: list[np.ndarray] = []
        for index in np.argsort(-scores):
            if not kept or not _again(boxes[index], np.array(kept)):
                kept.append(boxes[index])
        inside = (clip_box(box, width, height) for box in kept if _touches(box, width, height))
        return np.array(list(inside)).reshape(-1, 4)

    def _look(self, image: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N,) and boxes (N, 4) px of the picture."""
        x, y, w, h = (round(float(value)) for value in region)
        part = image[max(y, 0) : y + h, max(x, 0) : x + w]
        origin = np.array([max(x, 0), max(y, 0)])
        zoom = SIDE / max(part.shape[:2])
        shown = cv2.resize(
            part, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        )[:SIDE, :SIDE]
        top, left = (SIDE - shown.shape[0]) // 2, (SIDE - shown.shape[1]) // 2
        square = np.full((1, SIDE, SIDE, 3), -1, np.float32)
        square[0, top : top + shown.shape[0], left : left + shown.shape[1]] = shown / 127.5 - 1
        self._run.set_tensor(self._entry, square)
        self._run.invoke()
        scores, boxes = read_answer(
            self._run.get_tensor(self._scores)[0, :, 0], self._run.get_tensor(self._places)[0], anchors()
        )
        boxes[:, :2] = (boxes[:, :2] - [left, top]) / zoom + origin
        boxes[:, 2:] /= zoom
        return scores, boxes


@cache
def anchors() -> np.ndarray:
    """Middles (2254, 2) of its anchors in shares of the input, row by row, the finest layer first."""
    made = []
    for cells, count in LAYERS:
        y, x = np.meshgrid(*[(np.arange(cells) + 0.5) / cells] * 2, indexing="ij")
        made.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), count, 0))
    return np.concatenate(made)


def read_answer(scores: np.ndarray, places: np.ndarray, middles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N,) and boxes (N, 4) px of the input, of the answers that are sure enough.

    scores (A,) before the sigmoid; places (A, 12) px from the anchor: face box, middle of the hips, a point on the
    circle around the whole person, two more.
    """
    sure = scores > math.log(SURE / (1 - SURE))
    points = places[sure].reshape(-1, 6, 2) + SIDE * middles[sure, None]
    hips = points[:, 2]
    reach = np.linalg.norm(points[:, 3] - hips, axis=1)[:, None]
    return 1 / (1 + np.exp(-scores[sure])), np.concatenate([hips - FIT * reach, *[2 * FIT * reach] * 2], 1)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), -1)
    shares: np.ndarray = shared / (np.prod(a[:, 2:], 1)[:, None] + np.prod(b[:, 2:], 1)[None] - shared)
    return shares


def _again(box: np.ndarray, kept: np.ndarray) -> bool:
    """Whether a box (4,) is one of a surer person (N, 4), or of a limb or a piece of clothing within theirs."""
    shares = overlap(box[None], kept)[0]
    areas = kept[:, 2] * kept[:, 3]
    own = box[2] * box[3]
    within = shares * (own + areas) / (1 + shares) / own
    return bool(((shares >= SAME) | ((within > WITHIN) & (areas > own))).any())


def _touches(box: np.ndarray, width: int, height: int) -> bool:
    """Whether some px of the box are in the picture."""
    return bool((np.minimum(box[:2] + box[2:], [width, height]) - np.maximum(box[:2], 0) >= 1).all())


def _whole(image: np.ndarray) -> np.ndarray:
    return np.array([0, 0, image.shape[1], image.shape[0]])


def _parts(image: np.ndarray) -> Iterator[np.ndarray]:
    """Overlapping squares that cover the picture."""
    height, width = image.shape[:2]
    side = PART * max(width, height)
    for y in _starts(height, side):
        for x in _starts(width, side):
            yield np.array([x, y, min(side, width), min(side, height)])


def _starts(length: int, side: float) -> list[float]:
    """Where parts begin along a side: one, two or three, evenly."""
    free = max(length - side, 0)
    count = 1 + math.ceil(2 * free / side)
    return [free * index / max(count - 1, 1) for index in range(count)]


@dataclass
class _Known:
    number: int
    box: np.ndarray
    missed: int = 0


@dataclass
class Follower:
    """People through a film, each with a number that stays.

    Every frame is looked at around those who are known, every WHOLE_EVERY-th (all, while nobody is known) whole, every
    SEARCH_EVERY-th in parts as well.
    """

    detector: Detector
    _known: list[_Known] = field(default_factory=list)
    _frame: int = 0
    _last_number: int = 0

    def next(self, image: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Number and box (4,) px of everybody in the next frame (H, W, 3)."""
        regions = [_near(one.box, image) for one in self._known]
        regions += [_whole(image)] if not regions or self._frame % WHOLE_EVERY == 0 else []
        regions += list(_parts(image)) if self._frame % SEARCH_EVERY == 0 else []
        found = list(self.detector.within(image, regions))
        self._frame += 1
        for one in self._known:
            shares = overlap(one.box[None], np.array(found))[0] if found else np.zeros(1)
            if shares.max() > SAME:
                one.box = one.box + STEADY * (found.pop(int(shares.argmax())) - one.box)
                one.missed = 0
            else:
                one.missed += 1
        self._known = [one for one in self._known if one.missed <= MISSED]
        for box in found:
            self._last_number += 1
            self._known.append(_Known(self._last_number, box))
        return [(one.number, one.box) for one in self._known]


def _near(box: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The square around a person, cut at the picture's edges."""
    side = AROUND * box[2:].max()
    low = np.maximum(box[:2] + box[2:] / 2 - side / 2, 0)
    high = np.minimum(box[:2] + box[2:] / 2 + side / 2, [image.shape[1], image.shape[0]])
    return np.concatenate([low, high - low])
