"""`data check` for every reader, and checks of anatomical plausibility."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from explore.cli import main
from explore.data.skeleton import COCO19, H36M17, H36M18, MPII16, MUCO21
from explore.data.skeleton_checks import face_votes, knee_votes, problems_2d, problems_3d
from tests.helpers.layouts import LAYOUTS, REAL_DATA, C, F, project, standing

REAL = REAL_DATA
CHECKED = [layout for layout in LAYOUTS if layout.name not in ("human36m", "mpi_inf_3dhp")]
each = pytest.mark.parametrize("layout", CHECKED, ids=lambda layout: layout.name)


def check(name, root, tmp_path, capsys, *options):
    status = main(["data", "check", f"{name}:{root}", "--sheet", str(tmp_path / "sheet.png"), "--json", *options])
    facts = json.loads(capsys.readouterr().out)
    return status, facts, [(problem["kind"], problem["problem"]) for problem in facts["problems"]]


@each
def test_valid_sets_have_no_problems(layout, tmp_path, capsys):
    layout.write(tmp_path / "set", 8)
    status, facts, problems = check(layout.name, tmp_path / "set", tmp_path, capsys)
    assert status == 0 and problems == []
    assert sorted(facts["subjects"]) == sorted(layout.splits)
    assert all(found["frames"] == found["decoded"] == 8 for found in facts["subjects"].values())
    bones = facts["subjects"][layout.splits[0]]["bones_mm"]
    assert (380 < bones["R_Ankle"] < 500) if layout.has_depth else bones == {}
    assert cv2.imread(str(tmp_path / "sheet.png")).std() > 20
    assert main(["data", "check", f"{layout.name}:{tmp_path / 'set'}", "--sheet", str(tmp_path / "a.png")]) == 0
    assert "no problems found" in capsys.readouterr().out


@each
def test_all_problems_are_listed(layout, tmp_path, capsys):
    path = layout.write(tmp_path / "set", 8)
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [5, 5, 0, 3]
    content["annotations"][1]["bbox"] = [1, 1, 3, 3]
    key = "keypoints_cam" if layout.has_depth else "keypoints"
    joints = content["annotations"][2][key]
    joints[0] = [float("nan")] * 3 if layout.has_depth else float("nan")
    path.write_text(json.dumps(content))
    if layout.name == "custom":
        path.with_name("test.json").unlink()  # the same pictures
    folder = {"mupots": "data/MultiPersonTestSet", "muco": "data", "mpii": "."}.get(layout.name, "images")
    folder += "/val2017" if layout.name == "mscoco" else ""
    if layout.name == "mscoco":
        path.rename(path.with_name("person_keypoints_val2017.json"))
    files = [tmp_path / "set" / folder / image["file_name"] for image in content["images"]]
    files[3].unlink()
    files[4].write_bytes(files[4].read_bytes()[:300])
    cv2.imwrite(str(files[5]), np.zeros((20, 20, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(files[6]).save(files[6], exif=exif)
    cv2.imwrite(str(files[7]), np.tile(np.arange(120, dtype=np.uint8), (100, 1)))
    status, facts, problems = check(layout.name, tmp_path / "set", tmp_path, capsys)
    assert status == 1
    for kind, named, said in (
        ("box", "annotation 0", "no area"),
        ("box", files[1].name, "outside its box of 3 x 3"),
        ("joints", "annotation 2", "not finite"),
        ("missing", files[3].name, "image missing"),
        ("broken", files[4].name, "cut off"),
        ("size", files[5].name, "is 20 x 20, annotated 120 x 100"),
        ("orientation", files[6].name, "EXIF orientation 3"),
    ):
        found = [line for k, line in problems if k == kind and named in line and said in line]
        assert len(found) == 1, (kind, named, problems)
    assert len(problems) == 7 and sum(found["grey"] for found in facts["subjects"].values()) == 1


@pytest.mark.parametrize("name", ["mpii", "mupots", "custom", "mpi_inf_3dhp"])
def test_folders_without_any_split(name, tmp_path, capsys):
    assert main(["data", "check", f"{name}:{tmp_path}"]) == 2
    assert f"error: {tmp_path}" in capsys.readouterr().err


def test_a_mix_cannot_be_checked(tmp_path, capsys):
    for data in (f"mpii:{tmp_path}*0.5", f"custom:{tmp_path}+mpii:{tmp_path}"):
        assert main(["data", "check", data]) == 2
        assert "check one data set at a time" in capsys.readouterr().err


def test_set_with_swapped_sides(tmp_path, capsys):
    path = next(layout for layout in LAYOUTS if layout.name == "custom").write(tmp_path, 8)
    path.write_text(path.read_text().replace('"R_', '"X_').replace('"L_', '"R_').replace('"X_', '"L_'))
    (tmp_path / "annotations" / "test.json").unlink()
    status, _, problems = check("custom", tmp_path, tmp_path, capsys)
    assert status == 1 and [kind for kind, _ in problems] == ["sides"]
    assert "16 of 16 bent knees bend backwards" in problems[0][1]


def test_joints_that_do_not_project_to_their_pixels(tmp_path, capsys):
    path = next(layout for layout in LAYOUTS if layout.name == "mupots").write(tmp_path, 4)
    content = json.loads(path.read_text())
    content["images"][1]["intrinsic"][2] += 20
    path.write_text(json.dumps(content))
    status, _, problems = check("mupots", tmp_path, tmp_path, capsys)
    assert status == 1 and len(problems) == 1 and "joints project 20.0 px from their pixels" in problems[0][1]


# ---- skeleton checks ----


def problems_of(skeleton, cam):
    return list(problems_3d(skeleton, cam, [f"frame {n}" for n in range(len(cam))], "the set"))


@pytest.mark.parametrize("skeleton", [H36M17, H36M18, MUCO21, MPII16], ids=lambda skeleton: skeleton.name)
def test_standing_people_have_no_problems(skeleton):
    cam = standing(skeleton, 6)
    assert problems_of(skeleton, cam) == [] and knee_votes(skeleton, cam) == (12, 12)
    assert problems_of(skeleton, np.full((2, len(skeleton), 3), np.nan)) == []


def test_swapped_sides_in_3d_and_2d():
    cam = standing(H36M17, 6)[:, H36M17.flip_order]
    assert [kind for kind, _ in problems_of(H36M17, cam)] == ["sides"]
    assert problems_of(H36M17, cam * [-1, 1, 1]) == []
    px = project(standing(COCO19, 6), F, C)
    vis = np.ones((6, 19))
    assert list(problems_2d(COCO19, px, vis, "set")) == [] and face_votes(COCO19, px, vis) == (6, 6)
    found = list(problems_2d(COCO19, px[:, COCO19.flip_order], vis, "set"))
    assert len(found) == 1 and "6 of 6 people facing the camera" in found[0][1]
    vis[:4, 0] = 0  # from behind
    assert list(problems_2d(COCO19, px[:, COCO19.flip_order], vis, "set")) == []


def test_legs_swapped_in_one_frame():
    cam = standing(H36M17, 6)
    legs = [(1, 4), (2, 5), (3, 6)]
    for right, left in legs:
        cam[2, [right, left]] = cam[2, [left, right]]
    found = problems_of(H36M17, cam)
    assert len(found) == 1 and found[0][1].startswith("frame 2: shoulders point against the hips")


def test_implausible_bone_lengths():
    cam = standing(H36M17, 6)
    wrong = cam.copy()
    wrong[3, 3] += [0, 400, 0]
    found = problems_of(H36M17, wrong)
    assert len(found) == 1 and found[0][0] == "bones" and "frame 3: knee to ankle is" in found[0][1]
    found = problems_of(H36M17, cam / 1000)
    assert len(found) == 4 and all("convert the joints to mm" in line for _, line in found)
    uneven = cam.copy()
    uneven[:, 6] = uneven[:, 5] + 0.6 * (uneven[:, 6] - uneven[:, 5])
    found = problems_of(H36M17, uneven)
    assert len(found) == 1 and "on the right" in found[0][1]


@pytest.mark.skipif(not (REAL / "mpii").is_dir(), reason=f"no real samples at {REAL}")
@pytest.mark.parametrize("name", ["human36m", "mpii", "mscoco"])
def test_real_samples_have_no_problems(name, tmp_path, capsys):
    subjects = ["--dataset.train-subjects=1,5,7", "--dataset.test-subjects=8"] if name == "human36m" else []
    status, facts, problems = check(name, REAL / name, tmp_path, capsys, *subjects)
    assert status == 0 and problems == []
    assert (
        sum(found["decoded"] for found in facts["subjects"].values()) == {"human36m": 4, "mpii": 5, "mscoco": 12}[name]
    )
