"""Pre- and postprocessing of edgepose models, in Python with numpy alone.

Copyright 2026 the edgepose authors. Licence: Apache-2.0.

The functions follow docs/decoder.md of edgepose, as the decoders in other languages do, and give the same results. The
settings come from the manifest.json of a bundle: `preprocessing` and `postprocessing` are passed as they are.

    region = region_of_box((x, y, w, h), width, height, before["box_padding"])
    crop = sample_region(photo, region, before["size"], before["border"])
    raw = ...                                                      # run the model on normalise(crop, before)
    joints, confidence = decode(raw, after)                        # fractions of the crop and of the depth range
    joints = to_photo(joints, region, after["depth_range_mm"])     # px, px, mm behind the root joint
    camera = to_camera(joints, root_depth(region, focal), focal, (width / 2, height / 2))  # mm
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SIMCC_SPLIT = 2  # bins per heatmap cell along x and y
LEAST_CONFIDENCE = 1e-6  # added to confidences before the logarithm
DEPTH_UNIT_MM = 500.0  # of depth differences in the regression of the scale
HEADS = ("volumetric", "heatmap-2.5d", "simcc")
REFERENCE_MM = 2000.0  # assumed side of a person's region, for an estimate of the distance
REGION_SCALE = 2.5  # side of the region of a circle around a person, in radii
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """A square region of a photo. x, y: centre, px; side: px; rotation: clockwise, rad."""

    x: float
    y: float
    side: float
    rotation: float = 0.0


# ---- regions ----


def region_of_box(box: Box, width: int, height: int, padding: float) -> Region:
    """Return the upright square around a person's box (x, y, w, h px), clipped to a photo of width x height px.

    Raises:
        ValueError: less than 1 px of the box is inside the photo.
    """
    x, y, w, h = clip_box(box, width, height)
    return Region(x + w / 2, y + h / 2, max(w, h) * padding)


def clip_box(box: Box, width: int, height: int) -> Box:
    """Return the part of a box inside a photo. ValueError: less than 1 px of it is inside."""
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], width), min(box[1] + box[3], height)
    if not (right - left >= 1 and bottom - top >= 1):
        given = ",".join(f"{value:g}" for value in box)
        raise ValueError(f"{given}: less than 1 px of it is inside the photo of {width} x {height}")
    return left, top, right - left, bottom - top


def region_of_joints(joints: np.ndarray, roi: dict[str, Any]) -> Region:
    """Return the region for the next frame of a video, by the joints (J, 2 or more) px of a person in this one.

    roi: `preprocessing.roi` of the manifest
    """
    px = np.asarray(joints, np.float64)[:, :2]
    hips, shoulders = px[list(roi["hips"])].mean(0), px[list(roi["shoulders"])].mean(0)
    radius = roi["reach"] * math.sqrt(float(np.square(px - hips).sum(1).max()))
    x, y = (float(value) for value in shoulders - hips)
    return Region(float(hips[0]), float(hips[1]), roi["scale"] * radius, math.atan2(x, -y))


def region_of_circle(hips: Sequence[float], rim: Sequence[float], scale: float = REGION_SCALE) -> Region:
    """Return the region of MediaPipe's pose detector: the hips' centre and the point above it on the circle."""
    x, y = rim[0] - hips[0], rim[1] - hips[1]
    return Region(hips[0], hips[1], scale * math.hypot(x, y), math.atan2(x, -y))


# ---- crops ----


def resample(
    pixels: np.ndarray, start: float, step: float, size: int, fine: int, replicate: bool = False
) -> np.ndarray:
    """Sample along the first axis: place i is the sum of `fine` samples between start + i * step and the next place.

    A sample interpolates two pixels linearly with weights that sum to 256; pixel k has its centre at k + 0.5. Pixels
    beyond the ends are 0, or equal to the last one with `replicate`. Integers make the result equal on all machines and
    in all languages.

    Returns:
        (size, ...) int32, 256 * fine times the mean.
    """
    total = np.zeros((size, *pixels.shape[1:]), np.int32)
    at = np.floor((start + (np.arange(size * fine) + 0.5) * (step / fine) - 0.5) * 256 + 0.5).astype(np.int64)
    low, share = at >> 8, at & 255
    for index, weight in ((low, 256 - share), (low + 1, share)):
        inside = replicate | ((index >= 0) & (index < len(pixels)))
        weight = np.where(inside, weight, 0).astype(np.int32)
        index = np.clip(index, 0, len(pixels) - 1)
        for part in range(fine):
            total += pixels[index[part::fine]] * weight[part::fine].reshape(-1, *[1] * (pixels.ndim - 1))
    return total


def samples_per_px(width: int, height: int, shrink: float) -> int:
    """Return how many samples a px of the crop averages along an axis. shrink: px of the photo in one px of the crop.

    Photos with a side of at most 256 px get finer samples, because they are sharper.
    """
    return min(max(int(shrink * 1.1) if min(height, width) > 256 else round(shrink), 1), 8)


def sample_square(
    photo: np.ndarray, left: float, top: float, side: float, size: int, replicate: bool = False
) -> np.ndarray:
    """Scale an upright square of a photo (H, W, 3) uint8 to (size, size, 3) by area averaging.

    This is the definition of a crop without augmentation, in training's evaluation, `predict`, bundles and the
    measuring program.

    Args:
        left, top, side: px of the photo.
        replicate: continue the border pixels beyond the photo, which is black otherwise.
    """
    height, width = photo.shape[:2]
    shrink = side / size
    fine = samples_per_px(width, height, shrink)
    x0, y0 = (min(max(math.floor(low) - 1, 0), end - 1) for low, end in ((left, width), (top, height)))
    part = photo[y0 : max(math.ceil(top + side) + 1, y0 + 1), x0 : max(math.ceil(left + side) + 1, x0 + 1)]
    rows = resample(part, top - y0, shrink, size, fine, replicate)
    square = resample(np.ascontiguousarray(rows.transpose(1, 0, 2)), left - x0, shrink, size, fine, replicate)
    whole = (256 * fine) ** 2
    return np.ascontiguousarray(((square + whole // 2) // whole).astype(np.uint8).transpose(1, 0, 2))


def sample_region(photo: np.ndarray, region: Region, size: int, border: str = "black") -> np.ndarray:
    """Scale a region of a photo (H, W, 3) uint8 to (size, size, 3) by area averaging.

    Args:
        border: of the photo: black, or replicate, which continues its border pixels.
    """
    replicate, half = border == "replicate", region.side / 2
    if not region.rotation:
        return sample_square(photo, region.x - half, region.y - half, region.side, size, replicate)
    height, width = photo.shape[:2]
    step = region.side / size
    fine = samples_per_px(width, height, step)
    cos, sin = math.cos(region.rotation), math.sin(region.rotation)
    places = (np.arange(size * fine) + 0.5) * (step / fine) - half
    total = np.zeros((size, size, 3), np.int32)
    for u in (places[part::fine][None, :] for part in range(fine)):
        for v in (places[part::fine][:, None] for part in range(fine)):
            x = _taps(region.x + cos * u - sin * v, width, replicate)
            y = _taps(region.y + sin * u + cos * v, height, replicate)
            for row, row_weight in y:
                for column, column_weight in x:
                    total += photo[row, column] * (row_weight * column_weight)[:, :, None]
    whole = (256 * fine) ** 2
    return ((total + whole // 2) // whole).astype(np.uint8)


def _taps(at: np.ndarray, count: int, replicate: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the two pixels around each place along an axis of `count` px, and their weights, which sum to 256."""
    fixed = np.floor((at - 0.5) * 256 + 0.5).astype(np.int64)
    low, share = fixed >> 8, (fixed & 255).astype(np.int32)
    taps = []
    for index, weight in ((low, 256 - share), (low + 1, share)):
        inside = replicate | ((index >= 0) & (index < count))
        taps.append((np.clip(index, 0, count - 1), np.where(inside, weight, 0).astype(np.int32)))
    return taps


def normalise(image: np.ndarray, rules: dict[str, Any]) -> np.ndarray:
    """Return the crop (S, S, 3) as (RGB / 255 - mean) / std, (1, 3, S, S) float32. rules: `preprocessing`."""
    rgb = np.asarray(image, np.float32) / 255
    scaled = (rgb - np.array(rules["mean"], np.float32)) / np.array(rules["std"], np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


# ---- decoding ----


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    result: np.ndarray = weights / weights.sum(-1, keepdims=True)
    return result


def decode(raw: np.ndarray, rules: dict[str, Any], layout: str = "NCHW") -> tuple[np.ndarray, np.ndarray]:
    """Decode a raw output to joints (J, 3), fractions of the crop and of the depth range, and confidence (J,).

    The confidence is the largest probability of one cell in the image plane.

    Args:
        rules: `postprocessing` of the manifest.
        layout: of the raw output, as the manifest names it: NCHW, NHWC, or NJB for simcc.
    """
    cells, bins = rules["heatmap"], rules["depth_bins"]
    along = (np.arange(cells) + 0.5) / cells
    depth = (np.arange(bins) + 0.5) / bins
    if layout == "NHWC":
        raw = raw.transpose(0, 3, 1, 2)
    if rules["head"] == "simcc":
        fine = SIMCC_SPLIT * cells
        bins_xy = (np.arange(fine) + 0.5) / fine
        px, py, pz = softmax(raw[0, :, :fine]), softmax(raw[0, :, fine : 2 * fine]), softmax(raw[0, :, 2 * fine :])
        return np.stack([px @ bins_xy, py @ bins_xy, pz @ depth], 1), px.max(1) * py.max(1)
    if rules["head"] == "volumetric":
        joints = raw.shape[1] // bins
        volume = softmax(raw.reshape(joints, -1)).reshape(joints, bins, cells * cells)
        plane, z = volume.sum(1), volume.sum(2) @ depth
    elif rules["head"] == "heatmap-2.5d":
        joints = raw.shape[1] // 2
        plane = softmax(raw[0, :joints].reshape(joints, -1))
        z = (plane * raw[0, joints:].reshape(joints, -1)).sum(1) / rules["depth_scale"] + 0.5
    else:
        raise ValueError(f"head: '{rules['head']}' is unknown to this program; use a newer one")
    maps = plane.reshape(joints, cells, cells)
    return np.stack([maps.sum(1) @ along, maps.sum(2) @ along, z], 1), plane.max(1)


def presence(confidence: np.ndarray, rules: dict[str, Any]) -> Any:
    """Return the probability that the crop shows a person from confidences (..., J). rules: `postprocessing`."""
    scale, offset = rules["confidence"]["presence"]
    return _sigmoid(scale * np.log(confidence + LEAST_CONFIDENCE).mean(-1) + offset)


def visibility(confidence: np.ndarray, rules: dict[str, Any]) -> np.ndarray:
    """Return the probability (..., J) that each joint is in the image and not covered. rules: as of `presence`."""
    scale, offset = np.array(rules["confidence"]["visibility"]).T
    return np.asarray(_sigmoid(scale * np.log(confidence + LEAST_CONFIDENCE) + offset))


def _sigmoid(logit: Any) -> Any:
    return 1 / (1 + np.exp(-logit))


def mm_per_side(joints: np.ndarray, rules: dict[str, Any]) -> Any:
    """Return the size of the region's side at the root's distance in mm, by the pose itself.

    Args:
        joints: (..., J, 3), as `decode` returns them.
        rules: `postprocessing` of the manifest, with a fitted scale.
    """
    fitted = rules["scale"]
    first, second = np.array(fitted["edges"]).T
    offsets = joints[..., :2] - joints[..., :2].mean(-2, keepdims=True)
    size = np.sqrt(np.square(offsets).sum(-1).mean(-1))
    flat = np.sqrt(np.square(offsets[..., first, :] - offsets[..., second, :]).sum(-1)) / size[..., None]
    deep = np.abs(joints[..., first, 2] - joints[..., second, 2]) * (rules["depth_range_mm"] / DEPTH_UNIT_MM)
    log_mm = fitted["offset"] + fitted["size"] * np.log(size) + flat @ fitted["flat"] + deep @ fitted["deep"]
    return np.exp(np.clip(log_mm, fitted["low"], fitted["high"]))


def to_photo(joints: np.ndarray, region: Region, depth_range: float) -> np.ndarray:
    """Convert joints (J, 3) as `decode` returns them to px and px of the photo, and mm behind the root joint."""
    u, v = ((joints[:, axis] - 0.5) * region.side for axis in (0, 1))
    cos, sin = math.cos(region.rotation), math.sin(region.rotation)
    z = (joints[:, 2] - 0.5) * depth_range
    return np.stack([region.x + cos * u - sin * v, region.y + sin * u + cos * v, z], 1)


def to_camera(joints: np.ndarray, root_depth: float, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Convert joints (J, 3) in px, px and mm to camera coordinates in mm: x right, y down, z forward.

    Args:
        root_depth: distance of the root joint along z, mm; see the function `root_depth`.
        focal: focal length, px; the photo's longer side if unknown.
        centre: principal point, px; the photo's centre if unknown.
    """
    z = joints[:, 2:] + root_depth
    return np.concatenate([(joints[:, :2] - centre) / focal * z, z], 1)


def root_depth(region: Region, focal: float) -> float:
    """Estimate the distance of the root joint in mm: the region is assumed to be 2 m wide."""
    return REFERENCE_MM * focal / region.side


# ---- smoothing ----


class OneEuro:
    """One-Euro filter (Casiez, Roussel and Vogel 2012) of one person's points: less jitter at rest, little lag.

    A point passes a low-pass filter whose cutoff frequency grows with its speed.

    Args:
        min_cutoff: cutoff frequency at rest, Hz.
        beta: growth of the cutoff frequency, Hz for a speed of one `scale` per second.
        speed_cutoff: cutoff frequency of the speed, Hz.
    """

    def __init__(self, min_cutoff: float = 0.5, beta: float = 10.0, speed_cutoff: float = 1.0) -> None:
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self.time_s = -math.inf
        self.points = self.velocity = np.zeros((0, 0))

    def filter(self, points: np.ndarray, time_s: float, scale: float) -> np.ndarray:
        """Return smoothed points (N, D). The first points, and those whose time does not increase, are not changed.

        scale: size of the person in the unit of the points: the side of the region
        """
        points = np.asarray(points, np.float64)
        elapsed = time_s - self.time_s
        if points.shape != self.points.shape or not 0 < elapsed < math.inf:
            self.points, self.velocity, self.time_s = points, np.zeros_like(points), time_s
            return points
        share = low_pass(self.speed_cutoff, elapsed)
        self.velocity = self.velocity + share * ((points - self.points) / elapsed - self.velocity)
        speed = np.sqrt(np.square(self.velocity).sum(1, keepdims=True)) / scale
        self.points = self.points + low_pass(self.min_cutoff + self.beta * speed, elapsed) * (points - self.points)
        self.time_s = time_s
        return self.points


def low_pass(cutoff: Any, elapsed: float) -> Any:
    """Return the weight of a new value in a low-pass filter. cutoff: Hz; elapsed: s since the last value."""
    turn = 2 * math.pi * cutoff * elapsed
    return turn / (turn + 1)
