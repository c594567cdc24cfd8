"""Geometry of crops: from an image and a box to the network's square input, and from its output to camera mm.

Pixel coordinates are continuous: pixel i spans i to i + 1, its centre is i + 0.5. Normalised coordinates run from 0
to 1 over the crop (x, y) and over DEPTH_RANGE_MM around the root joint (z).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from arch.decode import BOX_PADDING, DEPTH_RANGE_MM
from explore.data.framing import Region, region_of_box
from quantize.sdk.edgepose_decoder import sample_square, samples_per_px


def clip_box(bbox: Sequence[float] | np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the part of `bbox` (x, y, w, h px) inside the image. ValueError: an invalid box, with the reason."""
    box = np.asarray(bbox, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError("is not four finite numbers")
    x, y, w, h = box
    if w <= 0 or h <= 0:
        raise ValueError(f"({x:g}, {y:g}, {w:g}, {h:g}) has no area")
    if w < 1 and h < 1:
        raise ValueError(f"({x:g}, {y:g}, {w:g}, {h:g}) is under one pixel")
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if right - left < 1 or bottom - top < 1:
        raise ValueError(f"({x:g}, {y:g}, {w:g}, {h:g}) lies outside the image of {width} x {height}")
    return np.array([left, top, right - left, bottom - top])


def affine(
    bbox: np.ndarray,
    size: int,
    scale: float = 1.0,
    rotation_deg: float = 0.0,
    flip: bool = False,
    shift: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Return the (2, 3) matrix from image px to crop px: a square around the box, enlarged by BOX_PADDING and `scale`.

    shift: displacement of the image, as fractions of the crop
    """
    return region_matrix(region_of_box(np.asarray(bbox, np.float64)), size, scale, rotation_deg, flip, shift)


def region_matrix(
    region: Region,
    size: int,
    scale: float = 1.0,
    rotation_deg: float = 0.0,
    flip: bool = False,
    shift: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Return the (2, 3) matrix from image px to the px of a region's crop, which is then changed as in `affine`."""
    zoom = size / (region.size * scale)
    mirror = -1.0 if flip else 1.0
    angle = math.radians(rotation_deg) - mirror * region.rotation
    cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
    matrix = np.array([[cos * mirror, -sin, 0.0], [sin * mirror, cos, 0.0]])
    centre_x, centre_y = region.centre
    matrix[0, 2] = size * (0.5 + shift[0]) - matrix[0, 0] * centre_x - matrix[0, 1] * centre_y
    matrix[1, 2] = size * (0.5 + shift[1]) - matrix[1, 0] * centre_x - matrix[1, 1] * centre_y
    return matrix


def warp(image: np.ndarray, matrix: np.ndarray, size: int, replicate: bool = False) -> np.ndarray:
    """Sample the crop in one warp from the full image, with area averaging if it is strongly reduced.

    replicate: continue the border pixels beyond the image, which is black otherwise
    """
    shrink = 1 / math.hypot(matrix[0, 0], matrix[1, 0])
    fine = samples_per_px(image.shape[1], image.shape[0], shrink)
    cv = matrix * fine
    # OpenCV counts from pixel centres
    cv[:, 2] += 0.5 * (cv[:, 0] + cv[:, 1]) - 0.5
    border = cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT
    crop = cv2.warpAffine(image, cv, (size * fine, size * fine), flags=cv2.INTER_LINEAR, borderMode=border)
    return crop if fine == 1 else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def crop(
    image: np.ndarray,
    bbox: np.ndarray,
    size: int,
    scale: float = 1.0,
    rotation_deg: float = 0.0,
    flip: bool = False,
    shift: tuple[float, float] = (0.0, 0.0),
    reduced: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the crop around bbox (x, y, w, h px), RGB uint8 (size, size, 3), and its matrix as `affine` returns it.

    A crop that is neither rotated, flipped nor shifted is exactly that of a bundle's run.py. Augmented crops are
    sampled by `warp`, which is faster and differs from it by at most one grey level.

    reduced: reduction of `image` relative to the size that bbox and matrix refer to
    """
    matrix = affine(bbox, size, scale, rotation_deg, flip, shift)
    if rotation_deg or flip or shift != (0.0, 0.0):
        return warp(image, matrix * [reduced, reduced, 1], size), matrix
    x, y, w, h = (float(value) for value in bbox)
    side = max(w, h) * (BOX_PADDING * scale)
    left, top = x + w / 2 - side / 2, y + h / 2 - side / 2
    return sample_square(image, left / reduced, top / reduced, side / reduced, size), matrix


def crop_roi(
    image: np.ndarray,
    region: Region,
    size: int,
    scale: float = 1.0,
    rotation_deg: float = 0.0,
    flip: bool = False,
    shift: tuple[float, float] = (0.0, 0.0),
    reduced: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the crop of a region of interest, RGB uint8 (size, size, 3), and its matrix as `region_matrix` returns it.

    Border pixels continue beyond the image. A bundle's run.py samples the same places; on photos, its crop differs by
    at most one grey level.
    """
    matrix = region_matrix(region, size, scale, rotation_deg, flip, shift)
    return warp(image, matrix * [reduced, reduced, 1], size, replicate=True), matrix


def crop_region(matrix: np.ndarray, size: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom px of the image region that the crop covers. matrix: as from `affine`."""
    corners = np.linalg.inv(matrix[:, :2]) @ (np.array([[0, size, 0, size], [0, 0, size, size]]) - matrix[:, 2:])
    (left, top), (right, bottom) = np.floor(corners.min(1)), np.ceil(corners.max(1))
    return int(left), int(top), int(right), int(bottom)


def training_target(
    joints_img: np.ndarray, vis: np.ndarray, matrix: np.ndarray, size: int, flip_order: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised coordinates (J, 3) and weights (J,), float32: vis, but 0 outside the crop or the depth range.

    joints_img: (J, 3) px, px, mm relative to the root; flip_order: of the skeleton, if the crop is flipped
    """
    if flip_order is not None:
        joints_img, vis = joints_img[flip_order], vis[flip_order]
    target = np.empty(joints_img.shape, np.float32)
    target[:, :2] = (joints_img[:, :2] @ matrix[:, :2].T + matrix[:, 2]) / size
    target[:, 2] = joints_img[:, 2] / DEPTH_RANGE_MM + 0.5
    inside = ((target >= 0) & (target <= 1)).all(1)  # unknown depth is 0 mm, which is inside
    return target, (inside * vis).astype(np.float32)


def to_camera(
    coords: np.ndarray, matrix: np.ndarray, size: int, f: np.ndarray, c: np.ndarray, root_depth: np.ndarray
) -> np.ndarray:
    """Return camera coordinates (N, J, 3) mm of normalised coords (N, J, 3).

    matrix: (N, 2, 3) image px to crop px; f, c: (N, 2) px; root_depth: (N,) mm
    """
    coords = np.asarray(coords, np.float64)
    pixels = to_image(coords, matrix, size)
    depth = (coords[..., 2:] - 0.5) * DEPTH_RANGE_MM + np.asarray(root_depth, np.float64)[:, None, None]
    plane = (pixels - np.asarray(c)[:, None]) / np.asarray(f)[:, None]
    return np.concatenate([plane * depth, depth], -1)


def to_image(coords: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Return image px (N, J, 2) of normalised coords (N, J, 2 or 3)."""
    matrix = np.asarray(matrix, np.float64)
    inverse = np.linalg.inv(matrix[:, :, :2])
    moved = np.asarray(coords, np.float64)[..., :2] * size - matrix[:, None, :, 2]
    return np.einsum("nab,njb->nja", inverse, moved)


def project(camera: np.ndarray, f: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Project camera coordinates (..., 3) mm to (..., 2) px."""
    return camera[..., :2] / camera[..., 2:] * f + c
