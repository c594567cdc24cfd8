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
SAME_PERSON_IOU = 0.3  # boxes with a larger intersection over union are one person
CONTAINED = 0.8  # fraction of a box inside a larger one above which it is a part of that person
# Half the side of a box in radii of the predicted circle. With 0.94 the boxes are as large as the annotated ones on
# rendered and Human3.6M frames.
BOX_SCALE = 0.94
CIRCLE_SEARCH = 1.5  # side of the square in which `circle` searches, in longer sides of the box
TILE_FRACTION = 0.6  # side of a tile, of the image's longer side


class Detector:
    """Detects people in images (H, W, 3) RGB uint8 of any size."""

    def __init__(self, threads: int = 1) -> None:
        self._interpreter = interpreter(MODEL, threads)
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = {detail["shape"][-1]: detail["index"] for detail in self._interpreter.get_output_details()}
        self._scores, self._points = outputs[1], outputs[12]

    def detect(self, image: np.ndarray) -> list[Box]:
        """Search the full image and its tiles; return all people by descending score, numbered from 1."""
        boxes = self.detect_in(image, [full_region(image), *tiles(image)])
        return [Box(number, bbox) for number, bbox in enumerate(boxes, 1)]

    def detect_in(self, image: np.ndarray, regions: Sequence[np.ndarray]) -> np.ndarray:
        """Return the boxes (N, 4) x, y, w, h px of the people in regions of the image, by descending score.

        regions: each (4,) x, y, w, h px.
        """
        height, width = image.shape[:2]
        found = [self._detect_region(image, region) for region in regions]
        scores, boxes = (np.concatenate([arrays[index] for arrays in found]) for index in (0, 1))
        kept: list[np.ndarray] = []
        for index in np.argsort(-scores):
            if not kept or not _suppressed(boxes[index], np.array(kept)):
                kept.append(boxes[index])
        return np.array([clip_box(box, width, height) for box in kept if _visible(box, width, height)]).reshape(-1, 4)

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


def _suppressed(box: np.ndarray, kept: np.ndarray) -> bool:
    """Return whether a box (4,) belongs to a person (N, 4) with a higher score, or to a part of that person."""
    return bool(((iou(box[None], kept) >= SAME_PERSON_IOU) | is_part(box[None], kept)).any())


def _visible(box: np.ndarray, width: int, height: int) -> bool:
    """Return whether at least one px of the box lies in the image in each direction."""
    return bool((np.minimum(box[:2] + box[2:], [width, height]) - np.maximum(box[:2], 0) >= 1).all())


def full_region(image: np.ndarray) -> np.ndarray:
    """Return the region (x, y, w, h px) of the full image."""
    return np.array([0, 0, image.shape[1], image.shape[0]])


def tiles(image: np.ndarray) -> Iterator[np.ndarray]:
    """Yield overlapping regions (x, y, w, h px) that cover the image."""
    height, width = image.shape[:2]
    side = TILE_FRACTION * max(width, height)
    for y in _tile_starts(height, side):
        for x in _tile_starts(width, side):
            yield np.array([x, y, min(side, width), min(side, height)])


def _tile_starts(length: int, side: float) -> list[float]:
    """Return the evenly spaced starts of one, two or three tiles."""
    free = max(length - side, 0)
    count = 1 + math.ceil(2 * free / side)
    return [free * index / max(count - 1, 1) for index in range(count)]
