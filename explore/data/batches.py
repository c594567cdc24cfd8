"""Crops as arrays: augmented training batches and the evaluation set."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from arch.decode import BOX_PADDING
from explore.data.augment import AUGMENTS, Augment, AugmentParams, cut_box, sample_params, training_crop, with_jitter
from explore.data.crop import (
    crop,
    crop_region,
    crop_roi,
    region_matrix,
    to_camera,
    training_target,
)
from explore.data.framing import Region, region_of_box
from explore.data.images import read_frame, read_mask
from explore.data.sample import Dataset
from explore.data.sample_errors import SampleError

MAX_RETRIES = 20  # samples tried in place of one whose image cannot be used
EMPTY_P = 0.5  # probability that the other background is an image without people, if there are any, not a panorama


def sample_crop(dataset: Dataset, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the unaugmented crop of a sample, as `crop` and `crop_roi` do. Raises SampleError for a bad image."""
    region = dataset.region(index)
    part = crop_region(region_matrix(region, size), size)
    image, _ = read_frame(dataset.path(index), dataset.size[index], region=part)  # full size, like `predict`
    return crop_roi(image, region, size) if dataset.framing == "roi" else crop(image, dataset.bbox[index], size)


@dataclass(frozen=True)
class Batch:
    """Training batch: images (B, S, S, 3) uint8 RGB, target (B, J, 3) float32 normalised, vis (B, J) float32 weights.

    depth_weight: (B,) float32, weight of the depths; 0 where the target has no valid z
    negative:     (B,) float32, 1 for images without people
    errors:       a line for each sample that could not be used and was replaced by the next one
    """

    images: np.ndarray
    target: np.ndarray
    vis: np.ndarray
    depth_weight: np.ndarray
    negative: np.ndarray
    errors: tuple[str, ...] = ()


def batch_at(
    dataset: Dataset, step: int, batch: int, size: int, augment: Augment, seed: int, share: tuple[int, int] = (0, 1)
) -> Batch:
    """Return the step-th training batch, a pure function of the arguments, so that training can resume at any step.

    Each group of samples (`Dataset.groups`) has its share of every batch and is drawn in shuffled epochs of its own, so
    that its samples are seen equally often. A sample whose image cannot be used is replaced by the next one
    (explore.data.sample_errors). Images are flipped only if the skeleton allows it. Of an image without people, a
    random square is taken.

    share: (k, n) returns the k-th of n equal parts of the batch, for distributed training

    Raises:
        InputError: MAX_RETRIES samples in a row cannot be used.
    """
    order = dataset.skeleton.flip_order
    if dataset.framing == "roi" and augment != AUGMENTS["none"]:
        augment = with_jitter(augment)
    if not dataset.skeleton.flippable:
        augment = replace(augment, flip_p=0.0)
    joints = len(dataset.skeleton)
    part, parts = share
    places = range(step * batch + batch * part // parts, step * batch + batch * (part + 1) // parts)
    images = np.empty((len(places), size, size, 3), np.uint8)
    target = np.empty((len(places), joints, 3), np.float32)
    vis = np.empty((len(places), joints), np.float32)
    depth_weight, negative = np.empty((2, len(places)), np.float32)
    errors: list[str] = []
    for slot, place in enumerate(places):
        rng = np.random.default_rng((seed, 1, place))
        params = sample_params(augment, rng)
        found = _read_usable(dataset, place, size, params, seed, errors)
        index = found.index
        images[slot], target[slot], vis[slot] = training_crop(
            found.image, found.bbox, dataset.joints_img[index], dataset.vis[index], size, augment, rng, order,
            found.params, found.reduced, found.mask, found.behind, found.region,
        )  # fmt: skip
        depth_weight[slot], negative[slot] = dataset.depth_weight[index], dataset.negative[index]
    return Batch(images, target, vis, depth_weight, negative, tuple(errors))


@dataclass(frozen=True)
class _Usable:
    """A sample that was read. image: reduced by the factor `reduced`; mask, behind, region: as in `training_crop`."""

    index: int
    bbox: np.ndarray
    params: AugmentParams
    image: np.ndarray
    reduced: int
    mask: np.ndarray | None
    behind: np.ndarray | None
    region: Region | None


def _read_usable(
    dataset: Dataset, place: int, size: int, params: AugmentParams, seed: int, errors: list[str]
) -> _Usable:
    """Read the sample at `place` of the training order, or the next usable one."""
    rng = np.random.default_rng((seed, 2, place))  # of all attempts: a broken background is not drawn each time
    for attempt in range(MAX_RETRIES):
        index = sample_at(dataset, place, seed, attempt)
        bbox, chosen = dataset.bbox[index], params
        if dataset.negative[index]:
            bbox, chosen = _random_square(bbox, rng), replace(params, cut=None)
        region = None
        if dataset.framing == "roi":
            region = region_of_box(bbox) if dataset.negative[index] or params.box else dataset.region(index)
            chosen = replace(chosen, background=chosen.background and chosen.cut is None)
        move = (chosen.scale, chosen.rotation, chosen.flip, chosen.shift)
        try:
            square = region or region_of_box(cut_box(bbox, chosen.cut))
            part, allowed = crop_region(region_matrix(square, size, *move), size), square.size * chosen.scale / size
            image, reduced = read_frame(dataset.path(index), dataset.size[index], allowed, part)
            mask = behind = None
            if chosen.background and dataset.masks and dataset.masks[index]:
                mask = read_mask(dataset.root / dataset.masks[index])
                if dataset.negative.any() and rng.random() < EMPTY_P:
                    behind = _empty_place(dataset, size, rng)
            return _Usable(index, bbox, chosen, image, reduced, mask, behind, region)
        except SampleError as error:
            errors.append(str(error))
            last = error
    raise last


def _empty_place(dataset: Dataset, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a part (size, size, 3) of a random image without people."""
    index = int(rng.choice(np.flatnonzero(dataset.negative)))
    box = _random_square(dataset.bbox[index], rng)
    image, reduced = read_frame(dataset.path(index), dataset.size[index], box[2] / size)
    return crop(image, box, size, 1 / BOX_PADDING, reduced=reduced)[0]


def _random_square(bbox: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random square inside a box (x, y, w, h px), at least a quarter as long as its shorter side."""
    side = min(bbox[2:]) * rng.uniform(0.25, 1)
    corner = bbox[:2] + rng.random(2) * (bbox[2:] - side)
    return np.array([*corner, side, side])


def sample_at(dataset: Dataset, place: int, seed: int, ahead: int = 0) -> int:
    """Return the index of the sample at `place` of the training order, or of the one `ahead` of it in its epoch."""
    counts = _counts(dataset)
    order, rank = _period(counts)
    cycle, slot = divmod(place, len(order))
    number = int(order[slot])
    group = dataset.groups[number][0]
    epoch, position = divmod(cycle * counts[number] + int(rank[slot]), len(group))
    return int(group[_epoch_order(seed, epoch, len(group))[(position + ahead) % len(group)]])


def epoch_length(dataset: Dataset) -> int:
    """Return the number of samples per epoch: until each group has been seen once, as in the reference code."""
    counts = _counts(dataset)
    groups = zip(dataset.groups, counts, strict=True)
    return max(-(-len(indices) * sum(counts) // count) for (indices, _), count in groups)


def _counts(dataset: Dataset) -> tuple[int, ...]:
    """Return the number of places of each group in a period of the training order, by weights in thousandths."""
    counts = [max(1, round(1000 * weight)) for _, weight in dataset.groups]
    return tuple(count // math.gcd(*counts) for count in counts)


@lru_cache(maxsize=8)
def _period(counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the group at each place of a period, evenly interleaved, and the place's rank within its group."""
    group = np.repeat(np.arange(len(counts)), counts)
    rank = np.concatenate([np.arange(count) for count in counts])
    order = np.argsort((rank + 0.5) / np.array(counts)[group], kind="stable")
    return group[order], rank[order]


@lru_cache(maxsize=16)
def _epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)


@dataclass(frozen=True)
class Evaluation:
    """Unaugmented crops of a data set with everything needed to score predictions on them.

    images (N, S, S, 3) uint8, matrix (N, 2, 3), f, c (N, 2) px, root_depth (N,) mm, joints_cam (N, J, 3) mm,
    target (N, J, 3) and vis (N, J) as in training
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
        """Return camera mm (N, J, 3) of normalised predictions (N, J, 3)."""
        return to_camera(coords, self.matrix, self.size, self.f, self.c, self.root_depth)


def evaluation_arrays(dataset: Dataset, size: int) -> Evaluation:
    """Decode and crop every sample, unaugmented, in order. Keep the result: each call decodes all images."""
    images = np.empty((len(dataset), size, size, 3), np.uint8)
    matrix = np.empty((len(dataset), 2, 3))
    target = np.empty((*dataset.joints_img.shape,), np.float32)
    vis = np.empty(dataset.vis.shape, np.float32)
    for index in range(len(dataset)):
        images[index], matrix[index] = sample_crop(dataset, index, size)
        target[index], vis[index] = training_target(dataset.joints_img[index], dataset.vis[index], matrix[index], size)
    return Evaluation(size, images, matrix, dataset.f, dataset.c, dataset.root_depth, dataset.joints_cam, target, vis)
