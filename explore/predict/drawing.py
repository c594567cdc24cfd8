"""Anti-aliased drawing on RGB images (h, w, 3) uint8 with OpenCV: lines, bones, joints, labels and text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from explore.data.colours import rgb
from explore.predict import view3d
from quantize.manifest import Skeleton

WHITE = "#ffffff"
FRACTION_BITS = 4  # of OpenCV's fixed-point coordinates
TEXT = 13  # px, default height of the font
MANY_JOINTS = 20


def fixed(position: Sequence[float] | np.ndarray) -> tuple[int, int]:
    """Convert a position in px to OpenCV's fixed-point numbers, limited to their range."""
    x, y = (round(float(np.clip(value, -9999, 9999)) * 2**FRACTION_BITS) for value in position)
    return x, y


def draw_line(panel: np.ndarray, start: np.ndarray, end: np.ndarray, colour: str, thickness: int) -> None:
    cv2.line(panel, fixed(start), fixed(end), rgb(colour), thickness, cv2.LINE_AA, FRACTION_BITS)


def draw_ground(
    panel: np.ndarray, project: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray
) -> None:
    """Draw the ground between two corners (2,), world mm, with its grid."""
    corners = project(view3d.ground_corners(low, high))
    cv2.fillPoly(panel, [np.round(corners).astype(np.int32)], rgb(view3d.GROUND), cv2.LINE_AA)
    for ends, metre in view3d.ground_grid(low, high):
        start, end = project(ends)
        draw_line(panel, start, end, view3d.LINE_1M if metre else view3d.LINE, 1)


def draw_box(panel: np.ndarray, bbox: np.ndarray, colour: str, thickness: int = 1) -> None:
    """Draw the outline of a box x, y, w, h."""
    x, y, w, h = bbox
    cv2.rectangle(panel, fixed((x, y)), fixed((x + w, y + h)), rgb(colour), thickness, cv2.LINE_AA, FRACTION_BITS)


def draw_bones(
    panel: np.ndarray, joints: np.ndarray, skeleton: Skeleton, thickness: int, distances: np.ndarray | None = None
) -> None:
    """Draw the lines between joints (J, 2) with an outline, the nearest last. distances: (J,) of the joints"""
    colours, lines = view3d.line_colours(skeleton), view3d.lines_of(skeleton)
    depths = np.zeros(len(lines)) if distances is None else [-distances[list(line)].mean() for line in lines]
    for index in np.argsort(depths, kind="stable"):
        start, end = joints[list(lines[index])]
        draw_line(panel, start, end, view3d.OUTLINE, thickness + 2)
        draw_line(panel, start, end, colours[index], thickness)


def draw_joints(panel: np.ndarray, joints: np.ndarray, colour: str, radius: float) -> None:
    """Draw joints (J, 2) as discs, smaller ones where many lie close together (face and hands of 33 landmarks)."""
    radius *= 1 if len(joints) <= MANY_JOINTS else 0.6
    for joint in joints:
        for r, shade in ((radius + 0.8, WHITE), (radius, colour)):
            cv2.circle(panel, fixed(joint), round(r * 2**FRACTION_BITS), rgb(shade), -1, cv2.LINE_AA, FRACTION_BITS)


def draw_label(panel: np.ndarray, position: Sequence[float] | np.ndarray, text: str, colour: str) -> None:
    """Write white text on a coloured ground around a position, inside the panel."""
    height, width = _text_mask(text, TEXT).shape
    x = int(np.clip(position[0], width / 2 + 4, panel.shape[1] - width / 2 - 4))
    y = int(np.clip(position[1], height / 2 + 1, panel.shape[0] - height / 2 - 1))
    left, top = x - width // 2 - 3, y - height // 2
    cv2.rectangle(panel, (left, top), (left + width + 6, top + height), rgb(colour), -1, cv2.LINE_AA)
    write(panel, (x, y), text, WHITE, "middle")


def write(
    panel: np.ndarray, position: tuple[int, int], text: str, colour: str, align: str = "left", size: int = TEXT
) -> None:
    """Write text with its left end, middle or right end at a position, cut off at the edge of the panel."""
    mask = _text_mask(text, size)
    height, width = mask.shape
    left = max(position[0] - {"left": 0, "middle": width // 2, "right": width}[align], 0)
    top = max(position[1] - height // 2, 0)
    area = panel[top : top + height, left : left + width]
    alpha = mask[: area.shape[0], : area.shape[1], None]
    area[:] = np.round(area * (1 - alpha) + np.array(rgb(colour)) * alpha)


@lru_cache(512)
def _text_mask(text: str, size: int) -> np.ndarray:
    """Return the coverage (h, w) of each px by the text, from 0 to 1."""
    font = ImageFont.load_default(size)
    _, top, right, bottom = (math.ceil(edge) for edge in font.getbbox(text or " "))
    mask = Image.new("L", (max(right, 1), max(bottom + 3, 1)))
    ImageDraw.Draw(mask).text((0, (3 - top) // 2 + 1), text, 255, font)
    return np.asarray(mask, np.float32) / 255
