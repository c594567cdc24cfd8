"""page/people.json: test people, their true poses, and what each exported file predicts for them.

With it the page needs neither the data set nor a runtime.
"""

from __future__ import annotations

import base64
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from arch.files import write_atomic
from explore.data.batches import evaluation_arrays, sample_crop
from explore.data.sample import evenly_spread
from explore.data.skeleton import drawn_edges
from explore.evaluation.evaluator import Evaluator
from explore.evaluation.metrics import annotated, joint_errors, root_aligned
from explore.report.snapshot import read_model
from explore.search.config import SearchConfig
from quantize import manifest
from quantize.bundle import load

FILE = "page/people.json"
COUNT = 6
SIDE = 176  # px of a picture
JPEG_QUALITY = 80


class Pose(BaseModel):
    """Joints of one person. px: as fractions of the picture's side; mm: from the root, in camera axes."""

    model_config = ConfigDict(frozen=True)

    px: list[list[float]]
    mm: list[list[float]]


class Prediction(Pose):
    """The pose that a file predicts, and its error."""

    error_mm: float


class Person(Pose):
    """A test person: its true pose and its picture as a base64 JPEG."""

    name: str
    jpeg: str


class Predictions(BaseModel):
    """Content of page/people.json. predictions: of each person in order, by the bundle's path within the study."""

    model_config = ConfigDict(frozen=True)

    data: str = ""
    joints: list[str] = []
    edges: list[tuple[int, int]] = []
    people: list[Person] = []
    predictions: dict[str, list[Prediction]] = Field({}, validation_alias=AliasChoices("predictions", "answers"))


def write_predictions(folder: Path, evaluator: Evaluator, bundles: list[str]) -> Predictions:
    """Run bundles (paths within the study) on a few test people and write page/people.json.

    Joints that these people do not annotate, such as hands and toes of MuPoTS-3D, are left out.

    Raises:
        InputError: a bundle is broken, or a picture cannot be read.
    """
    joints, chosen = _annotated_joints_and_people(evaluator)
    test = evaluator.data.take(chosen)
    evaluation, skeleton = evaluation_arrays(test, evaluator.size), test.skeleton
    scored = [joint for joint in skeleton.scored if joint in joints]
    predictions = {}
    for path in bundles:
        bundle = load(folder / path)
        with closing(bundle.session()) as session:
            coords, _ = bundle.run_crops(evaluation.images, session)
        mm = root_aligned(evaluation.to_camera(coords), skeleton.root)
        errors = joint_errors(mm, test.joints_cam, skeleton.root)[:, scored].mean(1)
        predictions[path] = [
            Prediction(px=_rounded(px, 4), mm=_rounded(pose, 0), error_mm=round(float(error), 1))
            for px, pose, error in zip(coords[:, joints, :2], mm[:, joints], errors, strict=True)
        ]
    true_mm = root_aligned(test.joints_cam, skeleton.root)[:, joints]
    people = []
    for index in range(len(test)):
        picture, matrix = sample_crop(test, index, SIDE)
        px = (test.joints_img[index, joints, :2] @ matrix[:, :2].T + matrix[:, 2]) / SIDE
        name = f"subject {test.subject[index]}, {test.action[index]}, frame {test.frame[index]}"
        people.append(Person(name=name, jpeg=_jpeg(picture), px=_rounded(px, 4), mm=_rounded(true_mm[index], 0)))
    found = Predictions(
        data=test.name,
        joints=[skeleton.names[joint] for joint in joints],
        edges=[
            (joints.index(a), joints.index(b))
            for a, b in drawn_edges(skeleton.names, skeleton.edges)
            if a in joints and b in joints
        ],
        people=people,
        predictions=predictions,
    )
    write_atomic(folder / FILE, found.model_dump_json())
    return found


def load_predictions(folder: Path) -> Predictions:
    """Read page/people.json of a study; empty if there is none.

    Raises:
        InputError: the file is broken.
    """
    return read_model(folder / FILE, Predictions)


def bundles_of(config: SearchConfig, folder: Path) -> list[str]:
    """Return the bundles of the study's own runtime that exist, as paths within the study."""
    found = (folder / "bundles").glob(f"*/{config.runtime}*/{manifest.FILE}")  # RUNTIME or RUNTIME-RECIPE
    return sorted(path.parent.relative_to(folder).as_posix() for path in found)


def _annotated_joints_and_people(evaluator: Evaluator) -> tuple[list[int], list[int]]:
    """Return the most completely annotated frames, evenly spread, and the joints that all of these annotate."""
    mask = annotated(evaluator.data.joints_cam, evaluator.data.skeleton.root)
    count = mask.sum(1)
    frames = np.flatnonzero(count == count.max())
    chosen = frames[evenly_spread(len(frames), COUNT)]
    return np.flatnonzero(mask[chosen].all(0)).tolist(), chosen.tolist()


def _jpeg(picture: np.ndarray) -> str:
    written, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert written, "OpenCV encodes any uint8 picture"
    return base64.b64encode(data.tobytes()).decode()


def _rounded(values: np.ndarray, digits: int) -> Any:
    return [[round(float(value), digits) for value in row] for row in values]
