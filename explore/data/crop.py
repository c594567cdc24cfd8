"""From a picture and a box to the network's square input, and from its answer back to camera millimetres.

Pixel coordinates are continuous: pixel i spans i to i + 1, its centre is i + 0.5. Normalised coordinates
run from 0 to 1 over the crop (x, y) and over DEPTH_RANGE around the root joint (z).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from explore.data import jpeg
from explore.data.faults import SampleFault
from explore.data.sample import Dataset

PADDING = 1.25  # the crop is the box made square, times this (as in the 3DMPPE readers)
DEPTH_RANGE = 2000.0  # mm between z = 0 and z = 1
SLACK = 1.1  # by which a reduced picture may be enlarged again: no further from the ideal than plain bilinear sampling
SMALL = 256  # px: a picture with a side up to this is decoded whole, it takes no time


# ---- pictures ----


def read_image(path: str | Path) -> np.ndarray:
    """Decode a photo to RGB uint8 (H, W, 3), turned as its EXIF data asks for.

    Raises:
        InputError: a missing, foreign or cut-off file.
    """
    return _decode(_read(path), cv2.IMREAD_COLOR_RGB, path)


def read_frame(
    path: str | Path, size: Sequence[int] | np.ndarray, allowed: float = 1.0, region: jpeg.Region | None = None
) -> tuple[np.ndarray, int]:
    """Decode a picture of a data set: RGB uint8, and by how much it is smaller (1, 2, 4 or 8) than `size`.

    JPEGs are decoded at the smallest size that `allowed`, source px per px of the crop, leaves room for; pictures
    stay as they are stored, whatever their EXIF data says.

    size: (width, height) px as annotated.
    region: left, top, right, bottom px that will be looked at; the picture is undefined elsewhere, to save the time.

    Raises:
        SampleFault: cut off, no picture, 16 bits a channel, of another size than annotated.
    """
    data, (width, height) = _read(path), (int(side) for side in size)
    if data[:4] == b"\x89PNG" and data[24:25] == b"\x10":
        raise SampleFault("format", f"{path}: has 16 bits a channel; convert it to 8")
    large_jpeg = data[:2] == b"\xff\xd8" and min(width, height) > SMALL
    reduced = max(factor for factor in _FLAGS if factor == 1 or (large_jpeg and factor <= allowed * SLACK))
    if region and large_jpeg:
        part = jpeg.decode_part(data, (width, height), region, reduced)
        if part is not None:
            return part, reduced
    image = _decode(data, _FLAGS[reduced] | cv2.IMREAD_IGNORE_ORIENTATION, path)
    if image.shape[:2] != (-(-height // reduced), -(-width // reduced)):
        whole = _decode(data, _FLAGS[1] | cv2.IMREAD_IGNORE_ORIENTATION, path)  # a reduced one's size is rounded
        found = f"{whole.shape[1]} x {whole.shape[0]}"
        raise SampleFault(
            "size", f"{path}: the picture is {found}, annotated {width} x {height}; correct width and height"
        )
    return image, reduced


_FLAGS = {1: cv2.IMREAD_COLOR_RGB} | {
    # the grey flag names the reduction alone, beside the RGB flag
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}


def _read(path: str | Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SampleFault("missing", f"{path}: cannot be read ({error.strerror}); restore the picture") from error
    if not data or (data[:2] == b"\xff\xd8" and not jpeg_is_whole(data)):
        raise SampleFault("broken", f"{path}: the picture is cut off; fetch it again")
    return data


def _decode(data: bytes, flags: int, path: str | Path) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise SampleFault("broken", f"{path}: not a picture that can be decoded; give a JPEG or PNG")
    return image


def jpeg_is_whole(data: bytes) -> bool:
    """Whether the end-of-image marker follows the first scan. libjpeg paints what is missing grey, silently."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xDA:
            return data.rfind(b"\xff\xd9", at) >= 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


# ---- geometry ----


def clip_box(bbox: Sequence[float] | np.ndarray, width: int, height: int) -> np.ndarray:
    """The part of `bbox` (x, y, w, h px) inside the picture. ValueError says what is wrong with the box."""
    box = np.asarray(bbox, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError("is not four finite numbers")
    x, y, w, h = box
    if w <= 0 or h <= 0:
        raise ValueError(f"({x:g}, {y:g}, {w:g}, {h:g}) has no area")
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if right - left < 1 or bottom - top < 1:
        raise ValueError(f"({x:g}, {y:g}, {w:g}, {h:g}) lies outside the picture of {width} x {height}")
    return np.array([left, top, right - left, bottom - top])


def affine(
    bbox: np.ndarray,
    size: int,
    scale: float = 1.0,
    rotation_deg: float = 0.0,
    flip: bool = False,
    shift: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """(2, 3) matrix from picture px to crop px: square around the box, times PADDING and `scale`.

    shift moves the picture by these shares of the crop.
    """
    x, y, w, h = (float(value) for value in bbox)
    zoom = size / (max(w, h) * PADDING * scale)
    cos, sin = math.cos(math.radians(rotation_deg)) * zoom, math.sin(math.radians(rotation_deg)) * zoom
    mirror = -1.0 if flip else 1.0
    matrix = np.array([[cos * mirror, -sin, 0.0], [sin * mirror, cos, 0.0]])
    centre_x, centre_y = x + w / 2, y + h / 2
    matrix[0, 2] = size * (0.5 + shift[0]) - matrix[0, 0] * centre_x - matrix[0, 1] * centre_y
    matrix[1, 2] = size * (0.5 + shift[1]) - matrix[1, 0] * centre_x - matrix[1, 1] * centre_y
    return matrix


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Sample the crop: one warp from the full picture. A strong reduction is averaged, not picked at points."""
    shrink = 1 / math.hypot(matrix[0, 0], matrix[1, 0])
    # a large frame is sharper than it is fine: one sample a px does there up to twice less SLACK
    large = min(image.shape[:2]) > SMALL
    fine = min(max(int(shrink * SLACK) if large else round(shrink), 1), 8)
    cv = matrix * fine
    # OpenCV counts from pixel centres
    cv[:, 2] += 0.5 * (cv[:, 0] + cv[:, 1]) - 0.5
    crop = cv2.warpAffine(image, cv, (size * fine, size * fine), flags=cv2.INTER_LINEAR)
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
    """RGB uint8 (size, size, 3) around bbox (x, y, w, h px), and its (2, 3) matrix from picture px to crop px.

    reduced: by how much `image` is smaller than the picture that bbox and matrix count px of.
    """
    matrix = affine(bbox, size, scale, rotation_deg, flip, shift)
    return warp(image, matrix * [reduced, reduced, 1], size), matrix


def shrinkage(bbox: np.ndarray, size: int, scale: float = 1.0) -> float:
    """Picture px per px of the crop."""
    return float(max(bbox[2:])) * PADDING * scale / size


def looked_at(matrix: np.ndarray, size: int) -> jpeg.Region:
    """Left, top, right, bottom px of the picture within which a crop lies. matrix: (2, 3) picture px to crop px."""
    corners = np.linalg.inv(matrix[:, :2]) @ (np.array([[0, size, 0, size], [0, 0, size, size]]) - matrix[:, 2:])
    (left, top), (right, bottom) = np.floor(corners.min(1)), np.ceil(corners.max(1))
    return int(left), int(top), int(right), int(bottom)


def sample_crop(dataset: Dataset, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The unaugmented crop of a sample, as `crop` gives it. Raises SampleFault for a picture that cannot be used."""
    bbox = dataset.bbox[index]
    region = looked_at(affine(bbox, size), size)
    image, reduced = read_frame(dataset.path(index), dataset.size[index], shrinkage(bbox, size), region)
    return crop(image, bbox, size, reduced=reduced)


def training_target(
    joints_img: np.ndarray, vis: np.ndarray, matrix: np.ndarray, size: int, flip_order: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Normalised coordinates (J, 3) float32 and mask (J,) float32, 0 for joints outside crop or depth range.

    joints_img: (J, 3) px, px, mm relative to the root. flip_order: given when the crop is mirrored.
    """
    if flip_order is not None:
        joints_img, vis = joints_img[flip_order], vis[flip_order]
    target = np.empty(joints_img.shape, np.float32)
    target[:, :2] = (joints_img[:, :2] @ matrix[:, :2].T + matrix[:, 2]) / size
    target[:, 2] = joints_img[:, 2] / DEPTH_RANGE + 0.5
    inside = ((target >= 0) & (target <= 1)).all(1)  # depth unknown is 0 mm: within
    return target, (inside & (vis > 0)).astype(np.float32)


def to_camera(
    coords: np.ndarray, matrix: np.ndarray, size: int, f: np.ndarray, c: np.ndarray, root_depth: np.ndarray
) -> np.ndarray:
    """Camera coordinates (N, J, 3) mm of normalised coords (N, J, 3).

    matrix: (N, 2, 3) picture px to crop px; f, c: (N, 2) px; root_depth: (N,) mm.
    """
    coords = np.asarray(coords, np.float64)
    pixels = to_picture(coords, matrix, size)
    depth = (coords[..., 2:] - 0.5) * DEPTH_RANGE + np.asarray(root_depth, np.float64)[:, None, None]
    plane = (pixels - np.asarray(c)[:, None]) / np.asarray(f)[:, None]
    return np.concatenate([plane * depth, depth], -1)


def to_picture(coords: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Picture px (N, J, 2) of normalised coords (N, J, 2 or 3)."""
    matrix = np.asarray(matrix, np.float64)
    inverse = np.linalg.inv(matrix[:, :, :2])
    moved = np.asarray(coords, np.float64)[..., :2] * size - matrix[:, None, :, 2]
    return np.einsum("nab,njb->nja", inverse, moved)


# ---- augmentation ----


@dataclass(frozen=True)
class Augment:
    """How far a training crop may stray. Ranges are those of the reference training code.

    scale:     (low, high): the crop's side is multiplied by a clipped normal between them
    shift:     standard deviation of the crop's centre, in shares of the crop
    rotation:  degrees, one standard deviation, cut at two; with probability rotation_p
    colour:    every channel is multiplied by 1 +- this
    occlusion_p: probability of a rectangle of noise over up to 70 % of the box
    """

    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    rotation: float = 0.0
    rotation_p: float = 0.0
    flip_p: float = 0.0
    colour: float = 0.0
    occlusion_p: float = 0.0


AUGMENTS = {
    "none": Augment(),
    "light": Augment(scale=(0.85, 1.2), shift=0.06, flip_p=0.5, colour=0.2),
    "paper": Augment((0.75, 1.25), 0.0, 30.0, 0.6, 0.5, 0.2, 0.5),
}


@dataclass(frozen=True)
class Move:
    """What one crop is put through."""

    scale: float
    shift: tuple[float, float]
    rotation: float
    flip: bool
    occlude: bool


def draw_move(augment: Augment, rng: np.random.Generator) -> Move:
    spread = float(np.clip(rng.standard_normal(), -1, 1))
    low, high = augment.scale
    scale = 1 + spread * (high - 1 if spread > 0 else 1 - low)
    shift = rng.standard_normal(2) * augment.shift
    angle = float(np.clip(rng.standard_normal(), -2, 2)) * augment.rotation
    chance = rng.random(3)
    rotation = angle if chance[0] < augment.rotation_p else 0.0
    flip, occlude = bool(chance[1] < augment.flip_p), bool(chance[2] < augment.occlusion_p)
    return Move(scale, (float(shift[0]), float(shift[1])), rotation, flip, occlude)


def training_crop(
    image: np.ndarray,
    bbox: np.ndarray,
    joints_img: np.ndarray,
    vis: np.ndarray,
    size: int,
    augment: Augment,
    rng: np.random.Generator,
    flip_order: np.ndarray,
    move: Move | None = None,
    reduced: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One augmented crop: RGB uint8 (size, size, 3), target (J, 3), mask (J,).

    move: drawn from `rng` where none is given. reduced: by how much `image` is smaller than the annotated picture.
    """
    move = move or draw_move(augment, rng)
    picture, matrix = crop(image, bbox, size, move.scale, move.rotation, move.flip, move.shift, reduced)
    if move.occlude:
        _occlude(picture, rng)
    if augment.colour:
        factors = rng.uniform(1 - augment.colour, 1 + augment.colour, 3)
        table = np.rint(np.arange(256)[:, None] * factors).clip(0, 255).astype(np.uint8)
        picture = cv2.LUT(picture, table[None])
    return picture, *training_target(joints_img, vis, matrix, size, flip_order if move.flip else None)


def _occlude(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Paint a rectangle of noise inside the box, in place (random erasing, reference [52] of the paper)."""
    size = len(picture)
    side = size / PADDING
    area, aspect = rng.uniform(0, 0.7) * side * side, rng.uniform(0.3, 1 / 0.3)
    height, width = int(min(math.sqrt(area * aspect), side)), int(min(math.sqrt(area / aspect), side))
    corner = (size - side) / 2 + rng.random(2) * (side - width, side - height)
    x, y = int(corner[0]), int(corner[1])
    picture[y : y + height, x : x + width] = rng.integers(0, 256, (height, width, 3), np.uint8)


# ---- batches ----


@dataclass(frozen=True)
class Batch:
    """images (B, S, S, 3) uint8 RGB, target (B, J, 3) float32 normalised, vis (B, J) float32.

    has_depth: (B,) float32, 0 where the target's z means nothing
    faults:    a line for every picture that could not be used and was replaced by the next sample's
    """

    images: np.ndarray
    target: np.ndarray
    vis: np.ndarray
    has_depth: np.ndarray
    faults: tuple[str, ...] = ()


def batch_at(
    dataset: Dataset, step: int, batch: int, size: int, augment: Augment, seed: int, share: tuple[int, int] = (0, 1)
) -> Batch:
    """The step-th training batch, a pure function of its arguments, so that training resumes anywhere.

    Samples come in shuffled epochs without gaps between them: every sample is seen equally often. Where a mix has
    samples with and without depth, the batch takes from both in turn, each in its own epochs: half and half.
    A sample whose picture cannot be used is replaced by the next one (explore.data.faults).

    share: (k, n) for the k-th of n equal parts of the batch; together they are the whole one.

    Raises:
        InputError: RETRIES samples in a row whose pictures cannot be used.
    """
    order = dataset.skeleton.flip_order
    joints = len(dataset.skeleton)
    part, parts = share
    places = range(step * batch + batch * part // parts, step * batch + batch * (part + 1) // parts)
    images = np.empty((len(places), size, size, 3), np.uint8)
    target = np.empty((len(places), joints, 3), np.float32)
    vis = np.empty((len(places), joints), np.float32)
    has_depth = np.empty(len(places), np.float32)
    faults: list[str] = []
    for slot, place in enumerate(places):
        rng = np.random.default_rng((seed, 1, place))
        move = draw_move(augment, rng)
        index, image, reduced = _usable(dataset, place, size, move, seed, faults)
        images[slot], target[slot], vis[slot] = training_crop(
            image, dataset.bbox[index], dataset.joints_img[index], dataset.vis[index], size, augment, rng, order,
            move, reduced,
        )  # fmt: skip
        has_depth[slot] = dataset.has_depth[index]
    return Batch(images, target, vis, has_depth, tuple(faults))


RETRIES = 20


def _usable(
    dataset: Dataset, place: int, size: int, move: Move, seed: int, faults: list[str]
) -> tuple[int, np.ndarray, int]:
    """Index, picture and its reduction of the sample at a place in the endless order, or the next one after it."""
    for attempt in range(RETRIES):
        index = sample_at(dataset, place, seed, attempt)
        bbox = dataset.bbox[index]
        try:
            allowed = shrinkage(bbox, size, move.scale)
            region = looked_at(affine(bbox, size, move.scale, move.rotation, move.flip, move.shift), size)
            return index, *read_frame(dataset.path(index), dataset.size[index], allowed, region)
        except SampleFault as fault:
            faults.append(str(fault))
            last = fault
    raise last


def sample_at(dataset: Dataset, place: int, seed: int, ahead: int = 0) -> int:
    """Index of the sample at a place in training's endless order, or of one `ahead` of it within its epoch's round."""
    groups = dataset.groups
    group = groups[place % len(groups)]
    epoch, position = divmod(place // len(groups), len(group))
    return int(group[_epoch_order(seed, epoch, len(group))[(position + ahead) % len(group)]])


def epoch_length(dataset: Dataset) -> int:
    """Samples in which training sees the whole of the larger group, as the reference training code counts epochs."""
    return max(len(group) for group in dataset.groups) * len(dataset.groups)


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)


def batches(
    dataset: Dataset, size: int, batch: int, seed: int, augment: Augment, first_step: int = 0
) -> Iterator[Batch]:
    """Endless training batches from `first_step` on."""
    step = first_step
    while True:
        yield batch_at(dataset, step, batch, size, augment, seed)
        step += 1


@dataclass(frozen=True)
class Evaluation:
    """Plain crops of a data set and all it takes to score predictions on them.

    images (N, S, S, 3) uint8, matrix (N, 2, 3), f, c (N, 2) px, root_depth (N,) mm, joints_cam (N, J, 3) mm,
    target (N, J, 3) and vis (N, J) as in training.
    """

    size: int
    images: np.ndarray
    matrix: np.ndarray
    f: np.ndarray
    c: np.ndarray
    root_depth: np.ndarray
    joints_cam: np.ndarray
    target: np.ndarray
    vis: np.ndarray

    def to_camera(self, coords: np.ndarray) -> np.ndarray:
        """Camera mm (N, J, 3) of normalised predictions (N, J, 3)."""
        return to_camera(coords, self.matrix, self.size, self.f, self.c, self.root_depth)


def evaluation_arrays(dataset: Dataset, size: int) -> Evaluation:
    """Decode and crop every sample, unaugmented, in order. Callers keep the result: it costs a decode each."""
    images = np.empty((len(dataset), size, size, 3), np.uint8)
    matrix = np.empty((len(dataset), 2, 3))
    target = np.empty((*dataset.joints_img.shape,), np.float32)
    vis = np.empty(dataset.vis.shape, np.float32)
    for index in range(len(dataset)):
        images[index], matrix[index] = sample_crop(dataset, index, size)
        target[index], vis[index] = training_target(dataset.joints_img[index], dataset.vis[index], matrix[index], size)
    return Evaluation(size, images, matrix, dataset.f, dataset.c, dataset.root_depth, dataset.joints_cam, target, vis)
