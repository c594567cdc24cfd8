"""The 33 landmarks of BlazePose: on the body mesh, in rendered sets, and derived from the joints of Human3.6M."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arch.errors import InputError
from explore.data import open_dataset
from explore.data.config import DataConfig, DatasetConfig
from explore.data.label.annotations import Labelled, write_annotations
from explore.data.landmarks import between, from_blazepose33, to_blazepose33
from explore.data.mix import to_skeleton
from explore.data.sample import Dataset
from explore.data.skeleton import BLAZEPOSE33, COCO17, H36M17, H36M18
from explore.data.synthetic import dataset as synthetic
from explore.data.synthetic.body import load_body, skin
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.dataset import landmark_file, render_dataset
from explore.evaluation.evaluator import open_evaluator

SMALL = SyntheticConfig(level="easy", size=64, train_frames=12, test_frames=6, skeleton="blazepose33")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_dataset(tmp_path_factory.mktemp("landmarks"), SMALL)


@pytest.fixture(scope="module")
def both(made: Path) -> tuple[Dataset, Dataset]:
    """The same frames with joints and with landmarks."""
    return synthetic.load(made, "train"), synthetic.load(made, "train", skeleton="blazepose33")


def at(points: np.ndarray, name: str) -> np.ndarray:
    found: np.ndarray = points[..., BLAZEPOSE33.index(name), :]
    return found


# ---- the body mesh ----


def test_landmarks_of_the_mesh_are_symmetric_and_in_their_places() -> None:
    body = load_body()
    for shape in body.shapes[:5]:
        vertices, heads = body.rest(shape)
        transforms, places = body.pose(heads, {})
        points = 1000 * body.landmarks(skin(transforms, vertices), places)
        np.testing.assert_allclose(points[BLAZEPOSE33.flip_order] * [-1, 1, 1], points, atol=1.0)
        left = {name[2:]: at(points, name) for name in BLAZEPOSE33.names if name.startswith("L_")}
        assert left["Eye_Inner"][0] < left["Eye"][0] < left["Eye_Outer"][0] < left["Ear"][0]
        assert 20 < left["Eye_Outer"][0] - left["Eye_Inner"][0] < 40
        assert at(points, "Nose")[1] < left["Mouth"][1] < left["Ear"][1]  # the front is -y
        assert left["Mouth"][2] < at(points, "Nose")[2] < left["Eye"][2]
        assert left["Heel"][1] > left["Ankle"][1] - 10 > left["Foot_Index"][1]
        assert all(40 < np.linalg.norm(left[finger] - left["Wrist"]) < 140 for finger in ("Pinky", "Index", "Thumb"))
        assert np.linalg.norm(left["Index"] - left["Pinky"]) > 30


def test_depths_are_relative_to_the_hips() -> None:
    points = np.random.default_rng(0).normal((0, 0, 4000), 500, (4, 33, 3))
    hips = [BLAZEPOSE33.index("L_Hip"), BLAZEPOSE33.index("R_Hip")]
    assert BLAZEPOSE33.depth_joints == tuple(hips) and H36M18.depth_joints == (H36M18.root,)
    np.testing.assert_allclose(BLAZEPOSE33.reference_depth(points), points[:, hips, 2].mean(1))


# ---- rendered sets ----


def test_landmarks_project_into_the_frames(both: tuple[Dataset, Dataset]) -> None:
    joints, landmarks = both
    assert landmarks.skeleton == BLAZEPOSE33 and landmarks.files == joints.files and landmarks.hash != joints.hash
    for name in ("L_Shoulder", "R_Elbow", "L_Wrist", "R_Knee", "L_Ankle"):
        own = landmarks.joints_img[:, BLAZEPOSE33.index(name), :2]
        np.testing.assert_allclose(own, joints.joints_img[:, H36M18.index(name), :2], atol=0.05)
    np.testing.assert_allclose(landmarks.root_depth, joints.root_depth, atol=0.1)  # the pelvis is the hips' centre


def test_sets_rendered_without_landmarks_get_them(made: Path, tmp_path: Path) -> None:
    old = tmp_path / made.name
    shutil.copytree(made, old)
    for split in ("train", "test"):
        landmark_file(old, split).unlink()
    images = {path: path.stat().st_mtime_ns for path in old.rglob("*.jpg")}
    with pytest.raises(
        InputError, match=r"blazepose33_train.npy: missing; render the set again with --dataset.skeleton"
    ):
        synthetic.load(old, "train", skeleton="blazepose33")
    assert render_dataset(tmp_path, SMALL) == old
    assert {path: path.stat().st_mtime_ns for path in old.rglob("*.jpg")} == images
    for split in ("train", "test"):
        np.testing.assert_array_equal(np.load(landmark_file(old, split)), np.load(landmark_file(made, split)))


def test_damaged_landmarks_are_one_line(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / made.name)
    landmark_file(tmp_path / made.name, "train").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"blazepose33_train.npy: damaged .*; delete the file"):
        synthetic.load(tmp_path / made.name, "train", skeleton="blazepose33")


def test_a_labelled_set_and_its_mix_with_rendered_people(
    made: Path, both: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendered people have the landmarks of the first data set, in all parts."""
    source = both[1]
    (tmp_path / "set/images").mkdir(parents=True)
    people = []
    for index, sample in enumerate(source.take(range(6))):
        shutil.copy(sample.image, tmp_path / f"set/images/{index}.jpg")
        people.append(
            Labelled(
                f"{index}.jpg", sample.size, sample.f, sample.c, sample.bbox, sample.joints_cam,
                np.ones(33), 1.0, unit=index,
            )
        )  # fmt: skip
    write_annotations(tmp_path / "set", BLAZEPOSE33, people, 0.3)
    own = open_dataset(f"custom:{tmp_path / 'set'}", "train")
    assert own.skeleton == BLAZEPOSE33
    reference = own.joints_cam[:, list(BLAZEPOSE33.depth_joints), 2].mean(1)
    np.testing.assert_allclose(own.joints_img[..., 2], own.joints_cam[..., 2] - reference[:, None], atol=0.11)

    monkeypatch.setenv("EDGEPOSE_CACHE", str(made.parent))
    config = DataConfig(
        data=f"custom:{tmp_path / 'set'}*0.4+synthetic:easy*0.6",
        dataset=DatasetConfig(train_frames=12, test_frames=6, frame=64, test_on="synthetic:easy"),
        input_size=64,
    )
    evaluator = open_evaluator(config)
    mixed = evaluator.train
    assert mixed.skeleton == evaluator.data.skeleton == BLAZEPOSE33
    assert (mixed.vis > 0).all() and mixed.origins.count("synthetic-easy") == 12
    np.testing.assert_allclose(mixed.joints_cam[-12:], source.joints_cam)


def test_a_network_of_33_joints_is_evaluated_on_its_landmarks(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(made.parent))
    dataset = DatasetConfig(train_frames=12, test_frames=6, frame=64, skeleton="blazepose33")
    evaluator = open_evaluator(DataConfig(data="synthetic:easy", dataset=dataset, input_size=64))
    found = evaluator.evaluation
    np.testing.assert_allclose(found.to_camera(found.target), found.joints_cam, atol=0.6)
    assert evaluator.evaluate(found.target).mpjpe < 0.5


# ---- maps ----


def test_landmarks_follow_from_joints_and_joints_from_landmarks(both: tuple[Dataset, Dataset]) -> None:
    joints, landmarks = both
    derived = to_skeleton(joints, BLAZEPOSE33)
    toes = [BLAZEPOSE33.index("L_Foot_Index"), BLAZEPOSE33.index("R_Foot_Index")]
    assert np.flatnonzero((derived.vis == 0).all(0)).tolist() == toes and (derived.vis > 0).sum(1).tolist() == [31] * 12
    error = np.linalg.norm(derived.joints_cam - landmarks.joints_cam, axis=2)
    assert np.nanmean(error) < 40 and np.isnan(error[:, toes]).all()
    np.testing.assert_allclose(derived.root_depth, landmarks.root_depth, atol=5)
    back = to_skeleton(landmarks, H36M18)
    assert (back.vis > 0).all() and np.linalg.norm(back.joints_cam - joints.joints_cam, axis=2).mean() < 10
    np.testing.assert_allclose(back.joints_img[..., :2], joints.joints_img[..., :2], atol=4)


def test_a_landmark_whose_joints_are_hidden_is_hidden(both: tuple[Dataset, Dataset]) -> None:
    joints = both[0]
    vis, cam = joints.vis.copy(), joints.joints_cam.copy()
    wrist = H36M18.index("R_Wrist")
    vis[:, wrist], cam[:, wrist] = 0, np.nan
    derived = to_skeleton(replace(joints, vis=vis, joints_cam=cam), BLAZEPOSE33)
    hidden = {BLAZEPOSE33.names[index] for index in np.flatnonzero((derived.vis == 0).all(0))}
    assert hidden == {"R_Wrist", "R_Pinky", "R_Index", "R_Thumb", "L_Foot_Index", "R_Foot_Index"}
    assert np.isfinite(derived.joints_cam[derived.vis > 0]).all()


def test_maps_keep_places_and_sides() -> None:
    full, back, shorter = to_blazepose33(H36M18.names), from_blazepose33(), to_blazepose33(H36M17.names)
    for found in (full, back, shorter):
        np.testing.assert_allclose(found.matrix.sum(1), 1)
    mirrored = full.matrix[BLAZEPOSE33.flip_order][:, H36M18.flip_order]
    np.testing.assert_allclose(mirrored, full.matrix, atol=2e-4)
    assert BLAZEPOSE33.names[int(full.error_mm.argmax())].endswith("Foot_Index") and full.derived.sum() == 31
    joints = np.random.default_rng(0).normal(size=(18, 3))
    joints[17] = joints[[H36M18.index("L_Shoulder"), H36M18.index("R_Shoulder")]].mean(0)
    np.testing.assert_allclose(shorter.matrix @ joints[:17], full.matrix @ joints, atol=1e-9)
    identity = to_blazepose33(BLAZEPOSE33.names)
    assert (identity.matrix == np.eye(33)).all() and identity.derived.all()


def test_other_skeletons_have_no_map() -> None:
    with pytest.raises(
        InputError, match=r"joints Nose, L_Eye, R_Eye, L_Ear, ...: the landmarks of BlazePose do not follow"
    ):
        to_blazepose33(COCO17.names)
    assert between(COCO17, BLAZEPOSE33) is None and between(BLAZEPOSE33, COCO17) is None


def test_record_of_a_checkpoint_keeps_the_reference_of_depths() -> None:
    from explore.export.training_data import skeleton_of
    from explore.train.provenance import joint_names

    record = joint_names(BLAZEPOSE33)
    again = type(record).model_validate(json.loads(record.model_dump_json()))
    assert skeleton_of(again) == BLAZEPOSE33
