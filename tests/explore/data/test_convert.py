"""`data convert`: landmarks of MediaPipe Pose and joints of SMPL become a custom set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explore.cli import main
from explore.data import open_dataset
from explore.data.convert import SMPL_NAMES
from explore.data.crop import project
from explore.data.label.mapping import joint_map
from explore.data.skeleton import BLAZEPOSE33
from tests.helpers.layouts import HEIGHT, STANDING, WIDTH, pictures

F, C = np.full(2, float(WIDTH)), np.array([WIDTH, HEIGHT]) / 2


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    pictures(tmp_path / "photos", ["a.jpg", "b/c.jpg"])
    return tmp_path / "photos"


LIKE = {"Eye_Inner": "Eye", "Eye_Outer": "Eye", "Mouth": "Nose", "Pinky": "Hand", "Index": "Hand", "Thumb": "Hand", "Heel": "Ankle", "Foot_Index": "Toe"}  # fmt: skip


def standing_landmarks(depth: float) -> np.ndarray:
    """Return the 33 landmarks (33, 3) mm of a standing person."""
    places = []
    for name in BLAZEPOSE33.names:
        part = name.removeprefix("L_").removeprefix("R_")
        x, y, z = STANDING[LIKE.get(part, part)]
        places.append([-x if name.startswith("R_") else x, y, z + depth])
    return np.array(places, float)


def random_joints(count: int, seed: int) -> np.ndarray:
    """Return joints (J, 3) mm in front of the camera, within the image."""
    return np.random.default_rng(seed).uniform([-600, -800, 3700], [600, 800, 4300], (count, 3))


def mediapipe(cam: np.ndarray) -> dict[str, Any]:
    px = project(cam, F, C) / [WIDTH, HEIGHT]
    world = (cam - cam[[23, 24]].mean(0)) / 1000
    return {
        "landmarks": [{"x": x, "y": y, "z": 0.0, "visibility": 0.9} for x, y in px.tolist()],
        "world_landmarks": [{"x": x, "y": y, "z": z, "visibility": 0.9} for x, y, z in world.tolist()],
    }


def run(photos: Path, source: Path, *more: str) -> int:
    return main(["data", "convert", str(source), "--images", str(photos), "--out", str(source.parent / "set"), *more])


def check(source: Path, cams: list[np.ndarray]) -> None:
    data = open_dataset(f"custom:{source.parent / 'set'}", "train")
    assert data.skeleton.name == "h36m18" and data.files == ("images/a.jpg", "images/b/c.jpg")[: len(cams)]
    known = joint_map(BLAZEPOSE33, "")
    for sample, cam in zip(data, cams, strict=True):
        np.testing.assert_allclose(sample.joints_img[:, :2], known.image @ project(cam, F, C), atol=0.01)
        pelvis = cam[[23, 24]].mean(0)
        relative, expected = sample.joints_cam - sample.joints_cam[0], known.world @ (cam - pelvis)
        np.testing.assert_allclose(relative, expected - expected[0], atol=0.1)
        assert sample.root_depth == pytest.approx(pelvis[2], rel=0.1)


def test_mediapipe_json(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cams = [standing_landmarks(4000.0), standing_landmarks(5000.0)]
    first, second = (mediapipe(cam) for cam in cams)
    lists = {key: [[[*point.values()] for point in value]] for key, value in second.items()}  # one of several people
    entries = [{"file": "a.jpg", **first}, {"image": "b/c.jpg", **lists}, {"file": "a.jpg", "landmarks": []}]
    source = tmp_path / "landmarks.json"
    source.write_text(json.dumps(entries))
    assert run(photos, source) == 0
    assert "2 people in 2 images, 2 of them in 3D" in capsys.readouterr().out
    check(source, cams)
    assert run(photos, source) == 2 and "exists; remove it" in capsys.readouterr().err


def test_mediapipe_csv(photos: Path, tmp_path: Path) -> None:
    cams = [standing_landmarks(4500.0)]
    found = mediapipe(cams[0])
    columns = {"file": "a.jpg"}
    for joint, (flat, world) in enumerate(zip(found["landmarks"], found["world_landmarks"], strict=True), 1):
        columns |= {f"{key}{joint}": str(flat[key]) for key in "xyz"} | {f"visibility{joint}": "0.9"}
        columns |= {f"w{key}{joint}": str(world[key]) for key in "xyz"}
    source = tmp_path / "landmarks.csv"
    source.write_text(",".join(columns) + "\n" + ",".join(columns.values()) + "\n")
    assert run(photos, source) == 0
    check(source, cams)


@pytest.mark.parametrize(("count", "kind"), [(24, "U9"), (22, "S9")])
def test_smpl(photos: Path, tmp_path: Path, count: int, kind: str) -> None:
    cam = np.stack([random_joints(count, seed) for seed in (3, 4)])
    source = tmp_path / "smpl.npz"
    np.savez(
        source,
        imgname=np.array(["a.jpg", "b/c.jpg"], kind),
        joints=(cam - [0, 0, 4000]) / 1000,
        transl=[[0, 0, 4.0]] * 2,
    )
    assert run(photos, source) == 0
    data = open_dataset(f"custom:{tmp_path / 'set'}", "train")
    assert data.skeleton.names == SMPL_NAMES[:count] and data.skeleton.flippable
    np.testing.assert_allclose(data.joints_cam, cam, atol=0.02)
    assert main(["data", "check", f"custom:{tmp_path / 'set'}", "--sheet", str(tmp_path / "sheet.png")]) in (0, 1)
    photos.rename(tmp_path / "moved")  # the link leads nowhere now
    assert run(tmp_path / "moved", source, "--split", "test") == 2
    assert not (tmp_path / "set" / "annotations" / "test.json").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[", "not valid JSON"),
        ("a.json", "[{}]", "entry 1: no file"),
        ("a.json", '[{"file": "none.jpg", "landmarks": [[0, 0]]}]', "not 33 landmarks"),
        ("a.json", json.dumps([{"file": "none.jpg", "landmarks": [[0, 0]] * 33}]), "none.jpg: cannot be read"),
        ("a.json", json.dumps([{"file": "../a.jpg", "landmarks": [[0, 0]] * 33}]), "not a path below"),
        ("a.json", json.dumps([{"file": "a.jpg", "landmarks": [[9, 9]] * 33}]), "nothing is written"),
        ("a.json", "[]", "no people in it, see docs/data.md for its keys; nothing is written"),
        ("a.csv", "x1,y1\n1,2\n", "entry 1: no file"),
        ("a.csv", "file,x0,y0\na.jpg,one,2\n", "not 33 landmarks"),
        ("a.npz", "PK", "not an NPZ file"),
    ],
)  # fmt: skip
def test_invalid_sources(
    name: str, content: str, message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    assert run(photos, tmp_path / name) == 2
    line = capsys.readouterr().err
    assert message in line and line.count("\n") == 1 and not (tmp_path / "set").exists()


def test_a_missing_source_and_the_reason_of_most_people(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("gone.json", "gone.csv", "gone.npz"):
        assert run(photos, tmp_path / name) == 2
        assert f"{name}: no such file; give a file of landmarks or joints" in capsys.readouterr().err
    people = [{"file": file, "landmarks": [[9, 9]] * 33} for file in ("none.jpg", "a.jpg", "a.jpg")]
    (tmp_path / "a.json").write_text(json.dumps(people))
    assert run(photos, tmp_path / "a.json") == 2
    line = capsys.readouterr().err
    assert "a.json: entry 2: " in line and "(and 2 more); nothing is written" in line


@pytest.mark.parametrize("kind", ["json", "npz"])
def test_one_bad_image_stops_nothing(
    kind: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "cut.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    (photos / "folder.jpg").mkdir()
    files = ["none.jpg", "a.jpg", "cut.jpg", "folder.jpg", "no\x00.jpg", "b/c.jpg"]
    source = tmp_path / f"people.{kind}"
    if kind == "json":
        entries = [{"file": file, **mediapipe(standing_landmarks(4000))} for file in files]
        source.write_text(json.dumps([*entries, entries[0]]))
    else:
        np.savez(source, imgname=np.array(files), joints=np.stack([random_joints(24, 3) / 1000] * len(files)))
    assert run(photos, source, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["images"], facts["people"], facts["left_out"]) == (2, 2, [])
    named = [str(photos / file).encode("unicode_escape").decode() for file in (files[0], *files[2:5])]
    assert [line.split(": ")[0].replace("\x00", "\\x00") for line in facts["skipped"]] == named
    assert len(open_dataset(f"custom:{tmp_path / 'set'}", "train")) == 2
