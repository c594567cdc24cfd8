"""Contact sheets: many frames with their joints in one image, for visual inspection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from explore.data.colours import limb_colour, rgb
from explore.data.crop import crop, crop_roi
from explore.data.framing import Region
from explore.data.images import read_image
from explore.data.sample import Dataset, evenly_spread
from explore.data.skeleton import Skeleton, drawn_edges

TILE, GAP, CAPTION = 192, 6, 18  # px
SUPERSAMPLE = 2  # tiles are drawn larger by this factor, then averaged
SUBPIXEL = 4  # bits of OpenCV's fixed-point coordinates


@dataclass(frozen=True)
class Frame:
    """Content of a tile: an image, the box x, y, w, h px, joints (J, 2) px, NaN where unknown, and a caption.

    truth: joints (J, 2) px, drawn thin and white below a prediction
    region: the crop of framing roi, which is shown in place of the box
    """

    path: Path
    bbox: np.ndarray
    px: np.ndarray
    caption: str
    truth: np.ndarray | None = None
    region: Region | None = None


def frames_of(dataset: Dataset, count: int) -> list[Frame]:
    """Return `count` frames of a data set, evenly spread."""
    return [
        Frame(
            sample.image,
            sample.bbox,
            np.where(sample.vis[:, None] > 0, sample.joints_img[:, :2], np.nan),
            f"{dataset.split} S{sample.subject} {sample.action}",
        )
        for sample in (dataset[index] for index in evenly_spread(len(dataset), count))
    ]


def contact_sheet(frames: Sequence[Frame], skeleton: Skeleton, columns: int = 6) -> bytes:
    """Return a PNG of the frames, cropped slightly wider than the network's input.

    Raises:
        InputError: an image that cannot be decoded.
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
    whole = read_image(frame.path, oriented=False)
    if frame.region is not None:
        image, matrix = crop_roi(whole, frame.region, SUPERSAMPLE * TILE)
    else:
        image, matrix = crop(whole, frame.bbox, SUPERSAMPLE * TILE, scale=1.1)
        x, y, w, h = frame.bbox
        corners = np.array([[x, y], [x + w, y + h]]) @ matrix[:, :2].T + matrix[:, 2]
        low, high = _fixed_point(corners)
        cv2.rectangle(image, low, high, (255, 255, 255), SUPERSAMPLE, cv2.LINE_AA, SUBPIXEL)
    joints = frame.px @ matrix[:, :2].T + matrix[:, 2]
    if frame.truth is not None:
        true = frame.truth @ matrix[:, :2].T + matrix[:, 2]
        _draw_bones(image, true, skeleton, 1, (255, 255, 255))
    _draw_bones(image, joints, skeleton, 4, (20, 24, 30))
    _draw_bones(image, joints, skeleton, 2)
    points_px, known = _fixed_point(joints), np.isfinite(joints).all(1)
    for point in (point for point, visible in zip(points_px, known, strict=True) if visible):
        cv2.circle(
            image, point, int(2.2 * SUPERSAMPLE * 2**SUBPIXEL), (255, 255, 255), cv2.FILLED, cv2.LINE_AA, SUBPIXEL
        )
    return cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_AREA)


def _draw_bones(
    image: np.ndarray, joints: np.ndarray, skeleton: Skeleton, width: int, colour: tuple[int, int, int] | None = None
) -> None:
    """Draw lines between known joints (J, 2) px, in one colour or in the colours of the limbs."""
    points_px, known = _fixed_point(joints), np.isfinite(joints).all(1)
    for start, end in drawn_edges(skeleton.names, skeleton.edges):
        if known[start] and known[end]:
            shade = colour or rgb(limb_colour(skeleton.names[start], skeleton.names[end]))
            cv2.line(image, points_px[start], points_px[end], shade, SUPERSAMPLE * width, cv2.LINE_AA, SUBPIXEL)


def _fixed_point(points: np.ndarray) -> list[tuple[int, int]]:
    """Return points as OpenCV's fixed-point integers, clipped to their range far outside the tile."""
    values = np.nan_to_num(np.clip(points - 0.5, -9 * TILE, 9 * TILE)) * 2**SUBPIXEL
    return [(int(x), int(y)) for x, y in values.round()]
