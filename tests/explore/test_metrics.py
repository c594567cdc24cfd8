import numpy as np
import pytest
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.transform import Rotation

from explore import metrics
from explore.data.skeleton import H36M17


@pytest.fixture
def people():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 300, (20, 17, 3)) + np.array([0, 0, 4000])
    return true + rng.normal(0, 60, true.shape), true


def test_mpjpe_by_hand():
    true = np.zeros((1, 3, 3))
    pred = true.copy()
    pred[0, 1] = (3, 4, 0)
    pred[0, 2] = (0, 0, 12)
    assert metrics.mpjpe(pred, true, 0) == pytest.approx((0 + 5 + 12) / 3)
    # the root's own error moves every joint
    pred[0, 0] = (3, 4, 0)
    assert metrics.mpjpe(pred, true, 0) == pytest.approx((0 + 0 + 13) / 3)


def test_mpjpe_ignores_where_the_person_stands(people):
    pred, true = people
    assert metrics.mpjpe(pred + np.array([100, -50, 900]), true, 0) == pytest.approx(metrics.mpjpe(pred, true, 0))


def test_procrustes_agrees_with_scipy(people):
    pred, true = people
    ours = metrics.procrustes(pred, true)
    for one, fitted, truth in zip(pred, ours, true, strict=True):
        _, moved, disparity = scipy_procrustes(truth, one)
        size = np.linalg.norm(truth - truth.mean(0))
        # scipy mirrors when that fits better; these do not need it
        assert ((fitted - truth) ** 2).sum() == pytest.approx(disparity * size**2, rel=1e-6)
        np.testing.assert_allclose(moved * size + truth.mean(0), fitted, atol=1e-6)


def test_pa_mpjpe_is_blind_to_rotation_scale_and_place(people):
    pred, true = people
    turns = Rotation.random(len(true), rng=np.random.default_rng(1)).as_matrix()
    moved = 0.7 * np.einsum("nab,njb->nja", turns, true) + [10, 20, 30]
    assert metrics.pa_mpjpe(moved, true) == pytest.approx(0, abs=1e-6)
    moved = 1.3 * np.einsum("nab,njb->nja", turns, pred) + [10, 20, 30]
    assert metrics.pa_mpjpe(moved, true) == pytest.approx(metrics.pa_mpjpe(pred, true), rel=1e-9)


def test_pa_mpjpe_does_not_mirror():
    true = np.random.default_rng(0).normal(0, 300, (5, 17, 3))
    mirrored = true * [-1, 1, 1]
    assert metrics.pa_mpjpe(mirrored, true) > 50


def test_pa_mpjpe_of_a_prediction_without_extent_is_finite():
    true = np.random.default_rng(0).normal(0, 300, (2, 17, 3))
    assert np.isfinite(metrics.pa_mpjpe(np.zeros_like(true), true))


def test_pck_and_auc_by_hand():
    true = np.zeros((1, 5, 3))
    pred = true.copy()
    pred[0, 1:, 0] = (10, 149, 151, 1000)
    assert metrics.pck_rel(pred, true, 0) == pytest.approx(0.5)
    # thresholds 0, 5, ... 150: the joint at 10 mm is under 28 of 31 of them, the one at 149 under one
    assert metrics.auc(pred, true, 0) == pytest.approx((28 + 1) / (4 * 31))
    assert metrics.pck_rel(true, true, 0) == 1


def test_joint_errors_keep_the_joints_apart(people):
    pred, true = people
    errors = metrics.joint_errors(pred, true, H36M17.root)
    assert errors.shape == (20, 17)
    assert (errors[:, H36M17.root] == 0).all()
    assert errors.mean() == pytest.approx(metrics.mpjpe(pred, true, H36M17.root))
