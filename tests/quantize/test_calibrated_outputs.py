"""Calibrated probabilities and the scale of people."""

from __future__ import annotations

import json

import numpy as np
import pytest

from explore.predict import BUNDLED
from quantize.confidence import Confidence, fit_confidence, fit_logistic, reliability, separation
from quantize.runner import fault_of
from quantize.scale import fit_scale, scale_by_bones, scale_error

EDGES = [(0, 1), (1, 2), (2, 3), (0, 4)]


def test_logistic_regression_finds_the_truth() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(-3, 1.5, 20000)
    true = rng.random(20000) < 1 / (1 + np.exp(-(1.7 * values + 4)))
    scale, offset = fit_logistic(values, true)
    assert scale == pytest.approx(1.7, abs=0.1) and offset == pytest.approx(4, abs=0.2)


def test_separable_classes_have_a_finite_fit() -> None:
    values = np.array([-5.0, -4, -3, -2, -1, 0])
    scale, offset = fit_logistic(values, values > -2.5)
    assert 0 < scale < 50 and np.isfinite(offset) and offset / scale == pytest.approx(2.5, abs=0.3)
    with pytest.raises(ValueError, match="both classes"):
        fit_logistic(values, np.ones(6, bool))


@pytest.mark.parametrize("count", [30, 400])
def test_equal_values_give_the_frequency(count: int) -> None:
    values = np.full(count, np.log(0.1 + 1e-6))  # their computed deviation is 1e-16
    true = np.arange(count) % 2 == 0
    assert fit_logistic(values, true) == (0, 0)


WRONG = {
    "too few joints": ("confidence", "visibility", [[1.0, 0.0]], "postprocessing.confidence"),
    "three numbers": ("confidence", "presence", [1.0, 0.0, 0.0], "postprocessing.confidence"),
    "no numbers": ("confidence", "visibility", None, "postprocessing.confidence"),
    "another joint": ("scale", "edges", [[0, 1], [0, -1]], "postprocessing.scale.edges"),
    "too few weights": ("scale", "flat", [0.1], "postprocessing.scale: flat"),
    "not a number": ("scale", "deep", [float("nan")] * 2, "postprocessing.scale: flat"),
}


@pytest.mark.parametrize(("part", "key", "value", "fault"), WRONG.values(), ids=WRONG)
def test_constants_that_do_not_fit_the_joints_are_rejected(part: str, key: str, value: object, fault: str) -> None:
    manifest = json.loads((BUNDLED / "manifest.json").read_text())
    rules = manifest["postprocessing"]
    rules["scale"] = {"edges": [[0, 1], [0, 2]], "flat": [0.1, 0.2], "deep": [0.1, 0.2]}
    assert rules["confidence"] and fault_of(manifest) == ""
    rules[part][key] = value
    assert fault_of(manifest).startswith(fault)


def test_calibrated_confidences_are_reliable() -> None:
    rng = np.random.default_rng(1)
    person = rng.random(3000) < 0.5
    visible = person[:, None] & (rng.random((3000, 4)) < 0.8)
    logs = np.where(visible, -1.5, -3) + rng.normal(0, 0.7, (3000, 4))
    confidence = np.exp(logs).astype(np.float32)
    known = np.repeat(person[:, None], 4, 1)
    fitted = fit_confidence(confidence[::2], person[::2], visible[::2], known[::2])
    presence = reliability(fitted.presence_of(confidence[1::2]), person[1::2])
    rest = known[1::2]
    joints = reliability(fitted.visibility_of(confidence[1::2])[rest], visible[1::2][rest])
    assert presence.error < 0.04 and joints.error < 0.04
    assert presence.separation > 0.95 and joints.separation == pytest.approx(0.935, abs=0.03)
    assert sum(presence.count) == 1500 and sum(joints.count) == rest.sum()


def test_a_joint_that_is_never_hidden_has_the_fit_of_all() -> None:
    rng = np.random.default_rng(2)
    visible = rng.random((400, 3)) < 0.5
    visible[:, 2] = True
    confidence = np.where(visible, 0.3, 0.05).astype(np.float32) * rng.uniform(0.3, 3, (400, 3)).astype(np.float32)
    person = np.arange(400) % 2 == 0
    fitted = fit_confidence(confidence, person, visible, np.ones((400, 3), bool))
    assert fitted.visibility[2] not in fitted.visibility[:2] and all(scale > 0 for scale, _ in fitted.visibility)


def test_reliability_counts_and_separation() -> None:
    found = reliability(np.array([0.05, 0.15, 0.95, 1.0]), np.array([False, True, True, True]))
    assert found.count == (1, 1, 0, 0, 0, 0, 0, 0, 0, 2) and found.observed[9] == 1
    assert found.error == pytest.approx((0.05 + 0.85 + 2 * 0.025) / 4, abs=1e-4)
    assert separation(np.array([1.0, 1, 0, 2]), np.array([True, False, False, True])) == 0.875
    assert separation(np.ones(3), np.ones(3, bool)) == 0.5


def test_one_row_equals_a_batch() -> None:
    fitted = Confidence(presence=(2.0, 5.0), visibility=((1.0, 3.0), (2.0, 4.0)))
    confidence = np.array([[0.1, 0.2], [0.01, 0.3]], np.float32)
    assert fitted.presence_of(confidence)[0] == pytest.approx(float(fitted.presence_of(confidence[0])))
    np.testing.assert_allclose(fitted.visibility_of(confidence)[1], fitted.visibility_of(confidence[1]))
    logit = 2 * np.log(confidence + 1e-6).mean(1) + 5
    np.testing.assert_allclose(fitted.presence_of(confidence), 1 / (1 + np.exp(-logit)), rtol=1e-5)


def people(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised joints (N, 5, 3) of people of one size at random distances, and mm per side (N,)."""
    rng = np.random.default_rng(seed)
    lengths = np.array([250.0, 450, 400, 500])
    mm = rng.uniform(1400, 2600, count)
    directions = rng.normal(0, 1, (count, 4, 3)) * [1, 2, 1]
    bones = directions / np.linalg.norm(directions, axis=2, keepdims=True) * lengths[:, None]
    joints = np.zeros((count, 5, 3))
    for place, (start, end) in enumerate(EDGES):
        joints[:, end] = joints[:, start] + bones[:, place]
    return (joints / np.stack([mm, mm, np.full(count, 2000.0)], 1)[:, None] + 0.5).astype(np.float32), mm


def test_scale_by_the_pose_is_better_than_bone_lengths_with_biased_depths() -> None:
    joints, mm = people(800, 0)
    others, true = people(300, 1)
    for found in (joints, others):  # networks predict too small depths
        found[..., 2] = 0.5 + 0.6 * (found[..., 2] - 0.5)
    scale = fit_scale(joints, mm, EDGES, 2000.0)
    square = float(np.square([250.0, 450, 400, 500]).sum())
    bones = scale_by_bones(others, EDGES, square, 2000.0)
    error = scale_error(scale.mm_per_side(others, 2000.0), bones, true)
    assert error.sd < 0.09 and abs(error.bias) < 0.02 and error.people == 300
    assert error.bones_bias > 0.05 and error.sd < error.bones_sd < error.constant_sd
    exact = people(300, 1)[0]
    np.testing.assert_allclose(scale_by_bones(exact, EDGES, square, 2000.0), true, rtol=1e-4)


def test_scale_stays_within_that_of_the_fitted_people() -> None:
    joints, mm = people(300, 0)
    scale = fit_scale(joints, mm, EDGES, 2000.0)
    tiny = (joints - 0.5) * 1e-3 + 0.5
    limits = np.exp([scale.low, scale.high])
    found = scale.mm_per_side(np.concatenate([tiny, joints]), 2000.0)
    assert found.min() >= limits[0] - 1 and found.max() <= limits[1] + 1
    assert limits == pytest.approx([mm.min(), mm.max()], rel=1e-4)
