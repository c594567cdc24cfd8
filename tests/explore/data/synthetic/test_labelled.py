"""Rendered people in the poses of a labelled set."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from arch.errors import InputError
from explore.cli import main
from explore.data import open_dataset
from explore.data.skeleton import BLAZEPOSE33, H36M17
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.frame import cameras, compose_frame
from explore.data.synthetic.labelled import load_poses
from explore.data.synthetic.pose import rotation_x, rotation_z
from tests.helpers import layouts


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Write a set that is labelled with the joints of rendered people."""
    root = tmp_path_factory.mktemp("labelled")
    path = layouts.custom(root, 12)
    content = json.loads(path.read_text())
    config = SyntheticConfig(level="easy", size=64)
    for number, annotation in enumerate(content["annotations"]):
        record = compose_frame(config, "train", number).record
        camera = cameras(0, record["subject"], 64, "easy")[record["image"]["cam_idx"] - 1]
        joints = np.array(record["world"]) @ camera.rotation.T + camera.shift
        annotation["keypoints_cam"] = joints.round(1).tolist()
    path.write_text(json.dumps(content))
    return root


def directions(joints):
    """Return the unit vectors (..., 8, 3) along the limbs of (..., 17, 3) joints."""
    bones = [(f"{side}_{a}", f"{side}_{b}") for side in "LR" for a, b in
             (("Shoulder", "Elbow"), ("Elbow", "Wrist"), ("Hip", "Knee"), ("Knee", "Ankle"))]  # fmt: skip
    found = np.stack([joints[..., H36M17.index(b), :] - joints[..., H36M17.index(a), :] for a, b in bones], -2)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def upright(joints):
    """Return the angle-free part of poses: limb directions with the hips' axis turned to x."""
    across = joints[H36M17.index("L_Hip")] - joints[H36M17.index("R_Hip")]
    return directions(joints @ rotation_z(-np.arctan2(across[1], across[0])).T)


def test_rendered_limbs_have_the_labelled_directions(labelled):
    config = SyntheticConfig(level="easy", size=64, poses=f"labelled:{labelled}")
    poses = load_poses(labelled).poses["train"]
    mirrored = poses[:, H36M17.flip_order] * [-1, 1, 1]
    known = np.stack([upright(pose) for pose in (*poses, *mirrored)])
    for index in range(8):
        frame = compose_frame(config, "train", index)
        joints = np.array(frame.record["world"])
        cosine = (known * upright(joints)).sum(-1).min(1)  # of the limb that differs most
        assert cosine.max() > np.cos(np.deg2rad(12))
        assert frame.record["image"]["action_name"] == "motion"
        points = dict(zip(BLAZEPOSE33.names, frame.record["landmarks"], strict=True))
        front = np.cross(points["L_Hip"] - points["R_Hip"], points["L_Shoulder"] - points["L_Hip"])
        assert all((points[f"{side}_Foot_Index"] - points[f"{side}_Heel"]) @ front > 0 for side in "LR")


def test_parts_have_poses_of_their_own_and_sources_can_be_joined(labelled):
    poses = load_poses(labelled).poses
    assert len(poses["train"]) == 11 and len(poses["validation"]) == 1 and len(poses["test"]) == 12
    config = SyntheticConfig(level="full", size=64, poses=f"procedural+labelled:{labelled}")
    kinds = [compose_frame(config, "train", index).record["image"]["action_name"] for index in range(40)]
    assert 8 < kinds.count("motion") < 32
    assert config.name != SyntheticConfig(level="full", size=64).name


def test_from_labelled_poses_to_a_data_set(labelled, tmp_path, capsys):
    options = ["--train-frames", "3", "--test-frames", "1", "--val-frames", "1", "--frame", "48", "--workers", "1"]
    arguments = ["data", "synth", "--level", "full", "--poses", f"labelled:{labelled}", "--cache", str(tmp_path)]
    assert main([*arguments, *options, "--json"]) == 0
    folder = json.loads(capsys.readouterr().out)["path"]
    data = open_dataset(f"custom:{labelled}*0.5+synthetic:{folder}*0.5", "train")
    assert len(data) == 15 and data.name == "custom+synthetic-full-labelled"


@pytest.mark.parametrize("sources", ["labeled:x", "cmu:", "procedural+easy:x"])
def test_unknown_sources_of_poses_are_one_line(sources, capsys):
    assert main(["data", "synth", "--poses", sources]) == 2
    assert "poses: give procedural, cmu:FOLDER or labelled:FOLDER" in capsys.readouterr().err


def test_a_set_without_the_needed_joints(tmp_path):
    path = layouts.custom(tmp_path, 3)
    path.write_text(path.read_text().replace("L_Wrist", "L_Hand"))
    with pytest.raises(InputError, match="has no joint L_Wrist, which poses need"):
        load_poses(tmp_path)


def test_the_tilt_of_the_cameras_is_removed(labelled, tmp_path):
    shutil.copytree(labelled, tmp_path / "set")
    level = load_poses(tmp_path / "set").poses["train"]
    path = tmp_path / "set" / "annotations" / "train.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        joints = np.array(annotation["keypoints_cam"])
        annotation["keypoints_cam"] = ((joints - joints[0]) @ rotation_x(np.deg2rad(20)).T + joints[0]).tolist()
    path.write_text(json.dumps(content))
    tilted = load_poses(tmp_path / "set").poses["train"]
    np.testing.assert_allclose(tilted, level, atol=1e-6)
