"""Calibration of the outputs of a file, on a network whose confidence is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from explore.evaluation.evaluator import Evaluator
from explore.export.output_calibration import CalibrationCrops, calibrate_outputs, calibration_crops
from quantize.certificate import Certificate
from tests.helpers.training import rendered_evaluator


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return rendered_evaluator(tmp_path_factory.mktemp("cache"), train=48, test=40)


@pytest.fixture(scope="module")
def crops(evaluator: Evaluator) -> CalibrationCrops:
    found = calibration_crops(evaluator)
    assert found is not None
    return found


def test_crops_show_people_parts_of_people_and_nobody(evaluator: Evaluator, crops: CalibrationCrops) -> None:
    labelled = crops.labelled
    assert labelled.images.shape[1:] == (64, 64, 3) and len(labelled.images) == 40 + 40 + 200
    assert labelled.person[:40].all() and not labelled.person[80:].any()
    assert labelled.visible[:40].mean() > 0.99 and 0.2 < labelled.visible[40:80].mean() < 0.95
    assert not labelled.visible[80:].any() and not labelled.known[80:].any()
    assert (labelled.half[:40] == labelled.half[40:80]).all()
    hidden = labelled.visible[:40] & ~labelled.visible[40:80]
    places = (evaluator.evaluation.target[..., :2] * 64).astype(int)
    for person, joint in zip(*np.nonzero(hidden), strict=True):  # the image changed where a joint was hidden
        x, y = places[person, joint]
        before, after = labelled.images[person, y, x], labelled.images[40 + person, y, x]
        assert (before != after).any() or before.max() < 8


def test_outputs_are_calibrated(crops: CalibrationCrops) -> None:
    """A network that is sure of visible joints, predicts too small depths, and x and y as they are."""
    labelled, scaled = crops.labelled, crops.scaled
    assert scaled is not None and len(scaled[0]) > 30 and len(scaled[1]) > 30
    known = {part.images.tobytes(): part.joints for part in scaled}

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(len(images))
        joints = known.get(images.tobytes(), np.full((len(images), 18, 3), 0.5, np.float32)).copy()
        joints[..., 2] = 0.5 + 0.7 * (joints[..., 2] - 0.5)
        sure = labelled.visible if len(images) == len(labelled.images) else np.ones((len(images), 18), bool)
        confidence = np.exp(np.where(sure, -1.5, -3.5) + rng.normal(0, 0.5, sure.shape))
        return joints.astype(np.float32), confidence.astype(np.float32)

    found = calibrate_outputs(crops, predict)
    assert found.reliability["presence"].error < 0.1 and found.reliability["presence"].separation > 0.95
    assert found.reliability["visibility"].error < 0.05 and found.reliability["visibility"].separation > 0.98
    assert len(found.confidence.visibility) == 18
    assert found.scale is not None and found.scale_error is not None
    assert found.scale_error.sd < 0.15 and abs(found.scale_error.bias) < abs(found.scale_error.bones_bias)
    values = {"deviations": {}, "operators": {}, "int8_share": 1.0, "delegated": 1.0, "partitions": 1, "transposes": 0}
    certificate = Certificate(**values, bytes=1, float_bytes=None, checks=(), **found.certificate)
    assert certificate.reliability["presence"] == found.reliability["presence"]


def test_a_collapsed_network_has_no_scale(crops: CalibrationCrops) -> None:
    """All of its cells have the same probability, so that every joint is in the centre and no confidence differs."""

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full((len(images), 18, 3), 0.5, np.float32), np.full((len(images), 18), 1 / 256, np.float32)

    found = calibrate_outputs(crops, predict)
    assert found.scale is None and found.scale_error is None
    assert found.confidence.presence[0] == 0 and found.reliability["presence"].error < 0.01
    json.dumps([found.confidence.model_dump(), found.certificate], allow_nan=False)


def test_few_people_are_not_enough(evaluator: Evaluator) -> None:
    assert calibration_crops(Evaluator(evaluator.train, evaluator.data.take(range(10)), 64)) is None
