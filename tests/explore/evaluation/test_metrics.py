from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.transform import Rotation

from arch.errors import InputError
from explore.data import Human36MOptions, open_dataset
from explore.data.batches import evaluation_arrays
from explore.data.skeleton import H36M17, MUCO21
from explore.evaluation import metrics
from tests.helpers import layouts


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


def test_mpjpe_ignores_translation(people):
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


def test_pa_mpjpe_is_invariant_to_similarity_transforms(people):
    pred, true = people
    turns = Rotation.random(len(true), rng=np.random.default_rng(1)).as_matrix()
    moved = 0.7 * np.einsum("nab,njb->nja", turns, true) + [10, 20, 30]
    assert metrics.pa_mpjpe(moved, true) == pytest.approx(0, abs=1e-6)
    moved = 1.3 * np.einsum("nab,njb->nja", turns, pred) + [10, 20, 30]
    assert metrics.pa_mpjpe(moved, true) == pytest.approx(metrics.pa_mpjpe(pred, true), rel=1e-9)


def test_pa_mpjpe_does_not_reflect():
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


def test_joint_errors_have_a_column_per_joint(people):
    pred, true = people
    errors = metrics.joint_errors(pred, true, H36M17.root)
    assert errors.shape == (20, 17)
    assert (errors[:, H36M17.root] == 0).all()
    assert errors.mean() == pytest.approx(metrics.mpjpe(pred, true, H36M17.root))


def test_procrustes_without_scale_agrees_with_scipy(people):
    pred, true = people
    fitted = metrics.procrustes(1.3 * pred, true, scaled=False)
    for one, moved, truth in zip(1.3 * pred, fitted, true, strict=True):
        turn, _ = Rotation.align_vectors(truth - truth.mean(0), one - one.mean(0))
        np.testing.assert_allclose(moved, turn.apply(one - one.mean(0)) + truth.mean(0), atol=1e-6)
    assert metrics.pa_mpjpe(1.3 * pred, true) < np.linalg.norm(fitted - true, axis=-1).mean()


# ---- sequences ----


@pytest.fixture
def crowd():
    rng = np.random.default_rng(2)
    true = rng.normal(0, 300, (12, 21, 3)) + np.array([0, 0, 4000])
    return true + rng.normal(0, 80, true.shape), true


def test_bone_lengths_are_replaced_and_directions_kept(crowd):
    pred, true = crowd
    moved = metrics.with_bone_lengths(pred, true, MUCO21)
    for parent, joint in MUCO21.edges:
        bone, own = moved[:, joint] - moved[:, parent], pred[:, joint] - pred[:, parent]
        np.testing.assert_allclose(
            np.linalg.norm(bone, axis=1), np.linalg.norm(true[:, joint] - true[:, parent], axis=1)
        )
        np.testing.assert_allclose(np.cross(bone, own), 0, atol=1e-6)
    np.testing.assert_allclose(metrics.with_bone_lengths(true, true, MUCO21), true)


def test_sequence_scores_ignore_body_size(crowd):
    _, true = crowd
    shrunk = 0.5 * (true - true[:, [MUCO21.root]])
    names = np.array(["TS1"] * 12)
    found = metrics.sequence_scores(shrunk, true, names)["TS1"]
    assert found.pck_rel == 1 and found.auc == pytest.approx(30 / 31)  # the threshold of 0 mm passes nothing


def test_sequence_scores_agree_with_plain_loops(crowd):
    """Compare with the evaluation of MuPoTS-3D in plain loops, with joints numbered from 1."""
    pred, true = crowd
    parents = [2, 16, 2, 3, 4, 2, 6, 7, 15, 9, 10, 15, 12, 13, 15, 15, 2]
    order = [16, 2, 1, 17, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    names = np.array(["TS2"] * 5 + ["TS10"] * 7)
    want = {}
    for name in ("TS2", "TS10"):
        errors = []
        for person in np.nonzero(names == name)[0]:
            p, t = (a[person, :17] - a[person, 14] for a in (pred, true))
            moved = p.copy()
            for joint in order:
                parent = parents[joint - 1] - 1
                bone = p[joint - 1] - p[parent]
                bone = bone * np.linalg.norm(t[joint - 1] - t[parent]) / np.linalg.norm(bone)
                moved[joint - 1] = moved[parent] + bone
            errors += [np.linalg.norm(moved[joint] - t[joint]) for joint in range(14)]
        curve = [np.mean([error < limit for error in errors]) for limit in range(0, 151, 5)]
        want[name] = (curve[-1], np.mean(curve))
    got = metrics.sequence_scores(pred, true, names)
    assert list(got) == ["TS2", "TS10"]
    for name, (pck, area) in want.items():
        assert 0.3 < pck < 1
        assert (got[name].pck_rel, got[name].auc) == pytest.approx((pck, area))


# ---- scores of a data set ----


def test_scores_by_action_and_unknown_joints(tmp_path):
    layouts.human36m(tmp_path, 4)
    options = Human36MOptions(test_subjects=(9,), test_step=5)
    data = open_dataset(f"human36m:{tmp_path}", "test", options)
    data = replace(data, action=("Walking", "Eating", "Walking", "Eating"))
    pred = data.joints_cam.copy()
    pred[::2, 3, 0] += 17.0  # an ankle, where people walk
    pred[:, 17] += 1000.0  # Thorax is not scored
    found = metrics.score(pred, data)
    assert found.per_action == pytest.approx({"Walking": 1.0, "Eating": 0.0}) and found.mpjpe == pytest.approx(0.5)
    assert found.per_joint["R_Ankle"] == pytest.approx(8.5) and "Thorax" not in found.per_joint

    assert found.sequences == {} and set(found.rigid_per_action) == {"Walking", "Eating"}
    part = replace(data, joints_cam=data.joints_cam.copy())
    part.joints_cam[:, 3] = np.nan
    assert metrics.score(pred, part).mpjpe == 0 and "R_Ankle" not in metrics.score(pred, part).per_joint


def test_sets_without_3d_are_not_scored(tmp_path):
    layouts.mscoco(tmp_path, 2)
    data = open_dataset(f"mscoco:{tmp_path}", "test")
    with pytest.raises(InputError, match="annotates no 3D"):
        metrics.score(np.zeros((2, 19, 3)), data)


def test_error_of_a_wrong_root_depth(tmp_path):
    """x and y relative to the root scale with the root depth; relative depth does not change."""
    layouts.human36m(tmp_path, 4)
    data = open_dataset(f"human36m:{tmp_path}", "test", Human36MOptions(test_subjects=(9,), test_step=5))
    crops = evaluation_arrays(data, 64)
    known = metrics.score(crops.to_camera(crops.target), data).mpjpe
    predicted = replace(crops, root_depth=crops.root_depth * 1.1)
    pred = predicted.to_camera(crops.target)
    wrong = metrics.score(pred, data).mpjpe
    assert known < 0.05 and 20 < wrong < 90
    want = (
        crops.joints_cam[..., :2]
        * ((crops.joints_cam[..., 2] + 0.1 * crops.root_depth[:, None]) / crops.joints_cam[..., 2])[..., None]
    )
    np.testing.assert_allclose(pred[..., :2], want, atol=0.05)
