"""The same few test people as the shipped files see them: pictures, the truth, and each file's own answers.

`page/people.json` holds all of it, so that the page never needs the data set or a runtime.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict

from arch.files import write_atomic
from explore.data.crop import evaluation_arrays, sample_crop
from explore.judge import Judge
from explore.metrics import joint_errors, root_aligned
from explore.report.part import read_part
from quantize.bundle import load

FILE = "page/people.json"
COUNT = 6
SIDE = 176  # px of a picture
QUALITY = 80


class Answer(BaseModel):
    """One person by one file: joints in shares of the picture's side and in mm from the root, and their error, mm."""

    model_config = ConfigDict(frozen=True)

    px: list[list[float]]
    mm: list[list[float]]
    error_mm: float


class Person(BaseModel):
    """One test person: a JPEG, base64; the truth like an answer."""

    model_config = ConfigDict(frozen=True)

    name: str
    jpeg: str
    px: list[list[float]]
    mm: list[list[float]]


class People(BaseModel):
    """The content of page/people.json. answers: of every person in order, by the bundle's path in the study."""

    model_config = ConfigDict(frozen=True)

    data: str = ""
    joints: list[str] = []
    edges: list[tuple[int, int]] = []
    people: list[Person] = []
    answers: dict[str, list[Answer]] = {}


def keep_people(folder: Path, judge: Judge, bundles: list[str]) -> People:
    """Run those bundles (paths in the study) on a few test people and write page/people.json.

    Joints that the test part does not annotate, hands and toes of MuPoTS-3D, are left out.

    Raises:
        InputError: a bundle that is none, or a picture that cannot be read.
    """
    known, chosen = _choose(judge)
    test = judge.test.take(chosen)
    evaluation, skeleton = evaluation_arrays(test, judge.size), test.skeleton
    scored = [joint for joint in skeleton.scored if joint in known]
    answers = {}
    for path in bundles:
        bundle = load(folder / path)
        session = bundle.session()
        coords, _ = bundle.run_crops(evaluation.images, session)
        session.close()
        mm = root_aligned(evaluation.to_camera(coords), skeleton.root)
        errors = joint_errors(mm, test.joints_cam, skeleton.root)[:, scored].mean(1)
        answers[path] = [
            Answer(px=_rounded(px, 4), mm=_rounded(joints, 0), error_mm=round(float(error), 1))
            for px, joints, error in zip(coords[:, known, :2], mm[:, known], errors, strict=True)
        ]
    true_mm = root_aligned(test.joints_cam, skeleton.root)[:, known]
    people = []
    for index in range(len(test)):
        picture, matrix = sample_crop(test, index, SIDE)
        px = (test.joints_img[index, known, :2] @ matrix[:, :2].T + matrix[:, 2]) / SIDE
        name = f"subject {test.subject[index]}, {test.action[index]}, frame {test.frame[index]}"
        people.append(Person(name=name, jpeg=_jpeg(picture), px=_rounded(px, 4), mm=_rounded(true_mm[index], 0)))
    joints = [skeleton.names[joint] for joint in known]
    edges = [(known.index(a), known.index(b)) for a, b in skeleton.edges if a in known and b in known]
    made = People(data=test.name, joints=joints, edges=edges, people=people, answers=answers)
    write_atomic(folder / FILE, made.model_dump_json())
    return made


def load_people(folder: Path) -> People:
    """What `keep_people` wrote; empty where there is nothing.

    Raises:
        InputError: a file that is no such thing.
    """
    return read_part(folder / FILE, People)


def _choose(judge: Judge) -> tuple[list[int], list[int]]:
    """The joints that the test part annotates, and people with all of these known, spread over it."""
    there = np.isfinite(judge.test.joints_cam).all(2)
    known = np.flatnonzero(there.any(0))
    whole = np.flatnonzero(there[:, known].all(1))
    places = np.linspace(0, len(whole) - 1, min(COUNT, len(whole))).round().astype(int)
    return known.tolist(), [int(index) for index in whole[np.unique(places)]]


def _jpeg(picture: np.ndarray) -> str:
    written, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert written, "OpenCV encodes any uint8 picture"
    return base64.b64encode(data.tobytes()).decode()


def _rounded(values: np.ndarray, digits: int) -> Any:
    return [[round(float(value), digits) for value in row] for row in values]
