import json

import cv2
import numpy as np
import pytest

from arch.errors import InputError
from explore.data import Human36MOptions, open_dataset
from explore.data.augment import AUGMENTS
from explore.data.batches import batch_at, evaluation_arrays
from explore.data.crop import project
from explore.data.images import read_image
from explore.data.readers.human36m import load
from explore.data.skeleton import H36M18
from explore.evaluation import metrics
from tests.helpers.layouts import REAL_DATA, edit

REAL = REAL_DATA / "human36m"
needs_real_frames = pytest.mark.skipif(not REAL.is_dir(), reason=f"no Human3.6M samples at {REAL}")
pytestmark = pytest.mark.usefixtures("first_fault_aborts")
FOUR = Human36MOptions(train_subjects=(1, 5, 7), test_subjects=(8,), train_step=1, test_step=1)


# ---- real frames ----


@needs_real_frames
def test_real_frames_are_read():
    train, test = (open_dataset(f"human36m:{REAL}", split, FOUR) for split in ("train", "test"))
    assert len(train) == 3 and len(test) == 1
    assert train.skeleton is H36M18 and train.joints_cam.shape == (3, 18, 3)
    assert set(train.action) == {"Directions", "SittingDown", "Greeting"} and test.action == ("WalkDog",)
    assert train.hash != test.hash and len(train.hash) == 12
    for sample in train:
        assert read_image(sample.image).shape[:2] == (sample.size[1], sample.size[0])
        assert 3000 < sample.root_depth < 8000


@needs_real_frames
def test_real_joints_lie_inside_the_box():
    data = load(REAL, "train", FOUR)
    x, y, w, h = data.bbox.T[:, :, None]
    inside = (
        (data.joints_img[..., 0] > x) & (data.joints_img[..., 0] < x + w)
        & (data.joints_img[..., 1] > y) & (data.joints_img[..., 1] < y + h)
    )  # fmt: skip
    assert inside.all()
    heights = np.ptp(data.joints_cam[..., 1], axis=1)
    assert (heights < 2000).all()
    shin = np.linalg.norm(data.joints_cam[:, 2] - data.joints_cam[:, 3], axis=-1)
    assert ((shin > 350) & (shin < 520)).all()


@needs_real_frames
def test_real_joints_survive_projection_and_back():
    data = load(REAL, "train", FOUR)
    again = project(data.joints_cam, data.f[:, None], data.c[:, None])
    np.testing.assert_allclose(again, data.joints_img[..., :2], atol=1e-9)
    crops = evaluation_arrays(data, 256)
    assert metrics.score(crops.to_camera(crops.target), data).mpjpe < 0.01
    assert crops.vis.all()


@needs_real_frames
def test_thorax_is_the_midpoint_of_the_shoulders():
    data = load(REAL, "test", FOUR)
    shoulders = data.joints_cam[:, [H36M18.index("L_Shoulder"), H36M18.index("R_Shoulder")]]
    np.testing.assert_allclose(data.joints_cam[:, H36M18.index("Thorax")], shoulders.mean(1))


@needs_real_frames
def test_real_training_batches():
    data = load(REAL, "train", FOUR)
    batch = batch_at(data, 3, 4, 64, AUGMENTS["paper"], seed=1)
    assert batch.images.shape == (4, 64, 64, 3) and batch.target.shape == (4, 18, 3)
    assert batch.vis.mean() > 0.8
    assert metrics.mean_pose_error(data, load(REAL, "test", FOUR)) > 50


@needs_real_frames
def test_missing_subjects_of_the_protocol_are_named():
    with pytest.raises(
        InputError,
        match=r"annotations: the test part lacks subject 9, 11; add its files, or choose among 1, 5, 7, 8 with",
    ):
        load(REAL, "test")


# ---- a small set to be damaged ----


@pytest.fixture
def root(tmp_path):
    """Subject 1, four frames by two cameras."""
    rng = np.random.default_rng(0)
    images, annotations, frames = [], [], {}
    for number in range(4):
        camera = number % 2 + 1
        clip = f"s_01_act_02_subact_01_ca_{camera:02d}"
        name = f"{clip}/{clip}_{number + 1:06d}.jpg"
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (100, 120, 3), np.uint8))
        images.append(
            {
                "id": 10 + number, "file_name": name, "width": 120, "height": 100, "subject": 1,
                "action_name": "Directions", "action_idx": 2, "subaction_idx": 1, "cam_idx": camera,
                "frame_idx": number,
            }
        )  # fmt: skip
        annotations.append(
            {"id": number, "image_id": 10 + number, "keypoints_vis": [True] * 17, "bbox": [20, 20, 50, 60]}
        )
        frames[str(number)] = (rng.normal(0, 300, (17, 3)) + np.array([0, 0, 1000])).tolist()
    facing = [[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]
    camera = {"R": facing, "t": [0, 1000, 5000], "f": [150, 150], "c": [60, 50]}
    folder = tmp_path / "annotations"
    folder.mkdir()
    for kind, value in (
        ("data", {"images": images, "annotations": annotations}),
        ("camera", {"1": camera, "2": {**camera, "t": [100, 1000, 6000]}}),
        ("joint_3d", {"2": {"1": frames}}),
    ):
        (folder / f"Human36M_subject1_{kind}.json").write_text(json.dumps(value))
    return tmp_path


ONE = Human36MOptions(train_subjects=(1,), train_step=1)


def edit_subject(root, kind, change):
    edit(root / "annotations" / f"Human36M_subject1_{kind}.json", change)


def assert_rejected(root, *parts, options=ONE):
    with pytest.raises(InputError) as caught:
        load(root, "train", options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def test_world_coordinates_are_transformed_to_the_camera(root):
    data = load(root, "train", ONE)
    world = json.loads((root / "annotations/Human36M_subject1_joint_3d.json").read_text())["2"]["1"]["0"][0]
    np.testing.assert_allclose(data.joints_cam[0, 0], [world[0], 1000 - world[2], 5000 + world[1]])
    assert data.camera.tolist() == [1, 2, 1, 2]
    assert data.joints_img[0, 0, 0] == pytest.approx(data.joints_cam[0, 0, 0] / data.joints_cam[0, 0, 2] * 150 + 60)


def test_steps_and_protocols(root):
    assert len(load(root, "train", Human36MOptions(train_subjects=(1,), train_step=3))) == 2
    assert len(load(root, "train", Human36MOptions(train_subjects=(1,)))) == 1  # every fifth
    assert Human36MOptions().part("train") == ((1, 5, 6, 7, 8), 5)
    assert Human36MOptions().part("test") == ((9, 11), 64)
    assert Human36MOptions(protocol=1).part("train") == ((1, 5, 6, 7, 8, 9), 5)
    assert Human36MOptions(protocol=1).part("test") == ((11,), 64)


def test_hash_depends_on_the_content(root):
    before = load(root, "train", ONE).hash
    assert load(root, "train", ONE).hash == before
    edit_subject(root, "camera", lambda c: c["1"]["f"].__setitem__(0, 151))
    assert load(root, "train", ONE).hash != before


def test_images_beside_the_annotations_folder(root):
    for folder in (root / "images").iterdir():
        folder.rename(root / folder.name)
    (root / "images").rmdir()
    data = load(root, "train", ONE)
    assert data.path(0).is_file()


def test_take_selects_all_columns(root):
    data = load(root, "train", ONE)
    part = data.take([3, 1])
    assert len(part) == 2 and part.files == (data.files[3], data.files[1])
    assert (part.joints_cam == data.joints_cam[[3, 1]]).all()
    assert part[0].frame == 3 and part[0].camera == 2


def test_batches_are_a_function_of_seed_and_step(root):
    data = load(root, "train", ONE)
    first = batch_at(data, 7, 4, 32, AUGMENTS["paper"], seed=3)
    again = batch_at(data, 7, 4, 32, AUGMENTS["paper"], seed=3)
    other = batch_at(data, 7, 4, 32, AUGMENTS["paper"], seed=4)
    assert (first.images == again.images).all() and (first.target == again.target).all()
    assert (first.images != other.images).any()


def test_each_epoch_contains_every_sample_once(root):
    data = load(root, "train", ONE)
    plain = evaluation_arrays(data, 32)
    seen = []
    for step in range(8):  # batches of three over four samples: epochs end inside batches
        batch = batch_at(data, step, 3, 32, AUGMENTS["none"], seed=0)
        seen += [int((plain.images == image).all((1, 2, 3)).argmax()) for image in batch.images]
    for epoch in range(6):
        assert sorted(seen[4 * epoch : 4 * epoch + 4]) == [0, 1, 2, 3]


# ---- invalid input ----


def test_a_missing_or_empty_folder(tmp_path):
    assert_rejected(tmp_path / "nowhere", "nowhere", "no annotations folder")
    assert_rejected(tmp_path, str(tmp_path), "no annotations folder")
    (tmp_path / "annotations").mkdir()
    assert_rejected(tmp_path, "annotations", "empty")


@pytest.mark.parametrize("kind", ["data", "camera", "joint_3d"])
def test_truncated_annotation_file(root, kind):
    path = root / "annotations" / f"Human36M_subject1_{kind}.json"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_rejected(root, path.name, "not valid JSON", "fetch the file again")


@pytest.mark.parametrize("kind", ["data", "camera", "joint_3d"])
def test_missing_annotation_file(root, kind):
    (root / "annotations" / f"Human36M_subject1_{kind}.json").unlink()
    assert_rejected(root, f"Human36M_subject1_{kind}.json", "missing; restore it")


def test_missing_subject_lists_the_available_ones(root):
    assert_rejected(root, "lacks subject 6;", "choose among 1 with", options=Human36MOptions(train_subjects=(1, 6)))


def test_a_subject_given_twice_is_read_once(root):
    assert len(load(root, "train", Human36MOptions(train_subjects=(1, 1), train_step=1))) == 4


def test_missing_camera(root):
    edit_subject(root, "camera", lambda c: c.pop("2"))
    assert_rejected(root, "Human36M_subject1_camera.json", "camera 2 is missing", "ca_02_000002.jpg")


@pytest.mark.parametrize("key", ["R", "t", "f", "c"])
def test_missing_or_wrong_camera_key(root, key):
    edit_subject(root, "camera", lambda c: c["1"].__setitem__(key, [1, 2, 3, 4, 5]))
    assert_rejected(root, "camera.json", f"camera 1: {key}")
    edit_subject(root, "camera", lambda c: c["1"].pop(key))
    assert_rejected(root, "camera.json", "camera 1", repr(key))


@pytest.mark.parametrize("key", ["keypoints_vis", "id"])
def test_missing_annotation_key(root, key):
    edit_subject(root, "data", lambda d: d["annotations"][2].pop(key))
    assert_rejected(root, "data.json", repr(key))


@pytest.mark.parametrize("key", ["id", "cam_idx", "action_idx", "frame_idx"])
def test_missing_image_key(root, key):
    edit_subject(root, "data", lambda d: d["images"][0].pop(key))
    assert_rejected(root, "data.json", repr(key), *["image 10"] * (key != "id"))


def test_wrong_visibility(root):
    for value in (None, "yes", [1, 2, 3], [[1], [2, 3]]):
        edit_subject(root, "data", lambda d, value=value: d["annotations"][0].update(keypoints_vis=value))
        assert_rejected(root, "data.json", "annotation 0", "keypoints_vis")


def test_missing_broken_and_infinite_joints(root):
    edit_subject(root, "joint_3d", lambda j: j["2"]["1"]["1"][4].__setitem__(1, float("nan")))
    assert_rejected(root, "joint_3d.json", "[2][1][1]", "not finite")
    edit_subject(root, "joint_3d", lambda j: j["2"]["1"].update({"1": [[0, 0, 0]] * 3}))
    assert_rejected(root, "joint_3d.json", "[2][1][1]", "17 x 3")
    edit_subject(root, "joint_3d", lambda j: j["2"]["1"].pop("1"))
    assert_rejected(root, "joint_3d.json", "[2][1][1]", "missing")


def test_joints_behind_the_camera(root):
    edit_subject(root, "camera", lambda c: c["2"].update(t=[0, 0, -9000]))
    assert_rejected(root, "behind camera 2", "camera.json")


@pytest.mark.parametrize("spec", ["human36m", "human36m:", "synthetic:hard", "coco:/x", ""])
def test_unknown_specification_lists_the_readers(spec):
    with pytest.raises(InputError, match=r"human36m:PATH, .*synthetic:easy, synthetic:full"):
        open_dataset(spec, "train")
