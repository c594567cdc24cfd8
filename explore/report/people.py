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

    Raises:
        InputError: a bundle that is none, or a picture that cannot be read.
    """
    test = judge.test.take(_choose(judge))
    evaluation, skeleton = evaluation_arrays(test, judge.size), test.skeleton
    answers = {}
    for path in bundles:
        bundle = load(folder / path)
        session = bundle.session()
        coords, _ = bundle.run_crops(evaluation.images, session)
        session.close()
        mm = root_aligned(evaluation.to_camera(coords), skeleton.root)
        errors = joint_errors(mm, test.joints_cam, skeleton.root)[:, skeleton.scored].mean(1)
        answers[path] = [
            Answer(px=_rounded(px, 4), mm=_rounded(joints, 0), error_mm=round(float(error), 1))
            for px, joints, error in zip(coords[..., :2], mm, errors, strict=True)
        ]
    true_mm = root_aligned(test.joints_cam, skeleton.root)
    people = []
    for index in range(len(test)):
        picture, matrix = sample_crop(test, index, SIDE)
        px = (test.joints_img[index, :, :2] @ matrix[:, :2].T + matrix[:, 2]) / SIDE
        name = f"subject {test.subject[index]}, {test.action[index]}, frame {test.frame[index]}"
        people.append(Person(name=name, jpeg=_jpeg(picture), px=_rounded(px, 4), mm=_rounded(true_mm[index], 0)))
    joints, edges = list(skeleton.names), list(skeleton.edges)
    made = People(data=test.name, joints=joints, edges=edges, people=people, answers=answers)
    write_atomic(folder / FILE, made.model_dump_json())
    return made


def load_people(folder: Path) -> People:
    """What `keep_people` wrote; empty where there is nothing.

    Raises:
        InputError: a file that is no such thing.
    """
    return read_part(folder / FILE, People)


def _choose(judge: Judge) -> list[int]:
    """People with all joints known, spread over the test part."""
    whole = np.flatnonzero(np.isfinite(judge.test.joints_cam).all((1, 2)))
    places = np.linspace(0, len(whole) - 1, min(COUNT, len(whole))).round().astype(int)
    return [int(index) for index in whole[np.unique(places)]]


def _jpeg(picture: np.ndarray) -> str:
    written, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert written, "OpenCV encodes any uint8 picture"
    return base64.b64encode(data.tobytes()).decode()


def _rounded(values: np.ndarray, digits: int) -> Any:
    return [[round(float(value), digits) for value in row] for row in values]
