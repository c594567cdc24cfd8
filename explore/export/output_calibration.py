"""Calibration of the outputs of an exported file: probabilities of person and joints, and the scale of people.

Presence and visibility are fitted to the file's own confidences, on crops of people that it was not trained on, on the
same crops with a part covered or cut off, and on crops without people. The scale is fitted to its predictions on
training people, because it needs many, and only on those whose distance was measured or rendered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.decode import BOX_PADDING, DEPTH_RANGE_MM
from explore.data.batches import sample_crop
from explore.data.crop import crop, training_target
from explore.data.images import read_frame
from explore.data.sample import Dataset, evenly_spread
from explore.data.sample_errors import SampleError
from explore.data.skeleton import Skeleton
from explore.data.synthetic import panorama
from explore.evaluation.evaluator import Evaluator
from quantize.confidence import Confidence, Reliability, fit_confidence, reliability
from quantize.scale import Scale, ScaleError, fit_scale, scale_by_bones, scale_error

PEOPLE = 200  # crops with, and as many without people
SCALE_PEOPLE = 400  # training people
MIN_PEOPLE = 20  # below which nothing is fitted
CUT_P = 0.3  # probability that a part of the crop is cut off, as at the border of an image; else it is covered
PERSON = 0.25  # smallest fraction of the joints that are visible where a person counts as present
COVERED = (0.25, 0.7)  # sides of a cover, as fractions of the crop's
COLLAPSED = 1e-6  # of the crop's side, below which the joints of a person are in one place
ATTEMPTS = 20  # to find a place beside the people

Crops = NDArray[np.uint8]
Predict = Callable[[Crops], tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True)
class OutputCalibration:
    """Fitted constants for the manifest, and their errors for the certificate; no scale without people to fit it to.

    reliability: of `presence` and `visibility`, by a fit to the other half of the crops
    """

    confidence: Confidence
    reliability: dict[str, Reliability]
    scale: Scale | None
    scale_error: ScaleError | None

    @property
    def certificate(self) -> dict[str, Any]:
        """Entries of the certificate."""
        reliability = {name: one.model_dump(mode="json") for name, one in self.reliability.items()}
        return {
            "reliability": reliability,
            "scale_error": self.scale_error and self.scale_error.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class LabelledCrops:
    """Crops (N, S, S, 3) with what is true of them.

    person: (N,); visible, known: (N, J) see `fit_confidence`; half: (N,) 0 or 1, equal for crops of the same image
    """

    images: Crops
    person: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    known: NDArray[np.bool_]
    half: NDArray[np.int_]


@dataclass(frozen=True)
class ScaleCrops:
    """Crops (N, S, S, 3) of people with their true joints (N, J, 3), normalised, and the true mm per side (N,)."""

    images: Crops
    joints: NDArray[np.float32]
    mm_per_side: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.mm_per_side)

    def take(self, chosen: NDArray[np.bool_]) -> ScaleCrops:
        return ScaleCrops(self.images[chosen], self.joints[chosen], self.mm_per_side[chosen])


@dataclass(frozen=True)
class CalibrationCrops:
    """Everything that outputs are calibrated on, the same for all files of a network.

    scaled: people to fit the scale to, and others to evaluate it on; None without enough people of known distance
    """

    labelled: LabelledCrops
    scaled: tuple[ScaleCrops, ScaleCrops] | None
    skeleton: Skeleton


def calibration_crops(evaluator: Evaluator, seed: int = 0) -> CalibrationCrops | None:
    """Return the crops to calibrate outputs on, chosen by `seed`; None if fewer than MIN_PEOPLE are evaluated.

    evaluator: of a part that the network was not trained on
    """
    if len(evaluator.data) < MIN_PEOPLE:
        return None
    labelled = labelled_crops(evaluator, np.random.default_rng((seed, 3)))
    return CalibrationCrops(labelled, _scale_crops(evaluator, seed), evaluator.train.skeleton)


def calibrate_outputs(crops: CalibrationCrops, predict: Predict) -> OutputCalibration:
    """Fit presence, visibility and scale of a file.

    predict: returns normalised joints (N, J, 3) and confidences (N, J) of RGB crops (N, S, S, 3)
    """
    values = predict(crops.labelled.images)[1]
    confidence = _fit(crops.labelled, values, np.ones(len(values), bool))
    scale, error = _fit_scale(crops.scaled, crops.skeleton, predict) if crops.scaled else (None, None)
    return OutputCalibration(confidence, _reliability(crops.labelled, values), scale, error)


# ---- presence and visibility ----


def labelled_crops(evaluator: Evaluator, rng: np.random.Generator) -> LabelledCrops:
    """Return crops of people, the same with a part hidden, and crops without people."""
    chosen = evenly_spread(len(evaluator.data), PEOPLE)
    found, data = evaluator.evaluation, evaluator.data
    places = found.target[chosen, :, :2]
    annotated = data.vis[chosen] > 0
    seen = ((places >= 0) & (places < 1)).all(2)
    whole = found.images[chosen]
    empty = _without_people(evaluator, rng)
    covered, masks = zip(*(_with_part_hidden(image, empty, data.framing, rng) for image in whole), strict=True)
    cells = np.clip((places * evaluator.size).astype(int), 0, evaluator.size - 1)
    hidden = np.stack([mask[xy[:, 1], xy[:, 0]] for mask, xy in zip(masks, cells, strict=True)])
    visible = np.concatenate([seen & annotated, seen & annotated & ~hidden])
    nothing = np.zeros((len(empty), len(data.skeleton)), bool)
    halves = np.arange(len(chosen)) * 2 // len(chosen)  # neighbours in a set may show the same person
    return LabelledCrops(
        images=np.concatenate([whole, np.stack(covered), empty]),
        person=np.concatenate([visible.sum(1) >= PERSON * np.tile(annotated.sum(1), 2), nothing[:, 0]]),
        visible=np.concatenate([visible, nothing]),
        known=np.concatenate([annotated, annotated, nothing]),
        half=np.concatenate([halves, halves, np.arange(len(empty)) % 2]),
    )


def _with_part_hidden(
    image: Crops, others: Crops, framing: str, rng: np.random.Generator
) -> tuple[Crops, NDArray[np.bool_]]:
    """Return a crop with a part covered by a part of another image, or cut off, and the mask (S, S) of that part."""
    size = len(image)
    mask, hidden = np.zeros((size, size), bool), image.copy()
    if rng.random() < CUT_P:
        part = int(rng.uniform(*COVERED) * size)
        turn = int(rng.integers(4))
        np.rot90(mask, turn)[part:] = True
        edge = np.rot90(image, turn)[part - 1]
        np.rot90(hidden, turn)[part:] = edge if framing == "roi" else 0
        return hidden, mask
    height, width = (int(side) for side in rng.uniform(*COVERED, 2) * size)
    top, left = int(rng.integers(size - height + 1)), int(rng.integers(size - width + 1))
    mask[top : top + height, left : left + width] = True
    hidden[mask] = others[rng.integers(len(others))][mask]
    return hidden, mask


def _without_people(evaluator: Evaluator, rng: np.random.Generator) -> Crops:
    """Return crops without people: views of panoramas, and places beside the people in the evaluated images."""
    data, size = evaluator.data, evaluator.size
    boxes: dict[str, list[NDArray[np.float64]]] = {}
    for file, bbox in zip(data.files, data.bbox, strict=True):
        boxes.setdefault(file, []).append(bbox)
    crops = []
    for index in evenly_spread(len(data), PEOPLE // 2):
        square = _beside(boxes[data.files[index]], data.size[index], rng)
        if square is not None:
            try:
                image, _ = read_frame(data.path(index), data.size[index])
            except SampleError:  # reported when the part was evaluated
                continue
            crops.append(crop(image, square, size, 1 / BOX_PADDING)[0])
    views = [np.clip(panorama.background(rng, size), 0, 255).astype(np.uint8) for _ in range(PEOPLE - len(crops))]
    return np.stack([*crops, *views])


def _beside(
    boxes: list[NDArray[np.float64]], size: NDArray[np.int_], rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """Return a random square x, y, w, h px inside an image that no box touches, or None if none was found."""
    for _ in range(ATTEMPTS):
        side = min(size) * rng.uniform(0.25, 0.6)
        corner = rng.random(2) * (size - side)
        if all(((corner + side < box[:2]) | (corner > box[:2] + box[2:])).any() for box in boxes):
            return np.array([*corner, side, side])
    return None


def _fit(crops: LabelledCrops, values: NDArray[np.float32], chosen: NDArray[np.bool_]) -> Confidence:
    return fit_confidence(values[chosen], crops.person[chosen], crops.visible[chosen], crops.known[chosen])


def _reliability(crops: LabelledCrops, values: NDArray[np.float32]) -> dict[str, Reliability]:
    """Return the reliability of each half of the crops by the fit to the other half."""
    presence, visibility = np.zeros(len(values)), np.zeros(values.shape)
    for half in (0, 1):
        own = crops.half == half
        fitted = _fit(crops, values, ~own)
        presence[own], visibility[own] = fitted.presence_of(values[own]), fitted.visibility_of(values[own])
    return {
        "presence": reliability(presence, crops.person),
        "visibility": reliability(visibility[crops.known], crops.visible[crops.known]),
    }


# ---- scale ----


def _scale_crops(evaluator: Evaluator, seed: int) -> tuple[ScaleCrops, ScaleCrops] | None:
    """Return training people of one data set, rendered ones if there are any, and other people of the same set.

    The others are the evaluated people if these are from that data set, else a half of the training people.
    """
    train, data = evaluator.train, evaluator.data
    usable = train.has_depth & ~train.negative & np.isfinite(train.root_depth)
    origins = np.array(train.origins).astype(str)
    rendered = usable & np.char.startswith(origins, "synthetic")
    if not usable.any():
        return None
    origin = str(origins[rendered if rendered.any() else usable][0])
    order = np.random.default_rng((seed, 4)).permutation(np.flatnonzero(usable & (origins == origin)))
    people = _crops_with_scale(train, order[:SCALE_PEOPLE], evaluator.size)
    if set(data.origins) == {origin}:
        chosen = np.flatnonzero(data.has_depth)
        others = _crops_with_scale(data, chosen[evenly_spread(len(chosen), PEOPLE)], evaluator.size)
    else:
        even = np.arange(len(people)) % 2 == 0
        people, others = people.take(even), people.take(~even)
    return (people, others) if min(len(people), len(others)) >= MIN_PEOPLE else None


def _crops_with_scale(data: Dataset, indices: NDArray[np.int_], size: int) -> ScaleCrops:
    """Return the people whose joints are all in the crop."""
    crops, targets, scales = [], [], []
    for index in indices.tolist():
        try:
            image, matrix = sample_crop(data, index, size)
        except SampleError:  # reported when the part was read for training or evaluation
            continue
        target, weight = training_target(data.joints_img[index], data.vis[index], matrix, size)
        if not (weight > 0).all():
            continue
        zoom = np.sqrt(np.abs(np.linalg.det(matrix[:, :2])))
        crops.append(image)
        targets.append(target)
        scales.append(float(data.root_depth[index] / data.f[index].mean() * size / zoom))
    shape = (len(crops), size, size, 3)
    joints = np.array(targets, np.float32).reshape(len(crops), len(data.skeleton), 3)
    return ScaleCrops(np.array(crops, np.uint8).reshape(shape), joints, np.array(scales, np.float64))


def _fit_scale(
    scaled: tuple[ScaleCrops, ScaleCrops], skeleton: Skeleton, predict: Predict
) -> tuple[Scale, ScaleError] | tuple[None, None]:
    """Fit the scale to people and their mirror images, and evaluate it on other people.

    A collapsed network, which predicts all joints of a person in one place, has no scale.
    """
    people, others = scaled
    edges = [edge for edge in skeleton.edges if not set(edge) & set(skeleton.unscored)]
    joints, scales = predict(people.images)[0], people.mm_per_side
    predicted = predict(others.images)[0]
    if min(np.ptp(found[..., :2], 1).max(1).min() for found in (joints, predicted)) < COLLAPSED:
        return None, None
    if skeleton.flippable:
        mirrored = joints[:, skeleton.flip_order] * np.array([-1, 1, 1], np.float32) + np.array([1, 0, 0], np.float32)
        joints, scales = np.concatenate([joints, mirrored]), np.concatenate([scales, scales])
    scale = fit_scale(joints, scales, edges, DEPTH_RANGE_MM)
    bones = scale_by_bones(predicted, edges, _square_mm2(people, edges), DEPTH_RANGE_MM)
    return scale, scale_error(scale.mm_per_side(predicted, DEPTH_RANGE_MM), bones, others.mm_per_side)


def _square_mm2(people: ScaleCrops, edges: list[tuple[int, int]]) -> float:
    """Return the mean sum of squared bone lengths of the true poses, mm2, with x and y as at the root's depth."""
    first, second = np.array(edges).T
    difference = people.joints[:, first].astype(np.float64) - people.joints[:, second]
    flat = np.square(difference[..., :2]).sum((1, 2)) * people.mm_per_side**2
    deep = np.square(difference[..., 2]).sum(1) * DEPTH_RANGE_MM**2
    return float((flat + deep).mean())
