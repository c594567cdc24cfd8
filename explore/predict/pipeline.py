"""From an image and person boxes to joints in px and in camera mm."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from arch.decode import BOX_PADDING, DEPTH_RANGE_MM, decode_with_confidence, to_normalised
from arch.errors import InputError
from explore.data.crop import crop, crop_roi, to_camera, to_image
from explore.data.framing import Region, region_of_box, region_of_circle, region_of_joints
from explore.predict.boxes import Box, BoxEntry, boxes_of_frame
from explore.predict.camera import Camera, root_depth_from_side
from explore.predict.detector import Detector
from quantize import bundle as bundles
from quantize.bundle import Bundle
from quantize.runtimes import Session

Detect = Callable[[np.ndarray], list[Box]]
FindRegion = Callable[[np.ndarray, np.ndarray], Region]  # of an image and the box of a person
MAX_RESIZE = 2.0  # largest change of a region's side from one pass or frame to the next
# A circle of the detector is another person's if its centre lies further from the box's, or its radius is smaller or
# larger, in longer sides of the box.
MAX_OFFSET, CIRCLE_RADII = 0.65, (0.3, 1.4)
STAGES = ("read", "detect", "crop", "network", "decode", "draw", "write")


@dataclass(frozen=True)
class PredictOptions:
    """Options that apply to every image.

    out:              output folder
    entries, option:  boxes, and the option that gave them; without boxes people are detected
    full_image:       take the full image as one person's box; that person's root joint is root_depth mm away
    focal, principal: intrinsics in px
    seconds:          length to read from each video
    smooth:           filter the joints of videos
    """

    out: Path
    entries: Sequence[BoxEntry] = ()
    option: str = "--bbox"
    full_image: bool = False
    root_depth: float | None = None
    focal: float | None = None
    principal: tuple[float, float] | None = None
    seconds: float = math.inf
    video_format: str = "mp4"
    smooth: bool = True

    @property
    def detects(self) -> bool:
        """Whether people are to be detected."""
        return not self.entries and not self.full_image


@dataclass(frozen=True)
class Person:
    """Predicted pose of one person.

    bbox:       (4,) x, y, w, h px inside the image
    px:         (J, 2) joints in px of the image
    mm:         (J, 3) joints in camera coordinates: x right, y down, z away from the camera
    confidence: (J,) largest probability of one heatmap cell; comparable within one model only
    root_depth: mm; root_depth_from is its source in words
    ms:         time of crop, network and decode
    number:     from 1; the same in all frames of a video
    region:     of the crop, with framing roi
    following:  region of interest by the joints, in which the person is expected in the next frame of a video
    """

    bbox: np.ndarray
    px: np.ndarray
    mm: np.ndarray
    confidence: np.ndarray
    root_depth: float
    root_depth_from: str
    ms: float
    number: int = 1
    region: Region | None = None
    following: Region | None = None


@dataclass(frozen=True)
class Model:
    """A bundle with its session. `label` is unique among the models of one call."""

    label: str
    bundle: Bundle
    session: Session

    @property
    def title(self) -> str:
        """Name, runtime and quantization, as shown above drawings; `#2` for the second model of the same name."""
        manifest = self.bundle.manifest
        _, mark, number = self.label.partition("#")
        return f"{name_of(self.bundle)}{mark}{number} · {manifest.runtime} {manifest.recipe.name}"


def name_of(bundle: Bundle) -> str:
    """Return the display name of a network: that of its preset, else that of its folder."""
    manifest, folder = bundle.manifest, bundle.path.resolve()
    if manifest.arch.name != manifest.arch_id or bundle.unpacked:
        return manifest.arch.name
    return folder.parent.name if folder.name.startswith(manifest.runtime) else folder.name


@dataclass
class StageTimer:
    """Accumulates seconds by stage and model; `frames` counts the processed photos or video frames."""

    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    frames: int = 0

    @contextmanager
    def stage(self, name: str, model: str = "") -> Iterator[None]:
        """Add the time of a block to a stage. model: label, for the stages that run once for each model."""
        started = time.perf_counter()
        try:
            yield
        finally:
            key = (name, model)
            self.seconds[key] = self.seconds.get(key, 0.0) + time.perf_counter() - started

    def report(self) -> dict[str, float | list[dict[str, float | str]]]:
        """Return the number of frames, frames per second over all stages, and mean ms per frame of each stage."""
        total = sum(self.seconds.values())
        rows: list[dict[str, float | str]] = [
            {"stage": stage, "model": model, "ms": round(1000 * seconds / max(self.frames, 1), 3)}
            for (stage, model), seconds in sorted(self.seconds.items(), key=lambda item: STAGES.index(item[0][0]))
        ]
        frames_per_s = round(self.frames / total, 2) if total else 0.0
        return {"frames": self.frames, "frames_per_s": frames_per_s, "ms_per_frame": rows}


@dataclass(frozen=True)
class Prediction:
    """The people of one photo (H, W, 3) RGB uint8. full_image: the full photo was taken as one person's box."""

    photo: Path
    image: np.ndarray
    camera: Camera
    people: list[Person]
    full_image: bool


class OutputError(InputError):
    """The output folder cannot be written; further inputs would fail, too."""


def output_error(folder: Path, error: OSError) -> OutputError:
    """Return the error of an output folder that cannot be written."""
    return OutputError(f"--out {folder}: cannot be written ({error.strerror}); choose another folder")


def open_models(paths: Sequence[str], threads: int) -> list[Model]:
    """Verify and load bundles, and run each once, because a runtime's first call is slow.

    Raises:
        InputError: a path is no bundle, a model does not run, or the skeletons differ.
    """
    loaded = [bundles.load(path).verify() for path in paths]
    for other in loaded[1:]:
        own, first = (bundle.manifest.skeleton for bundle in (other, loaded[0]))
        if (own.joints, own.root) != (first.joints, first.root):
            raise InputError(
                f"--model {other.path}: its joints differ from those of {loaded[0].path}; run the models separately"
            )
    models: list[Model] = []
    for bundle in loaded:
        name = f"{bundle.manifest.arch.name}-{bundle.manifest.runtime}"
        duplicates = sum(model.label.partition("#")[0] == name for model in models)
        label = f"{name}#{duplicates + 1}" if duplicates else name
        session = bundle.session(threads)
        side = bundle.manifest.preprocessing.size
        bundle.run_crops(np.zeros((1, side, side, 3), np.uint8), session)
        models.append(Model(label, bundle, session))
    return models


def choose_boxes(name: str, frame: int, image: np.ndarray, options: PredictOptions, detect: Detect | None) -> list[Box]:
    """Return the boxes given by the user, else the detected ones, or the full image if `detect` is None.

    Raises:
        InputError: a given box has no area or lies outside the image.
    """
    height, width = image.shape[:2]
    if options.entries:
        return boxes_of_frame(options.entries, options.option, name, frame, width, height)
    if detect is None or options.full_image:
        return [Box(1, np.array([0.0, 0, width, height]), options.root_depth)]
    return detect(image)


def find_region(detector: Detector, image: np.ndarray, bbox: np.ndarray) -> Region:
    """Return the region of the person in a box x, y, w, h px: by the detector's circle, else upright around the box."""
    found = detector.circle(image, bbox)
    if found is None:
        return region_of_box(bbox)
    region, longer = region_of_circle(*found), float(max(bbox[2:]))
    radius = float(np.linalg.norm(found[1] - found[0])) / longer
    offset = float(np.linalg.norm(region.centre - (bbox[:2] + bbox[2:] / 2))) / longer
    same = offset <= MAX_OFFSET and CIRCLE_RADII[0] <= radius <= CIRCLE_RADII[1]
    return region if same else region_of_box(bbox)


def predict_people(
    model: Model,
    image: np.ndarray,
    boxes: Sequence[Box],
    camera: Camera,
    timer: StageTimer | None = None,
    find: FindRegion | None = None,
    followed: Mapping[int, Region] | None = None,
) -> list[Person]:
    """Predict the pose in every box of an image (H, W, 3) RGB uint8.

    Root depths that the boxes lack are estimated from the sizes of the boxes or regions.

    A model with framing roi predicts twice: in the region that `find` gives for a box (by default the upright square
    around it), and in the region by the joints found there. Of a person whose region is in `followed`, by number,
    because it was predicted in the frame before, it predicts once.
    """
    timer, followed = timer or StageTimer(), followed or {}
    if model.bundle.manifest.preprocessing.roi is None:
        return [_predict_in_box(model, image, box, camera, timer) for box in boxes]
    people = []
    for box in boxes:
        region, passes = followed.get(box.number), 1
        if region is None:
            with timer.stage("detect"):
                region, passes = find(image, box.bbox) if find else region_of_box(box.bbox), 2
        people.append(_predict_in_region(model, image, box, region, passes, camera, timer))
    return people


def _predict_in_box(model: Model, image: np.ndarray, box: Box, camera: Camera, timer: StageTimer) -> Person:
    rules, started = model.bundle.manifest.preprocessing, time.perf_counter()
    with timer.stage("crop", model.label):
        cropped, matrix = crop(image, box.bbox, rules.size, scale=rules.box_padding / BOX_PADDING)
    coords, confidence = _run(model, cropped, timer)
    with timer.stage("decode", model.label):
        depth = box.root_depth
        if depth is None:
            depth = root_depth_from_side(float(max(box.bbox[2:])) * rules.box_padding, camera.f)
        px, mm = to_photo_and_camera(coords, matrix, rules.size, _depth_range(model), camera, depth)
    ms = 1000 * (time.perf_counter() - started)
    return Person(box.bbox, px, mm, confidence, depth, _depth_source(box, "box"), ms, box.number)


def _predict_in_region(
    model: Model, image: np.ndarray, box: Box, region: Region, passes: int, camera: Camera, timer: StageTimer
) -> Person:
    """Predict a person in a region of interest; each further pass takes the region by the joints of the one before."""
    rules, started = model.bundle.manifest.preprocessing, time.perf_counter()
    following: Region | None = region
    for _ in range(passes):
        region = following or region
        with timer.stage("crop", model.label):
            cropped, matrix = crop_roi(image, region, rules.size)
        coords, confidence = _run(model, cropped, timer)
        with timer.stage("decode", model.label):
            depth = root_depth_from_side(region.size, camera.f) if box.root_depth is None else box.root_depth
            px, mm = to_photo_and_camera(coords, matrix, rules.size, _depth_range(model), camera, depth)
            following = _next_region(px, region, model)
    ms = 1000 * (time.perf_counter() - started)
    source = _depth_source(box, "region of interest")
    return Person(box.bbox, px, mm, confidence, depth, source, ms, box.number, region, following)


def _next_region(px: np.ndarray, region: Region, model: Model) -> Region | None:
    """Return the region by joints (J, 2) px, with a limited change of its side; None if they describe none."""
    roi = model.bundle.manifest.preprocessing.roi
    found = region_of_joints(px, np.ones(len(px), bool), roi) if roi else None
    if found is None:
        return None
    side = float(np.clip(found.size, region.size / MAX_RESIZE, region.size * MAX_RESIZE))
    return Region(found.centre, side, found.rotation)


def _run(model: Model, cropped: np.ndarray, timer: StageTimer) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised joints (J, 3) and confidence (J,) of a crop (S, S, 3) uint8."""
    bundle = model.bundle
    with timer.stage("crop", model.label):
        network_input = bundle.normalise(cropped[None])
    with timer.stage("network", model.label):
        raw = model.session.run(network_input)
    with timer.stage("decode", model.label):
        cells, confidence = decode_with_confidence(raw, bundle.arch, bundle.manifest.postprocessing.depth_scale)
        return to_normalised(cells, bundle.arch)[0], confidence[0]


def _depth_range(model: Model) -> float:
    return model.bundle.manifest.postprocessing.depth_range_mm


def _depth_source(box: Box, square: str) -> str:
    return f"estimated from the {square}'s size" if box.root_depth is None else "given"


def to_photo_and_camera(
    coords: np.ndarray, matrix: np.ndarray, size: int, depth_range: float, camera: Camera, root_depth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Convert normalised joints (J, 3) of a crop to px of the image (J, 2) and camera mm (J, 3).

    Args:
        matrix: (2, 3) image px to crop px.
        size: side of the crop, px.
        depth_range: mm between z = 0 and z = 1.
        root_depth: mm.
    """
    coords = np.asarray(coords, np.float64)[None]
    matrix = matrix[None]
    coords = (coords - 0.5) * [1, 1, depth_range / DEPTH_RANGE_MM] + 0.5  # to_camera assumes DEPTH_RANGE_MM
    mm = to_camera(coords, matrix, size, camera.f[None], camera.c[None], np.array([root_depth]))
    return to_image(coords, matrix, size)[0], mm[0]
