"""A contact sheet: many frames of a data set on one picture, joints drawn in, for the eye to judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from explore.data.colours import limb_colour, rgb
from explore.data.crop import crop, read_image
from explore.data.sample import Dataset
from explore.data.skeleton import Skeleton

TILE, GAP, CAPTION = 192, 6, 18  # px
FINE = 2  # drawn this many times larger, then averaged
SUBPIXEL = 4  # bits of OpenCV's fixed-point coordinates


@dataclass(frozen=True)
class Frame:
    """What a tile shows: a picture, the person's box x, y, w, h px, joints (J, 2) px, NaN where unknown, a few words.

    truth: joints (J, 2) px drawn thin and white beneath, where `px` are a prediction.
    """

    path: Path
    bbox: np.ndarray
    px: np.ndarray
    caption: str
    truth: np.ndarray | None = None


def frames_of(dataset: Dataset, count: int) -> list[Frame]:
    """`count` frames of a data set, evenly spread over it."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int))
    return [
        Frame(
            sample.image,
            sample.bbox,
            np.where(sample.vis[:, None] > 0, sample.joints_img[:, :2], np.nan),
            f"{dataset.split} S{sample.subject} {sample.action}",
        )
        for sample in map(dataset.__getitem__, chosen)
    ]


def contact_sheet(frames: Sequence[Frame], skeleton: Skeleton, columns: int = 6) -> bytes:
    """PNG of the frames, cropped a little wider than a network sees them.

    Raises:
        InputError: a picture that cannot be decoded.
    """
    columns = max(1, min(columns, len(frames)))
    rows = max(1, math.ceil(len(frames) / columns))
    step_x, step_y = TILE + GAP, TILE + CAPTION + GAP
    sheet = np.full((rows * step_y + GAP, columns * step_x + GAP, 3), 255, np.uint8)
    for index, frame in enumerate(frames):
        row, column = divmod(index, columns)
        y, x = GAP + row * step_y, GAP + column * step_x
        sheet[y : y + TILE, x : x + TILE] = _tile(frame, skeleton)
        corner = (x, y + TILE + 13)
        cv2.putText(sheet, frame.caption, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (60, 70, 80), 1, cv2.LINE_AA)
    _, data = cv2.imencode(".png", sheet[..., ::-1])
    return data.tobytes()


def _tile(frame: Frame, skeleton: Skeleton) -> np.ndarray:
    picture, matrix = crop(read_image(frame.path), frame.bbox, FINE * TILE, scale=1.1)
    joints = frame.px @ matrix[:, :2].T + matrix[:, 2]
    x, y, w, h = frame.bbox
    corners = np.array([[x, y], [x + w, y + h]]) @ matrix[:, :2].T + matrix[:, 2]
    low, high = _fixed(corners)
    cv2.rectangle(picture, low, high, (255, 255, 255), FINE, cv2.LINE_AA, SUBPIXEL)
    if frame.truth is not None:
        true = frame.truth @ matrix[:, :2].T + matrix[:, 2]
        _bones(picture, true, skeleton, 1, (255, 255, 255))
    _bones(picture, joints, skeleton, 4, (20, 24, 30))
    _bones(picture, joints, skeleton, 2)
    spots, known = _fixed(joints), np.isfinite(joints).all(1)
    for point in (spot for spot, seen in zip(spots, known, strict=True) if seen):
        cv2.circle(picture, point, int(2.2 * FINE * 2**SUBPIXEL), (255, 255, 255), cv2.FILLED, cv2.LINE_AA, SUBPIXEL)
    return cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA)


def _bones(
    picture: np.ndarray, joints: np.ndarray, skeleton: Skeleton, width: int, colour: tuple[int, int, int] | None = None
) -> None:
    """Lines between known joints (J, 2) px, in one colour or the limbs' own."""
    spots, known = _fixed(joints), np.isfinite(joints).all(1)
    for start, end in skeleton.edges:
        if known[start] and known[end]:
            shade = colour or rgb(limb_colour(skeleton.names[start], skeleton.names[end]))
            cv2.line(picture, spots[start], spots[end], shade, FINE * width, cv2.LINE_AA, SUBPIXEL)


def _fixed(points: np.ndarray) -> list[tuple[int, int]]:
    """Points in OpenCV's fixed-point integers; far outside the tile they are held within their range."""
    values = np.nan_to_num(np.clip(points - 0.5, -9 * TILE, 9 * TILE)) * 2**SUBPIXEL
    return [(int(x), int(y)) for x, y in values.round()]
