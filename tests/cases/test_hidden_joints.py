"""Item 1: joints with visibility 0 are never scored and enter no mean pose, in no reader and no metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arch.errors import InputError
from explore.cli import main
from explore.data import Human36MOptions, open_dataset
from explore.data.augment import AUGMENTS
from explore.data.batches import batch_at
from explore.data.config import DataConfig, DatasetConfig
from explore.data.sample import Dataset
from explore.data.skeleton import H36M17, MUCO21
from explore.evaluation import metrics
from explore.evaluation.evaluator import open_evaluator
from tests.helpers.layouts import custom, edit, human36m, muco, mupots, standing

HIDDEN = (13, 16)  # wrists of Human3.6M
PLACEHOLDERS = ([0, 0, 0], [-1, -1, -1], [None, None, None], [float("nan")] * 3, [9e9, -9e9, 9e9])


def hide(annotation: dict[str, Any], joints: tuple[int, ...], placeholder: list[Any]) -> None:
    annotation["keypoints_vis"] = [int(joint not in joints) for joint in range(len(annotation["keypoints_cam"]))]
    for joint in joints:
        annotation["keypoints_cam"][joint] = placeholder


def check_scores(hidden: Dataset, whole: Dataset, joints: tuple[int, ...]) -> None:
    """Compare all metrics with the metrics of the visible joints, in a set that annotates all."""
    assert len(hidden) == len(whole)
    assert (hidden.vis[:, joints] == 0).all() and np.isnan(hidden.joints_cam[:, joints]).all()
    assert np.isfinite(hidden.joints_img).all()
    rng = np.random.default_rng(0)
    pred = np.nan_to_num(whole.joints_cam) + rng.normal(0, 100, whole.joints_cam.shape)
    skeleton = whole.skeleton
    kept = [joint for joint in np.flatnonzero(whole.vis.all(0)) if joint not in joints and joint in skeleton.scored]
    root = kept.index(skeleton.root)
    true, some = whole.joints_cam[:, kept], pred[:, kept]
    found = metrics.score(pred, hidden)
    assert found.mpjpe == pytest.approx(metrics.mpjpe(some, true, root))
    assert found.pa_mpjpe == pytest.approx(metrics.pa_mpjpe(some, true))
    assert found.pck_rel == pytest.approx(metrics.pck_rel(some, true, root))
    assert found.auc == pytest.approx(metrics.auc(some, true, root))
    assert set(found.per_joint) == {skeleton.names[joint] for joint in kept}
    assert sum(found.per_action.values()) / len(found.per_action) == pytest.approx(found.mpjpe, rel=0.2)
    assert metrics.frame_errors(pred, hidden).mean() == pytest.approx(found.mpjpe)
    mean = metrics.mean_pose(hidden)
    np.testing.assert_allclose(mean[kept], metrics.mean_pose(whole)[kept])
    assert np.isnan(mean[list(joints)]).all()
    assert metrics.mean_pose_error(hidden, whole) == pytest.approx(metrics.mean_pose_error(whole, hidden))


@pytest.mark.parametrize("placeholder", PLACEHOLDERS, ids=str)
def test_custom(tmp_path: Path, placeholder: list[Any]) -> None:
    for name in ("whole", "hidden"):
        custom(tmp_path / name, 6)

    def change(content: Any) -> None:
        for annotation in content["annotations"]:
            hide(annotation, HIDDEN, placeholder)

    for split in ("train", "test"):
        edit(tmp_path / "hidden" / "annotations" / f"{split}.json", change)
    hidden, whole = (open_dataset(f"custom:{tmp_path / name}", "test") for name in ("hidden", "whole"))
    check_scores(hidden, whole, HIDDEN)
    batch = batch_at(open_dataset(f"custom:{tmp_path / 'hidden'}", "train"), 0, 6, 32, AUGMENTS["none"], 0)
    assert (batch.vis[:, HIDDEN] == 0).all() and np.isfinite(batch.target).all()
    (tmp_path / "hidden" / "annotations" / "test.json").unlink()
    assert main(["data", "check", f"custom:{tmp_path / 'hidden'}", "--sheet", str(tmp_path / "sheet.png")]) == 0


@pytest.mark.parametrize("placeholder", PLACEHOLDERS, ids=str)
def test_human36m(tmp_path: Path, placeholder: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    options = Human36MOptions(test_subjects=(9,), test_step=5)
    for name in ("whole", "hidden"):
        human36m(tmp_path / name, 6)
    folder = tmp_path / "hidden" / "annotations"

    def hide_flags(content: Any) -> None:
        for annotation in content["annotations"]:
            annotation["keypoints_vis"] = [joint not in HIDDEN for joint in range(17)]

    def hide_joints(content: Any) -> None:
        for joints in content["2"]["1"].values():
            for joint in HIDDEN:
                joints[joint] = placeholder

    for subject in (1, 9):
        edit(folder / f"Human36M_subject{subject}_data.json", hide_flags)
        edit(folder / f"Human36M_subject{subject}_joint_3d.json", hide_joints)
    hidden, whole = (open_dataset(f"human36m:{tmp_path / name}", "test", options) for name in ("hidden", "whole"))
    check_scores(hidden, whole, HIDDEN)
    for subject in (5, 6, 7, 8, 9, 11):  # the layout leaves most of them empty, which is a problem of its own
        for file in folder.glob(f"Human36M_subject{subject}_*.json"):
            file.unlink()
    call = ["data", "check", f"human36m:{tmp_path / 'hidden'}", "--sheet", str(tmp_path / "sheet.png"), "--json"]
    assert main(call) == 1
    assert all("part lacks subject" in found["problem"] for found in json.loads(capsys.readouterr().out)["problems"])


def test_sets_that_annotate_occluded_joints(tmp_path: Path) -> None:
    """MuCo-3DHP and MuPoTS-3D locate occluded joints: visibility 0 hides a joint only where it has no position."""
    joints = (MUCO21.index("R_Wrist"), MUCO21.index("L_Wrist"))
    for write, split in ((mupots, "test"), (muco, "train")):
        for name in ("whole", "hidden"):
            path = write(tmp_path / write.__name__ / name, 6)

        def change(content: Any) -> None:
            for annotation in content["annotations"]:
                hide(annotation, joints, [0, 0, 0])
                annotation["keypoints_vis"][0] = 0  # occluded, but with a position

        edit(path, change)
        spec = f"{write.__name__}:{tmp_path / write.__name__}"
        hidden, whole = (open_dataset(f"{spec}/{name}", split) for name in ("hidden", "whole"))
        check_scores(hidden, whole, joints)


def test_hidden_joints_differ_between_samples() -> None:
    """Every metric equals its mean over the joints that each sample annotates; a hidden bone keeps its length."""
    rng = np.random.default_rng(1)
    true = standing(MUCO21, 4)
    pred = true + rng.normal(0, 80, true.shape)
    true[0, 3:5], true[1, 16], true[3, 18:] = np.nan, np.nan, np.nan
    root, mask = MUCO21.root, np.isfinite(true).all(-1)
    errors = metrics.joint_errors(pred, true, root)
    assert (np.isnan(errors) == ~mask).all()
    each = [metrics.mpjpe(pred[n, mask[n]][None], true[n, mask[n]][None], 0) for n in range(4)]
    roots = [int(mask[n, :root].sum()) for n in range(4)]
    each = [metrics.mpjpe(pred[n, mask[n]][None], true[n, mask[n]][None], roots[n]) for n in range(4)]
    assert metrics.mpjpe(pred, true, root) == pytest.approx(np.mean(each))
    each = [metrics.pa_mpjpe(pred[n, mask[n]][None], true[n, mask[n]][None]) for n in range(4)]
    assert metrics.pa_mpjpe(pred, true) == pytest.approx(np.mean(each))
    scaled = metrics.with_bone_lengths(pred, true, MUCO21)
    assert np.isfinite(scaled).all()
    elbow, wrist = MUCO21.index("R_Elbow"), MUCO21.index("R_Wrist")
    np.testing.assert_allclose(scaled[0, wrist] - scaled[0, elbow], pred[0, wrist] - pred[0, elbow])
    scores = metrics.sequence_scores(pred, true, np.array(["TS1", "TS1", "TS2", "TS2"]))
    assert all(0 < found.pck_rel <= 1 for found in scores.values())
    nothing = np.full_like(true, np.nan)
    assert metrics.sequence_scores(pred, nothing, np.array(["TS1"] * 4)) == {}


def test_a_prediction_that_is_not_finite_is_not_taken_for_a_hidden_joint() -> None:
    true = standing(H36M17, 3)
    pred = true.copy()
    pred[1, 5] = np.nan
    assert np.isnan(metrics.mpjpe(pred, true, 0)) and metrics.pck_rel(pred, true, 0) < 1
    with pytest.raises(np.linalg.LinAlgError):
        metrics.pa_mpjpe(pred, true)


def test_people_with_a_hidden_root_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    custom(tmp_path, 20)

    def change(content: Any) -> None:
        content["annotations"][2]["keypoints_vis"] = [0] + [1] * 16

    for split in ("train", "test"):
        edit(tmp_path / "annotations" / f"{split}.json", change)
        data = open_dataset(f"custom:{tmp_path}", split)
        assert len(data) == 19 and data.left_out == {"with a hidden root (Pelvis), which 3D needs": 1}
    assert main(["data", "check", f"custom:{tmp_path}", "--decode", "2", "--sheet", str(tmp_path / "a.png")]) == 0
    assert "custom (test): 19 samples; left out: 1 with a hidden root (Pelvis)" in capsys.readouterr().out

    def hide_all(content: Any) -> None:
        for annotation in content["annotations"]:
            annotation["keypoints_vis"] = [0] + [1] * 16

    edit(tmp_path / "annotations" / "train.json", hide_all)
    with pytest.raises(InputError, match=r"train\.json: no .*left out: 20 with a hidden root"):
        open_dataset(f"custom:{tmp_path}", "train")


def test_people_without_3d_are_left_out_of_a_3d_test_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    custom(tmp_path, 6)

    def change(content: Any) -> None:
        flat = [30.0, 40.0, 2.0] * 17
        content["annotations"][1]["keypoints"] = flat
        content["annotations"][1].pop("keypoints_cam")
        crowd = {"id": 99, "image_id": 10, "iscrowd": 1, "bbox": [1, 1, 50, 50], "keypoints": flat}
        empty = {"id": 98, "image_id": 10, "num_keypoints": 0, "bbox": [1, 1, 50, 50], "keypoints": [0] * 51}
        unseen = {"id": 97, "image_id": 10, "bbox": [1, 1, 50, 50], "keypoints": [0] * 51}
        content["annotations"] += [crowd, empty, unseen]

    for split in ("train", "test"):
        edit(tmp_path / "annotations" / f"{split}.json", change)
    test = open_dataset(f"custom:{tmp_path}", "test")
    assert test.has_depth.all() and len(test) == 5
    assert test.left_out == {"crowd": 1, "without a visible joint": 2, "in 2D only": 1}
    train = open_dataset(f"custom:{tmp_path}", "train")
    assert len(train) == 6 and train.has_depth.sum() == 5 and "in 2D only" not in train.left_out
    assert metrics.score(test.joints_cam, test).mpjpe == 0
    assert main(["data", "check", f"custom:{tmp_path}", "--sheet", str(tmp_path / "a.png")]) in (0, 1)
    assert "left out: 1 crowd, 1 in 2D only, 2 without a visible joint" in capsys.readouterr().out


def test_a_test_part_without_3d_is_named_before_training(tmp_path: Path) -> None:
    custom(tmp_path / "train", 4)
    custom(tmp_path / "flat", 4)

    def change(content: Any) -> None:
        for annotation in content["annotations"]:
            annotation["keypoints"] = [30.0, 40.0, 2.0] * 17
            annotation.pop("keypoints_cam")

    edit(tmp_path / "flat" / "annotations" / "test.json", change)
    config = DataConfig(
        data=f"custom:{tmp_path / 'train'}", dataset=DatasetConfig(test_on=f"custom:{tmp_path / 'flat'}")
    )
    with pytest.raises(InputError, match="test part annotates no 3D position of Pelvis"):
        open_evaluator(config)
