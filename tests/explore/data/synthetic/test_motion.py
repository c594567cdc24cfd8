"""Captured motion: hand-calculated cases, real clips, and retargeting."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from arch.errors import InputError
from explore.cli import main
from explore.data import open_dataset
from explore.data.synthetic.body import load_body, skin
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.motion import Motion, euler, forward_kinematics, load_motion, read_motion, read_skeleton
from explore.data.synthetic.retarget import REQUIRED_BONES, face_front, rotations_from_joints
from tests.helpers.layouts import REAL_DATA

REAL = REAL_DATA / "cmu_mocap"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no captured motion at {REAL}")

ASF = """# two bones
:version 1.10
:units
  length 0.5
  angle deg
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 2
     name shin
     direction 0 -1 0
     length 10
     axis 0 0 0 XYZ
     dof rx
     limits (-10 170)
  end
  begin
     id 1
     name thigh
     direction 0 -2 0
     length 20
     axis 0 0 90 XYZ
     dof rx rz
     limits (-160 20)
            (-70 70)
  end
:hierarchy
  begin
    root thigh
    thigh shin
  end
"""
AMC = """:FULLY-SPECIFIED
:DEGREES
1
root 0 10 0 0 0 0
thigh 0 0
shin 90
2
root 1 10 2 0 90 0
thigh 90 0
shin 0
"""
UNIT = 0.0254 / 0.5


@pytest.mark.parametrize("order", ["XYZ", "ZYX", "YXZ"])
def test_euler_angles_rotate_in_file_order(order):
    angles = {"x": 20.0, "y": -50.0, "z": 110.0}
    want = Rotation.from_euler(order.lower(), [angles[axis] for axis in order.lower()], degrees=True).as_matrix()
    np.testing.assert_allclose(euler(order, angles), want, atol=1e-12)


def test_forward_kinematics_of_a_leg(tmp_path):
    (tmp_path / "7.asf").write_text(ASF)
    (tmp_path / "7_01.amc").write_text(AMC)
    skeleton = read_skeleton(tmp_path / "7.asf")
    assert list(skeleton.bones) == ["thigh", "shin"]  # the file has them the other way round
    first, second = read_motion(tmp_path / "7_01.amc", skeleton)
    found = forward_kinematics(skeleton, first)
    # y up, z to the front become z up, -y to the front; a shin bent by 90 degrees about x points to the back
    np.testing.assert_allclose(found["root"], [0, 0, 10 * UNIT], atol=1e-12)
    np.testing.assert_allclose(found["thigh"], [0, 0, -10 * UNIT], atol=1e-12)
    np.testing.assert_allclose(found["shin"], [0, 10 * UNIT, -10 * UNIT], atol=1e-12)
    # the thigh's own x axis is turned onto y, along the bone: its rx only twists it
    found = forward_kinematics(skeleton, second)
    np.testing.assert_allclose(found["root"], [UNIT, -2 * UNIT, 10 * UNIT], atol=1e-12)
    np.testing.assert_allclose(found["thigh"], [UNIT, -2 * UNIT, -10 * UNIT], atol=1e-12)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("7.asf", ":hierarchy", ":other", ":hierarchy is missing"),
        ("7.asf", "length 20", "length long", "not a number"),
        ("7.asf", "root thigh", "thigh thigh", "shin is not connected to the root"),
        ("7_01.amc", "thigh 90 0", "thigh 90", "frame 2: thigh has 1 values"),
        ("7_01.amc", "shin 90", "shin x", "frame 1: shin: not a number"),
        ("7_01.amc", "shin 90", "tail 90", "tail has 1 values"),
    ],
)
def test_damaged_files_are_rejected_with_one_line(tmp_path, file, old, new, message):
    (tmp_path / "7.asf").write_text(ASF)
    (tmp_path / "7_01.amc").write_text(AMC)
    path = tmp_path / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message) as caught:
        load_motion(tmp_path)
    assert file in str(caught.value) and "\n" not in str(caught.value)


def test_missing_clips_and_unknown_skeletons_are_rejected(tmp_path):
    with pytest.raises(InputError, match=r"no \.amc clips"):
        load_motion(tmp_path)
    (tmp_path / "7_01.amc").write_text(AMC)
    with pytest.raises(InputError, match=r"7\.asf: cannot be read"):
        load_motion(tmp_path)
    (tmp_path / "7.asf").write_text(ASF)
    body = load_body()
    _, heads = body.rest(body.shapes[0])
    with pytest.raises(InputError, match="bone lowerback is missing"):
        rotations_from_joints(body, heads, load_motion(tmp_path).sample(np.random.default_rng(0), "train"))


def test_splits_of_a_single_clip_are_disjoint(tmp_path):
    (tmp_path / "7.asf").write_text(ASF)
    (tmp_path / "7_01.amc").write_text(AMC)
    motion = load_motion(tmp_path)
    rng = np.random.default_rng(0)
    for split, height in (("train", 0.0), ("test", UNIT)):
        assert {round(float(motion.sample(rng, split)["root"][0]), 6) for _ in range(20)} == {round(height, 6)}
    with pytest.raises(InputError, match="too few for a validation part"):
        motion.sample(rng, "validation")


def test_three_clips_are_one_for_each_part(tmp_path):
    (tmp_path / "7.asf").write_text(ASF)
    (tmp_path / "7_01.amc").write_text(AMC)
    skeleton, frames = load_motion(tmp_path).clips[0]
    clips = tuple((skeleton, (frames[0] | {"root": (float(number), *frames[0]["root"][1:])},)) for number in range(3))
    motion, rng = Motion(clips, ""), np.random.default_rng(0)
    seen = {
        split: {round(float(motion.sample(rng, split)["root"][0]) / UNIT) for _ in range(20)}
        for split in ("train", "validation", "test")
    }
    assert seen == {"train": {0}, "validation": {1}, "test": {2}}


@real
def test_real_clips_have_feet_on_the_floor_and_knees_forwards():
    motion = load_motion(REAL)
    assert len(motion.clips) == 5
    skeleton, frames = motion.clips[0]  # a walk
    walk = [face_front(forward_kinematics(skeleton, frame)) for frame in frames[::5]]
    assert all(set(REQUIRED_BONES) <= set(joints) for joints in walk)
    feet = np.array([min(joints["lfoot"][2], joints["rfoot"][2]) for joints in walk])
    heads = np.array([joints["head"][2] for joints in walk])
    assert feet.min() > -0.03 and feet.max() < 0.1 and 1.5 < heads.min() < heads.max() < 1.7
    for side in "lr":
        hip, knee, ankle = (
            np.array([joints[side + bone] for joints in walk]) for bone in ("hipjoint", "femur", "tibia")
        )
        assert ((knee - (hip + ankle) / 2)[:, 1] < 0).all()
    assert (np.array([joints["ltibia"][0] - joints["rtibia"][0] for joints in walk]) > 0.03).all()


@real
def test_retargeted_bones_follow_the_captured_ones():
    motion, body = load_motion(REAL), load_body()
    rng = np.random.default_rng(1)
    for shape in body.shapes[:3]:
        rest, heads = body.rest(shape)
        for _ in range(8):
            joints = face_front(motion.sample(rng, "train"))
            transforms, places = body.pose(heads, rotations_from_joints(body, heads, joints))
            assert np.isfinite(skin(transforms, rest)).all()
            at = {name: places[body.bone_index[name]] for name in body.bones}
            pairs = [
                (at[f"lowerarm01.{s}"] - at[f"upperarm01.{s}"], joints[f"{s.lower()}humerus"] - joints[f"{s.lower()}clavicle"])
                for s in "LR"
            ] + [
                (at[f"wrist.{s}"] - at[f"lowerarm01.{s}"], joints[f"{s.lower()}radius"] - joints[f"{s.lower()}humerus"])
                for s in "LR"
            ]  # fmt: skip
            for has, wants in pairs:
                assert has @ wants / np.linalg.norm(has) / np.linalg.norm(wants) > 0.999
            for s in "LR":  # ankles seen from between the hips, to the scale of the leg
                has = at[f"foot.{s}"] - (at["upperleg01.L"] + at["upperleg01.R"]) / 2
                wants = joints[f"{s.lower()}tibia"] - (joints["lhipjoint"] + joints["rhipjoint"]) / 2
                assert has @ wants / np.linalg.norm(has) / np.linalg.norm(wants) > 0.99


@real
def test_captured_poses_from_rendering_to_training(tmp_path, capsys):
    options = ["--train-frames=10", "--test-frames=4", "--val-frames=4", "--frame=64", "--workers=1"]
    options.append(f"--cache={tmp_path / 'cache'}")
    moved = shutil.copytree(REAL, tmp_path / "moved")
    names = []
    for folder in (REAL, moved):
        assert main(["data", "synth", "--poses", f"cmu:{folder}", *options, "--json"]) == 0
        names.append(json.loads(capsys.readouterr().out)["path"])
    assert names[0] == names[1]  # by what the files hold, not where they lie
    data = open_dataset(f"synthetic:{names[0]}", "test")
    assert data.name == "synthetic-easy-cmu" and set(data.action) == {"motion"} and len(data) == 4
    out = tmp_path / "net.safetensors"
    arguments = ["--arch", "paper-XS-relu@64", "--samples", "8", "--evaluations", "0", "--out", str(out)]
    assert main(["train", "--data", f"synthetic:{names[0]}", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == "synthetic-easy-cmu"


def test_names_of_sets_without_captured_poses_do_not_change():
    config = SyntheticConfig(size=64, train_frames=20, test_frames=8)
    assert config.name == "synthetic-easy-063149ffc34b"  # recorded with version 0.1
