"""Augmentation of training crops: colours, geometry, occlusion, truncation, other backgrounds and degradation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from arch.decode import BOX_PADDING
from explore.data.crop import crop, crop_roi, training_target, warp
from explore.data.framing import Region
from explore.data.synthetic import panorama, scene


@dataclass(frozen=True)
class Augment:
    """Ranges of the random augmentation. The preset `paper` has those of the reference training code.

    scale:       (low, high) factor on the crop's side, a clipped normal around 1
    shift:       standard deviation of the crop's centre, as a fraction of the crop
    rotation:    standard deviation in degrees, clipped at two of them; applied with probability rotation_p
    turn_p:      probability of any rotation instead
    box_p:       probability of the upright square around the box instead of the region of interest (framing roi)
    flip_p:      probability of a horizontal flip
    colour:      each channel is multiplied by a factor within 1 +- colour
    occlusion_p: probability of a rectangle of noise over up to occlusion_area of the box (random erasing)

    The preset `real` is for photos and videos; the others leave the following out.

    background_p: probability of another background, where the person has a mask
    truncate_p:   probability of a box that ends inside the body, as at the border of an image
    degrade_p:    probability of each of blur, sensor noise and JPEG artefacts
    """

    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    rotation: float = 0.0
    rotation_p: float = 0.0
    turn_p: float = 0.0
    box_p: float = 0.0
    flip_p: float = 0.0
    colour: float = 0.0
    occlusion_p: float = 0.0
    occlusion_area: float = 0.7
    background_p: float = 0.0
    truncate_p: float = 0.0
    degrade_p: float = 0.0


AUGMENTS = {
    "none": Augment(),
    "light": Augment(scale=(0.85, 1.2), shift=0.06, flip_p=0.5, colour=0.2),
    "paper": Augment(scale=(0.75, 1.25), rotation=30.0, rotation_p=0.6, flip_p=0.5, colour=0.2, occlusion_p=0.5),
    "real": Augment(
        scale=(0.75, 1.3),
        shift=0.05,
        rotation=20.0,
        rotation_p=0.5,
        turn_p=0.1,
        flip_p=0.5,
        colour=0.15,
        occlusion_p=0.15,
        occlusion_area=0.3,
        background_p=0.5,
        truncate_p=0.15,
        degrade_p=0.25,
    ),
}
# least jitter of framing roi
ROI_JITTER = Augment(scale=(0.85, 1.2), shift=0.03, rotation=10.0, rotation_p=0.7, box_p=0.25)
MAX_CUT = 0.5  # largest part of a box that truncation takes away
CUT_SIDES = ("bottom", "top", "left", "right")
CUT_CHANCES = (0.6, 0.1, 0.15, 0.15)
BLANK_P = 0.5  # probability that a truncated image ends at its box; otherwise the body continues outside the box


@dataclass(frozen=True)
class AugmentParams:
    """Sampled augmentation of one crop; see Augment.

    box: whether the upright square around the box is taken; cut: side and fraction of the box that is truncated
    """

    scale: float
    shift: tuple[float, float]
    rotation: float
    flip: bool
    occlude: bool
    background: bool = False
    cut: tuple[str, float] | None = None
    box: bool = False


def sample_params(augment: Augment, rng: np.random.Generator) -> AugmentParams:
    """Sample the augmentation of one crop."""
    spread = float(np.clip(rng.standard_normal(), -1, 1))
    low, high = augment.scale
    scale = 1 + spread * (high - 1 if spread > 0 else 1 - low)
    shift = rng.standard_normal(2) * augment.shift
    angle = float(np.clip(rng.standard_normal(), -2, 2)) * augment.rotation
    chance = rng.random(3)
    rotation = angle if chance[0] < augment.rotation_p else 0.0
    flip, occlude = bool(chance[1] < augment.flip_p), bool(chance[2] < augment.occlusion_p)
    background = augment.background_p > 0 and bool(rng.random() < augment.background_p)
    cut = None
    if augment.truncate_p and rng.random() < augment.truncate_p:
        cut = CUT_SIDES[rng.choice(len(CUT_SIDES), p=CUT_CHANCES)], float(rng.uniform(0.1, MAX_CUT))
    if augment.turn_p and rng.random() < augment.turn_p:
        rotation = float(rng.uniform(-180, 180))
    box = augment.box_p > 0 and bool(rng.random() < augment.box_p)
    return AugmentParams(scale, (float(shift[0]), float(shift[1])), rotation, flip, occlude, background, cut, box)


def with_jitter(augment: Augment) -> Augment:
    """Return the augmentation with at least the jitter that regions of interest have in use: they follow from landmarks
    of another frame or another pass, or, in the first pass, from the box alone."""
    (low, high), (least, most) = augment.scale, ROI_JITTER.scale
    return replace(
        augment,
        scale=(min(low, least), max(high, most)),
        shift=max(augment.shift, ROI_JITTER.shift),
        rotation=max(augment.rotation, ROI_JITTER.rotation),
        rotation_p=max(augment.rotation_p, ROI_JITTER.rotation_p),
        box_p=ROI_JITTER.box_p,
    )


def cut_box(bbox: np.ndarray, cut: tuple[str, float] | None) -> np.ndarray:
    """Return the box (x, y, w, h px) without the fraction `cut[1]` at its side `cut[0]`."""
    if cut is None:
        return bbox
    side, fraction = cut
    x, y, w, h = bbox
    if side in ("left", "right"):
        return np.array([x + (fraction * w if side == "left" else 0), y, (1 - fraction) * w, h])
    return np.array([x, y + (fraction * h if side == "top" else 0), w, (1 - fraction) * h])


def training_crop(
    image: np.ndarray,
    bbox: np.ndarray,
    joints_img: np.ndarray,
    vis: np.ndarray,
    size: int,
    augment: Augment,
    rng: np.random.Generator,
    flip_order: np.ndarray,
    params: AugmentParams | None = None,
    reduced: int = 1,
    mask: np.ndarray | None = None,
    behind: np.ndarray | None = None,
    region: Region | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one augmented crop: RGB uint8 (size, size, 3), target (J, 3), weights (J,).

    params: sampled from `rng` by default; reduced: reduction of `image` relative to the annotated size
    mask: uint8 (H, W), 255 on the person, of the whole image at any resolution; required to replace the background
    behind: uint8 (size, size, 3), the other background; by default a cluttered view of a panorama
    region: of framing roi. Truncation does not move it, but ends the image inside the body
    """
    params = params or sample_params(augment, rng)
    move = (params.scale, params.rotation, params.flip, params.shift, reduced)
    bbox = cut_box(bbox, params.cut)
    if region is None:
        cropped, matrix = crop(image, bbox, size, *move)
    elif params.cut is None:
        cropped, matrix = crop_roi(image, region, size, *move)
    else:
        cropped, matrix = _crop_truncated(image, bbox, params.cut[0], region, size, move)
    if params.background and mask is not None:
        width, height = image.shape[1] * reduced, image.shape[0] * reduced
        person = warp(mask, matrix * [width / mask.shape[1], height / mask.shape[0], 1], size, region is not None)
        _replace_background(
            cropped, person, scene.clutter(rng, panorama.background(rng, size)) if behind is None else behind
        )
    if params.cut and region is None and rng.random() < BLANK_P:
        _blank_beyond(cropped, bbox, matrix, params.cut[0])
    if params.occlude:
        _occlude(cropped, augment.occlusion_area, rng)
    if augment.degrade_p and rng.random() < augment.degrade_p:
        cropped = cv2.GaussianBlur(cropped, (0, 0), rng.uniform(0.3, 1.2) * size / 128)
    if augment.colour:
        factors = rng.uniform(1 - augment.colour, 1 + augment.colour, 3)
        table = np.rint(np.arange(256)[:, None] * factors).clip(0, 255).astype(np.uint8)
        cropped = cv2.LUT(cropped, table[None])
    if augment.degrade_p:
        cropped = _degrade(cropped, augment.degrade_p, rng)
    return cropped, *training_target(joints_img, vis, matrix, size, flip_order if params.flip else None)


def _crop_truncated(
    image: np.ndarray, bbox: np.ndarray, side: str, region: Region, size: int, move: tuple[Any, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the crop of a region, as `crop_roi`, from the part of the image that ends at one side of the box."""
    reduced = move[-1]
    left, top = (math.floor(float(value) / reduced) for value in bbox[:2])
    right, bottom = (math.ceil(float(value) / reduced) for value in bbox[:2] + bbox[2:])
    x, y = (left if side == "left" else 0), (top if side == "top" else 0)
    part = image[y : bottom if side == "bottom" else None, x : right if side == "right" else None]
    moved = replace(region, centre=region.centre - reduced * np.array([x, y]))
    cropped, matrix = crop_roi(part, moved, size, *move)
    matrix[:, 2] -= reduced * matrix[:, :2] @ [x, y]
    return cropped, matrix


def _replace_background(image: np.ndarray, person: np.ndarray, behind: np.ndarray) -> None:
    """Put (S, S, 3) RGB 0 to 255 behind the person, in place. person: (S, S) uint8, 255 on the person."""
    alpha = person[..., None].astype(np.float32) / 255
    image[:] = np.rint(behind + alpha * (image.astype(np.float32) - behind)).clip(0, 255)


def _blank_beyond(image: np.ndarray, bbox: np.ndarray, matrix: np.ndarray, side: str) -> None:
    """Fill the crop beyond one side of the box with black, as beyond the border of an image, in place."""
    x, y, w, h = bbox
    far = 10 * max(w, h)
    left, right = {"left": (x - far, x), "right": (x + w, x + w + far)}.get(side, (x - far, x + w + far))
    top, bottom = {"top": (y - far, y), "bottom": (y + h, y + h + far)}.get(side, (y - far, y + h + far))
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) @ matrix[:, :2].T + matrix[:, 2]
    cv2.fillConvexPoly(image, np.rint(corners).astype(np.int32), (0, 0, 0))


def _degrade(image: np.ndarray, chance: float, rng: np.random.Generator) -> np.ndarray:
    """Return the image with sensor noise and JPEG artefacts, each with the given probability."""
    if rng.random() < chance:
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(2, 14))
        image = np.rint(image + noise).clip(0, 255).astype(np.uint8)
    if rng.random() < chance:
        quality = (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 75)))
        image = np.asarray(cv2.imdecode(cv2.imencode(".jpg", image[..., ::-1], quality)[1], cv2.IMREAD_COLOR_RGB))
    return image


def _occlude(image: np.ndarray, largest: float, rng: np.random.Generator) -> None:
    """Fill a random rectangle inside the box with noise, in place (random erasing, reference [52] of the paper)."""
    size = len(image)
    side = size / BOX_PADDING
    area, aspect = rng.uniform(0, largest) * side * side, rng.uniform(0.3, 1 / 0.3)
    height, width = int(min(math.sqrt(area * aspect), side)), int(min(math.sqrt(area / aspect), side))
    corner = (size - side) / 2 + rng.random(2) * (side - width, side - height)
    x, y = int(corner[0]), int(corner[1])
    image[y : y + height, x : x + width] = rng.integers(0, 256, (height, width, 3), np.uint8)
