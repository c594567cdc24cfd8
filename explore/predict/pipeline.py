"""From a photo and boxes to joints in pixels and in camera millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arch.decode import decode_with_confidence, to_normalised
from arch.errors import InputError
from explore.data.crop import DEPTH_RANGE, PADDING, crop, to_camera, to_picture
from explore.predict.camera import Camera, root_depth_from_box
from explore.predict.clock import Clock
from quantize import bundle as bundles
from quantize.bundle import Bundle
from quantize.runtimes import Session


@dataclass(frozen=True)
class Person:
    """One person found.

    bbox:       (4,) x, y, w, h px, the part inside the photo
    px:         (J, 2) joints in px of the photo
    mm:         (J, 3) joints in camera coordinates: x right, y down, z away from the camera
    confidence: (J,) the largest share of probability in one cell; compare it within one model only
    root_depth: mm, and where it comes from in words
    ms:         crop, network and decoding of this person
    number:     from 1; through a film the same person keeps it
    """

    bbox: np.ndarray
    px: np.ndarray
    mm: np.ndarray
    confidence: np.ndarray
    root_depth: float
    root_depth_from: str
    ms: float
    number: int = 1


@dataclass(frozen=True)
class Model:
    """A bundle with its session; `label` tells it from others that run beside it."""

    label: str
    bundle: Bundle
    session: Session

    @property
    def title(self) -> str:
        about = self.bundle.manifest
        return f"{about.arch.name} · {about.runtime} {about.recipe.name}"


@dataclass(frozen=True)
class Prediction:
    """The people of one photo; image (H, W, 3) RGB uint8. whole: no box was given, the photo served as one."""

    photo: Path
    image: np.ndarray
    camera: Camera
    people: list[Person]
    whole: bool


def open_models(paths: Sequence[str], threads: int) -> list[Model]:
    """Bundles, verified, loaded and warm.

    Raises:
        InputError: no bundle, one that does not run, skeletons that differ.
    """
    loaded = [bundles.load(path).verify() for path in paths]
    for other in loaded[1:]:
        if other.manifest.skeleton != loaded[0].manifest.skeleton:
            raise InputError(f"--model {other.path}: has other joints than {loaded[0].path}; show them one by one")
    models: list[Model] = []
    for bundle in loaded:
        name = f"{bundle.manifest.arch.name}-{bundle.manifest.runtime}"
        twins = sum(model.label.partition("#")[0] == name for model in models)
        models.append(Model(f"{name}#{twins + 1}" if twins else name, bundle, bundle.session(threads)))
        warm_up(bundle, models[-1].session)
    return models


def find_people(
    bundle: Bundle,
    session: Session,
    image: np.ndarray,
    boxes: Sequence[np.ndarray],
    camera: Camera,
    root_depths: Sequence[float | None] | None = None,
    numbers: Sequence[int] | None = None,
    clock: Clock | None = None,
    label: str = "model",
) -> list[Person]:
    """Run the bundle on every box (x, y, w, h px, inside the photo) of an RGB photo.

    root_depths: mm, one a box; without them they are estimated from the boxes' sizes. numbers: of the people, from 1.
    """
    people = []
    for index, bbox in enumerate(boxes):
        given = root_depths[index] if root_depths else None
        number = numbers[index] if numbers else index + 1
        people.append(_find_person(bundle, session, image, bbox, camera, given, number, clock or Clock(), label))
    return people


def _find_person(
    bundle: Bundle,
    session: Session,
    image: np.ndarray,
    bbox: np.ndarray,
    camera: Camera,
    root_depth: float | None,
    number: int,
    clock: Clock,
    label: str,
) -> Person:
    rules = bundle.manifest.preprocessing
    before = clock.of_models()
    with clock("crop", label):
        picture, matrix = crop(image, bbox, rules.size, scale=rules.box_padding / PADDING)
        entry = bundle.normalise(picture[None])
    with clock("network", label):
        raw = session.run(entry)
    with clock("decode", label):
        cells, confidence = decode_with_confidence(raw, bundle.arch, bundle.manifest.postprocessing.depth_gain)
        coords = to_normalised(cells, bundle.arch)[0]
        depth = root_depth_from_box(bbox, rules.box_padding, camera.f) if root_depth is None else root_depth
        px, mm = to_photo_and_camera(
            coords, matrix, rules.size, bundle.manifest.postprocessing.depth_range_mm, camera, depth
        )
    source = "estimated from the box's size" if root_depth is None else "given"
    ms = 1000 * (clock.of_models() - before)
    return Person(bbox, px, mm, confidence[0], depth, source, ms, number)


def to_photo_and_camera(
    coords: np.ndarray, matrix: np.ndarray, size: int, depth_range: float, camera: Camera, root_depth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Normalised joints (J, 3) of a crop to px of the photo (J, 2) and camera mm (J, 3).

    matrix: (2, 3) photo px to crop px; depth_range: mm between z = 0 and z = 1; root_depth: mm.
    """
    coords = np.asarray(coords, np.float64)[None]
    matrix = matrix[None]
    stretch = np.array([1, 1, depth_range / DEPTH_RANGE])  # to_camera has the data's depth range, not the bundle's
    coords = (coords - 0.5) * stretch + 0.5
    mm = to_camera(coords, matrix, size, camera.f[None], camera.c[None], np.array([root_depth]))
    return to_picture(coords, matrix, size)[0], mm[0]


def warm_up(bundle: Bundle, session: Session) -> None:
    """One call that nobody waits for: a runtime's first call is slower than all others."""
    side = bundle.manifest.preprocessing.size
    bundle.run_crops(np.zeros((1, side, side, 3), np.uint8), session)
