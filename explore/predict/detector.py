"""Person detection with BlazePose's detector (MediaPipe, Apache-2.0, 3 MB), which is part of the package.

The detector is made for one person who fills much of the image. Smaller people are found in tiles of the image.
Anchors and decoding follow MediaPipe's pose_detection graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from explore.data.crop import clip_box
from explore.predict.boxes import Box
from quantize.runtimes.litert import interpreter

MODEL = Path(__file__).with_name("person.tflite")
INPUT_SIZE = 224  # px
LAYERS = ((28, 2), (14, 2), (7, 6))  # (cells of a side, anchors of a cell)
MIN_SCORE = 0.5
SAME_PERSON_IOU = 0.3  # box of a track and a new one with a larger intersection over union are one person
# Boxes in one image whose centres, the hips, are closer are one person: in half sides of the larger box. Squares around
# people who stand side by side have half of their area in common, so that the intersection over union does not tell.
SAME_HIPS = 0.5
CONTAINED = 0.8  # fraction of a box inside a larger one above which it is a part of that person
# Half the side of a box in radii of the predicted circle. With 0.94 the boxes are as large as the annotated ones on
# rendered and Human3.6M frames.
BOX_SCALE = 0.94
CIRCLE_SEARCH = 1.5  # side of the square in which `circle` searches, in longer sides of the box
TILE_FRACTION = 0.6  # side of a tile, of the image's longer side
FINE_FRACTION = 0.4  # of the tiles for further people in an image that shows several or nobody
FINE_SCORE = 0.7  # least score of a person found in these tiles, in the square around the box
FINE_SEARCH = 1.5  # side of this square, in sides of the box


class Detector:
    """Detects people in images (H, W, 3) RGB uint8 of any size."""

    def __init__(self, threads: int = 1) -> None:
        self._interpreter = interpreter(MODEL, threads)
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = {detail["shape"][-1]: detail["index"] for detail in self._interpreter.get_output_details()}
        self._scores, self._points = outputs[1], outputs[12]

    def detect(self, image: np.ndarray) -> list[Box]:
        """Search the full image and its tiles; return all people, numbered from 1, by descending score.

        An image that shows several people or nobody is searched in finer tiles, too; people found there come last.
        """
        people = self._search(image, [full_region(image), *tiles(image, TILE_FRACTION)])
        if len(people) != 1:
            people += self._small_people(image, people)
        return [Box(number, bbox) for number, bbox in enumerate(_clipped(people, image), 1)]

    def detect_in(self, image: np.ndarray, regions: Sequence[np.ndarray]) -> np.ndarray:
        """Return the boxes (N, 4) x, y, w, h px of the people in regions of the image, by descending score.

        regions: each (4,) x, y, w, h px.
        """
        return _clipped(self._search(image, regions), image)

    def _search(self, image: np.ndarray, regions: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the squares (4,) around the people in regions of the image, by descending score."""
        height, width = image.shape[:2]
        scores, boxes = self._detect_regions(image, regions)
        people: list[np.ndarray] = []
        for index in np.argsort(-scores):
            if _visible(boxes[index], width, height) and not is_known(boxes[index], people):
                people.append(boxes[index])
        return people

    def _small_people(self, image: np.ndarray, people: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the squares of further people in fine tiles. As tiles cut people off, each is searched again around it."""
        found: list[np.ndarray] = []
        for box in self._search(image, list(tiles(image, FINE_FRACTION))):
            if is_known(box, [*people, *found]):
                continue
            side = FINE_SEARCH * box[2]
            scores, around = self._detect_regions(image, [np.array([*(box[:2] + box[2:] / 2 - side / 2), side, side])])
            same = [index for index in np.argsort(-scores) if is_known(around[index], [box])]
            if same and scores[same[0]] >= FINE_SCORE and not is_known(around[same[0]], [*people, *found]):
                found.append(around[same[0]])
        return found

    def circle(self, image: np.ndarray, bbox: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the centre of the hips (2,) px and the point on the circle around the body (2,) px in the direction of
        the head, of the person that fits a box x, y, w, h px best; None if there is no certain one.
        """
        side = CIRCLE_SEARCH * max(bbox[2:])
        corner = bbox[:2] + bbox[2:] / 2 - side / 2
        scores, points, scale, offset = self._run(image, np.array([*corner, side, side]))
        certain = np.flatnonzero(scores > 0)
        if not len(certain):
            return None
        circles = (points[certain].reshape(-1, 6, 2) + INPUT_SIZE * anchors()[certain, None])[:, 2:4] * scale + offset
        half = BOX_SCALE * np.linalg.norm(circles[:, 1] - circles[:, 0], axis=1)[:, None]
        boxes = np.concatenate([circles[:, 0] - half, 2 * half, 2 * half], 1)
        # the box tells people apart, the score neighbouring anchors of one person
        fit = iou(boxes, np.asarray(bbox, np.float64)[None])[:, 0]
        same = fit > 0.8 * fit.max()
        hips, rim = circles[same][int(scores[certain][same].argmax())]
        return hips, rim

    def _detect_regions(self, image: np.ndarray, regions: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (N,) and boxes (N, 4) in px of the image, not yet one for each person."""
        found = [self._detect_region(image, region) for region in regions]
        return np.concatenate([scores for scores, _ in found]), np.concatenate([boxes for _, boxes in found])

    def _detect_region(self, image: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (N,) and boxes (N, 4) in px of the image."""
        logits, points, scale, offset = self._run(image, region)
        scores, boxes = decode_detections(logits, points, anchors())
        boxes *= scale
        boxes[:, :2] += offset
        return scores, boxes

    def _run(self, image: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
        """Return raw scores (A,) and points (A, 12) of a region, and the scale and offset from input px to image px."""
        x, y, w, h = (round(float(value)) for value in region)
        part = image[max(y, 0) : y + h, max(x, 0) : x + w]
        origin = np.array([max(x, 0), max(y, 0)])
        zoom = INPUT_SIZE / max(part.shape[:2])
        interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        fx, fy = max(zoom, 1 / part.shape[1]), max(zoom, 1 / part.shape[0])  # at least one pixel of a narrow image
        resized = cv2.resize(part, None, fx=fx, fy=fy, interpolation=interpolation)[:INPUT_SIZE, :INPUT_SIZE]
        top, left = (INPUT_SIZE - resized.shape[0]) // 2, (INPUT_SIZE - resized.shape[1]) // 2
        square = np.full((1, INPUT_SIZE, INPUT_SIZE, 3), -1, np.float32)
        square[0, top : top + resized.shape[0], left : left + resized.shape[1]] = resized / 127.5 - 1
        self._interpreter.set_tensor(self._input, square)
        self._interpreter.invoke()
        scores, points = (self._interpreter.get_tensor(index)[0] for index in (self._scores, self._points))
        return scores[:, 0], points, 1 / zoom, origin - np.array([left, top]) / zoom


@cache
def anchors() -> np.ndarray:
    """Return the anchor centres (2254, 2) as fractions of the input, row by row, finest layer first."""
    layers = []
    for cells, count in LAYERS:
        y, x = np.meshgrid(*[(np.arange(cells) + 0.5) / cells] * 2, indexing="ij")
        layers.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), count, 0))
    return np.concatenate(layers)


def decode_detections(scores: np.ndarray, points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decode raw outputs to scores (N,) and boxes (N, 4) in px of the input, for scores above MIN_SCORE.

    Args:
        scores: (A,) logits.
        points: (A, 12) px from the anchor: face box, centre of the hips, a point on the circle around the whole
            person, two more points.
        centres: (A, 2) anchors.
    """
    above = scores > math.log(MIN_SCORE / (1 - MIN_SCORE))
    absolute = points[above].reshape(-1, 6, 2) + INPUT_SIZE * centres[above, None]
    hips = absolute[:, 2]
    half = BOX_SCALE * np.linalg.norm(absolute[:, 3] - hips, axis=1)[:, None]
    return 1 / (1 + np.exp(-scores[above])), np.concatenate([hips - half, 2 * half, 2 * half], 1)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    intersection = np.prod(np.maximum(high - low, 0), -1)
    ratios: np.ndarray = intersection / (np.prod(a[:, 2:], 1)[:, None] + np.prod(b[:, 2:], 1)[None] - intersection)
    return ratios


def is_part(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return whether each box (N, 4) lies inside each larger box (M, 4) for the most part: (N, M) bool."""
    ratios = iou(a, b)
    area, other = np.prod(a[:, 2:], 1)[:, None], np.prod(b[:, 2:], 1)[None]
    contained = ratios * (area + other) / (1 + ratios) / area
    return np.asarray((contained > CONTAINED) & (other > area))


def is_known(box: np.ndarray, people: Sequence[np.ndarray]) -> bool:
    """Return whether a square (4,) belongs to one of several people, each (4,), or is a part of one."""
    others = np.array(people).reshape(-1, 4)
    apart = np.linalg.norm(box[:2] + box[2:] / 2 - others[:, :2] - others[:, 2:] / 2, axis=1)
    same = apart < SAME_HIPS * np.maximum(box[2], others[:, 2]) / 2
    return bool((same | is_part(box[None], others)[0]).any())


def _clipped(boxes: Sequence[np.ndarray], image: np.ndarray) -> np.ndarray:
    """Return the parts (N, 4) of boxes that lie in the image."""
    return np.array([clip_box(box, image.shape[1], image.shape[0]) for box in boxes]).reshape(-1, 4)


def _visible(box: np.ndarray, width: int, height: int) -> bool:
    """Return whether at least one px of the box lies in the image in each direction."""
    return bool((np.minimum(box[:2] + box[2:], [width, height]) - np.maximum(box[:2], 0) >= 1).all())


def full_region(image: np.ndarray) -> np.ndarray:
    """Return the region (x, y, w, h px) of the full image."""
    return np.array([0, 0, image.shape[1], image.shape[0]])


def tiles(image: np.ndarray, fraction: float) -> Iterator[np.ndarray]:
    """Yield overlapping regions (x, y, w, h px) that cover the image. fraction: their side, of the image's longer side"""
    height, width = image.shape[:2]
    side = max(1.0, fraction * max(width, height))
    for y in _tile_starts(height, side):
        for x in _tile_starts(width, side):
            yield np.array([x, y, min(side, width), min(side, height)])


def _tile_starts(length: int, side: float) -> list[float]:
    """Return the evenly spaced starts of overlapping tiles."""
    free = max(length - side, 0)
    count = 1 + math.ceil(2 * free / side)
    return [free * index / max(count - 1, 1) for index in range(count)]
