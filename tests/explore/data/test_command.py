"""The command `data`: rendering of the embedded set and validation of data sets."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from explore.cli import main
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.dataset import render_dataset
from tests.helpers.layouts import REAL_DATA, edit

REAL = REAL_DATA / "human36m"
SIZE = 64


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return render_dataset(tmp_path_factory.mktemp("sets"), SyntheticConfig(size=SIZE, train_frames=20, test_frames=6))


@pytest.fixture
def copy(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "set"))


def check(root, tmp_path, *arguments):
    every_frame = ["--dataset.train-step", "1"]  # every fifth of so few frames would show one subject only
    return main(["data", "check", f"human36m:{root}", "--sheet", str(tmp_path / "sheet.png"), *every_frame, *arguments])


def edit_subject(root, subject, kind, change):
    edit(root / "annotations" / f"Human36M_subject{subject}_{kind}.json", change)


# ---- synth ----


def test_synth_prints_the_folder(tmp_path, capsys):
    arguments = ["data", "synth", "--train-frames", "5", "--test-frames", "2", "--val-frames", "3", "--frame", "48",
                 "--cache", str(tmp_path / "cache"), "--workers", "1", "--sheet", str(tmp_path / "sheet.png")]  # fmt: skip
    assert main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    folder = Path(printed[-1])
    assert (folder / "dataset.json").is_file() and len(list(folder.rglob("*.jpg"))) == 10
    assert printed[0].split()[:2] == ["train", "5"] and "S9, S11" in printed[1]
    assert printed[2].split()[:2] == ["validation", "3"] and "S3, S4" in printed[2]
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None and sheet.std() > 20
    written = (folder / "dataset.json").stat().st_mtime_ns
    assert main([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == str(folder) and facts["frames"] == {"train": 5, "test": 2, "validation": 3}
    assert (folder / "dataset.json").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frame", "8"], "--frame 8: out of range; give 32 to 1024"),
        (["--train-frames", "0"], "train_frames: "),
        (["--level", "hard"], "--level hard: unknown level"),
        (["--sead", "1"], "unrecognized arguments: --sead"),
    ],
)
def test_synth_rejects_invalid_options(arguments, message, tmp_path, capsys):
    assert main(["data", "synth", "--cache", str(tmp_path / "cache"), *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1
    assert not (tmp_path / "cache").exists()


def test_old_option_names_work_with_a_notice(capsys):
    assert main(["data", "synth", "--train", "0"]) == 2
    err = capsys.readouterr().err
    assert "note: --train is now called --train-frames" in err and "train_frames: " in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["synth", "--level", "ful"], "did you mean 'full'?"), (["check", "human35m:/x"], "did you mean 'human36m'?")],
)
def test_similar_names_are_suggested(arguments, message, capsys):
    assert main(["data", *arguments]) == 2
    assert message in capsys.readouterr().err


# ---- check ----


def test_valid_set_has_no_problems(made, tmp_path, capsys):
    assert check(made, tmp_path) == 0
    message = capsys.readouterr().out
    assert "no problems found" in message and "S11" in message
    assert cv2.imread(str(tmp_path / "sheet.png")).std() > 20
    assert check(made, tmp_path, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert sum(subject["frames"] for subject in facts["subjects"].values()) == 26
    assert sum(subject["decoded"] for subject in facts["subjects"].values()) == 26
    assert facts["problems"] == [] and facts["subjects"]["1"]["stray_px"]["max"] < 2


def test_all_problems_are_listed(copy, tmp_path, capsys):
    images = {s: sorted((copy / "images").glob(f"s_{s:02d}_*/*.jpg")) for s in (1, 5, 6)}
    images[1][0].unlink()
    images[5][0].write_bytes(images[5][0].read_bytes()[:400])
    cv2.imwrite(str(images[6][0]), np.zeros((20, 20, 3), np.uint8))
    edit_subject(copy, 7, "data", lambda d: d["annotations"][0].update(bbox=[900, 900, 10, 10]))
    edit_subject(copy, 7, "data", lambda d: d["annotations"][1].update(bbox=[1, 1, 3, 3]))
    edit_subject(copy, 7, "data", lambda d: d["annotations"][2].update(image_id=77))
    edit_subject(copy, 8, "camera", lambda c: [camera.update(t=[0, 0, -9000]) for camera in c.values()])
    edit_subject(copy, 9, "camera", lambda c: c["1"].update(R=[[1, 0, 0], [0, 2, 0], [0, 0, 1]]))
    half = copy / "annotations" / "Human36M_subject11_joint_3d.json"
    half.write_text(half.read_text()[:500])

    assert check(copy, tmp_path, "--json") == 1
    facts = json.loads(capsys.readouterr().out)
    problems = [(problem["kind"], problem["problem"]) for problem in facts["problems"]]
    for kind, file, message in (
        ("missing", images[1][0].name, "image missing"),
        ("broken", images[5][0].name, "cut off"),
        ("size", images[6][0].name, "the image is 20 x 20, annotated 64 x 64"),
        ("box", "subject7_data.json: annotation 0", "outside the image"),
        ("reprojection", "subject7_data.json: annotation 1", "outside its box of 3 x 3"),
        ("annotations", "subject7_data.json: annotation 2", "image_id 77"),
        ("camera", "subject8_data.json: annotation 0", "behind camera"),
        ("camera", "subject9_camera.json: camera 1", "R is not a rotation"),
        ("annotations", "subject11_joint_3d.json", "not valid JSON"),
    ):
        assert any(kind == k and file in line and message in line for k, line in problems), (kind, file, problems)
    subjects = facts["subjects"]
    assert subjects["1"]["missing"] == 1 and subjects["5"]["broken"] == 1 and subjects["7"]["bad_boxes"] == 1
    assert subjects["8"]["behind"] == subjects["8"]["frames"] == 4
    assert (tmp_path / "sheet.png").is_file()

    assert check(copy, tmp_path) == 1
    message = capsys.readouterr().out
    assert "missing: 1" in message and images[5][0].name in message


def test_long_lists_of_problems_are_shortened(copy, tmp_path, capsys):
    shutil.rmtree(copy / "images")
    assert check(copy, tmp_path) == 1
    message = capsys.readouterr().out
    assert "missing: 26" in message and "and 18 more" in message and message.count("image missing") == 8
    assert not (tmp_path / "sheet.png").exists()


def test_joints_in_metres_are_reported(copy, tmp_path, capsys):
    def shrink(tree):
        for frames in (frames for action in tree.values() for frames in action.values()):
            for frame, joints in frames.items():
                frames[frame] = [[value / 1000 for value in joint] for joint in joints]

    edit_subject(copy, 5, "joint_3d", shrink)
    assert check(copy, tmp_path) == 1
    assert "convert the joints to mm" in capsys.readouterr().out


def test_keypoints_img_are_compared_with_the_projection(copy, tmp_path, capsys):
    edit_subject(copy, 6, "data", lambda d: d["annotations"][0].update(keypoints_img=[[1.0, 1.0]] * 17))
    edit_subject(copy, 6, "data", lambda d: d["annotations"][1].update(keypoints_img=[[1.0]] * 3))
    assert check(copy, tmp_path, "--json") == 1
    facts = json.loads(capsys.readouterr().out)
    lines = [problem["problem"] for problem in facts["problems"]]
    assert len(lines) == 2 and "from keypoints_img" in lines[0] and "not 17 x 2" in lines[1]
    assert facts["subjects"]["6"]["reprojection_px"]["max"] > 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": "64"}, "width, height are not pixels"),
        ({"height": 0}, "width, height are not pixels"),
        ({"file_name": 7}, "file_name is not a path"),
        ({"file_name": "../../x.jpg"}, "file_name is not a path below"),
    ],
)
def test_values_of_the_wrong_type(copy, tmp_path, capsys, change, message):
    edit_subject(copy, 6, "data", lambda d: d["images"][0].update(change))
    shutil.copy(next((copy / "images").rglob("*.jpg")), tmp_path / "x.jpg")  # outside the set
    assert check(copy, tmp_path) == 1
    assert message in capsys.readouterr().out


def test_errors_of_the_reader_are_listed(copy, tmp_path, capsys):
    edit_subject(copy, 6, "data", lambda d: d["annotations"][0].update(keypoints_vis=[1]))
    assert check(copy, tmp_path) == 1
    assert "keypoints_vis has 1 values" in capsys.readouterr().out


def test_number_of_decoded_images(made, tmp_path, capsys):
    assert check(made, tmp_path, "--decode", "1", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert all(subject["decoded"] == 1 for subject in facts["subjects"].values())


@pytest.mark.parametrize("spec", ["human36m", "human36m:", "coco:/x", "synthetic:easy"])
def test_specifications_that_cannot_be_checked(spec, capsys):
    assert main(["data", "check", spec]) == 2
    assert "give human36m:PATH" in capsys.readouterr().err


def test_folder_without_annotations(tmp_path, capsys):
    assert check(tmp_path, tmp_path) == 2
    assert "no Human36M_subjectN_data.json there" in capsys.readouterr().err
    assert main(["data"]) == 2


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no Human3.6M samples at {REAL}")
def test_real_frames_have_no_problems(tmp_path, capsys):
    assert check(REAL, tmp_path, "--json") == 1
    missing = [problem["problem"] for problem in json.loads(capsys.readouterr().out)["problems"]]
    assert len(missing) == 2 and "train part lacks subject 6;" in missing[0] and "lacks subject 9, 11;" in missing[1]
    subjects = ["--dataset.train-subjects=1,5,7", "--dataset.test-subjects=8"]
    assert check(REAL, tmp_path, "--json", *subjects) == 0
    facts = json.loads(capsys.readouterr().out)
    assert sorted(facts["subjects"]) == ["1", "5", "7", "8"]
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] > 700
