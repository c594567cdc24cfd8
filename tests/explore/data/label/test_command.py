"""The command `data label`, with a teacher that sees the same person everywhere."""

import json
import shutil

import cv2
import numpy as np
import pytest

from explore.cli import main
from explore.data import open_dataset
from explore.data.label.config import TEACHERS
from explore.data.split import check_disjoint
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.dataset import render_dataset
from tests.helpers import ROOT
from tests.helpers.fake_teacher import FakeTeacher

PHOTOS = 8


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    config = SyntheticConfig(level="easy", size=160, train_frames=PHOTOS, test_frames=1)
    return sorted(render_dataset(folder, config).rglob("*.jpg"))[:PHOTOS]


@pytest.fixture(autouse=True)
def teacher(monkeypatch):
    monkeypatch.setitem(TEACHERS, "fake", "tests.helpers.fake_teacher")
    monkeypatch.setattr(FakeTeacher, "calls", [])
    monkeypatch.setattr(FakeTeacher, "stop_after", None)


@pytest.fixture
def photos(rendered, tmp_path):
    folder = tmp_path / "photos" / "below"
    folder.mkdir(parents=True)
    for number, path in enumerate(rendered):
        shutil.copy(path, folder / f"{number}.jpg")
    return folder.parent


def film(path, rendered, frames=20):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (160, 160))
    for index in range(frames):
        writer.write(cv2.imread(str(rendered[index // 10])))
    writer.release()
    return path


def label(tmp_path, *arguments):
    return main(["data", "label", "--teacher", "fake", "--out", str(tmp_path / "set"), *map(str, arguments)])


def test_photos_become_a_data_set(photos, tmp_path, capsys):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 cut off")
    assert label(tmp_path, photos, "--test-fraction", "0.3", "--json") == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["images"] == PHOTOS and report["train"] > 0 and report["test"] > 0 and report["units"] <= PHOTOS
    assert report["train"] + report["test"] + sum(report["rejected"].values()) == report["people"]
    assert len(report["broken"]) == 1 and "broken.jpg: the image is cut off" in report["broken"][0]
    assert "skipped: " in err and report["warnings"] == []
    train, test = (open_dataset(f"custom:{tmp_path / 'set'}", split) for split in ("train", "test"))
    check_disjoint(train=train, test=test)
    assert (len(train), len(test)) == (report["train"], report["test"])
    assert main(["data", "check", f"custom:{tmp_path / 'set'}", "--sheet", str(tmp_path / "check.png")]) == 0
    assert cv2.imread(str(tmp_path / "set" / "sheet.png")).std() > 20
    assert (tmp_path / "set" / "report.txt").read_text().startswith(f"images    {PHOTOS} labelled by fake")
    mask = cv2.imread(str(train.root / train.masks[0]), cv2.IMREAD_GRAYSCALE)
    assert mask.shape == (160, 160) and set(np.unique(mask)) <= {0, 119, 136, 255} and mask.any()


def test_a_set_keeps_its_skeleton(photos, tmp_path, capsys):
    assert label(tmp_path, photos) == 0
    report = tmp_path / "set" / "report.json"
    report.write_text(json.dumps(json.loads(report.read_text()) | {"skeleton": "blazepose33"}))
    assert label(tmp_path, photos) == 2  # the teacher of the tests has no landmarks
    assert "--skeleton blazepose33: the teacher's skeleton" in capsys.readouterr().err
    assert label(tmp_path, photos, "--skeleton", "h36m18") == 0


def test_a_bundle_of_33_landmarks_keeps_them(photos, tmp_path, capsys):
    teacher = f"bundle:{ROOT / 'results' / 'real-128' / 'litert'}"
    command = ["data", "label", str(photos), "--out", str(tmp_path / "set"), "--teacher", teacher, "--max-flip", "9"]
    assert main([*command, "--max-flip-mm", "999", "--max-bone-ratio", "99", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["skeleton"] == "blazepose33"


def test_an_interrupted_run_labels_no_photo_twice(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(FakeTeacher, "stop_after", 9)
    assert label(tmp_path, photos) == 130
    assert "run the same command again to continue" in capsys.readouterr().err
    assert not (tmp_path / "set" / "annotations").exists()
    monkeypatch.setattr(FakeTeacher, "stop_after", None)
    assert label(tmp_path, photos, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    interrupted = len(FakeTeacher.calls) - 2 * report["people"]  # calls for the photo at which the first run stopped
    assert report["people"] > 0 and 0 <= interrupted <= 6
    before = len(FakeTeacher.calls)
    keys = [json.loads(line)["key"] for line in (tmp_path / "set" / "labels.jsonl").read_text().splitlines()[1:]]
    assert len(keys) == len(set(keys)) == PHOTOS
    # other thresholds need no teacher
    assert label(tmp_path, photos, "--min-size", "500") == 2
    assert "people were left out (size" in capsys.readouterr().err
    assert len(FakeTeacher.calls) == before


def test_a_video_is_labelled_frame_by_frame(rendered, tmp_path, capsys):
    path = film(tmp_path / "my film.mp4", rendered)
    (tmp_path / "text.mp4").write_text("no video")
    assert label(tmp_path, path, tmp_path / "text.mp4", "--every", "4", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["images"] == 5 and "text.mp4: cannot be decoded as a video" in report["broken"][0]
    assert len(report["warnings"]) == 1 and report["warnings"][0].startswith("the set contains a single person: ")
    names = sorted(file.name for file in (tmp_path / "set" / "images").rglob("*.jpg"))
    assert set(names) <= {"000000.jpg", "000004.jpg", "000008.jpg", "000012.jpg", "000016.jpg"} and len(names) > 3
    folders = list((tmp_path / "set" / "images").iterdir())
    assert len(folders) == 1 and folders[0].name.startswith("my_film-")
    calls = len(FakeTeacher.calls)
    assert label(tmp_path, path, "--every", "2") == 0
    assert "warning   the set contains a single person: " in capsys.readouterr().out
    assert calls < len(FakeTeacher.calls) <= 3 * calls  # only the other frames


def test_large_images_are_stored_reduced(rendered, tmp_path):
    image = cv2.resize(cv2.imread(str(rendered[0])), (800, 800), interpolation=cv2.INTER_CUBIC)
    other = cv2.resize(cv2.imread(str(rendered[1])), (800, 800), interpolation=cv2.INTER_CUBIC)
    for name, content in (("a.png", image), ("b.png", other)):
        cv2.imwrite(str(tmp_path / name), content)
    assert label(tmp_path, tmp_path / "a.png", tmp_path / "b.png", "--max-side", "200", "--test-fraction", "0") == 0
    data = open_dataset(f"custom:{tmp_path / 'set'}", "train")
    assert cv2.imread(str(data.path(0))).shape == (200, 200, 3) and (data.f == 200).all()
    assert (data.bbox[:, 2:] <= 200).all() and data.joints_img[..., :2].max() < 210


def test_2d_labels_are_compared(photos, tmp_path, capsys):
    category = {"name": "person", "keypoints": [f"{side}_{part}" for side in "RL" for part in ("Hip", "Knee", "Ankle")]}
    keypoints = [5, 5, 2, 5, 6, 2, 5, 7, 2, 6, 5, 2, 6, 6, 2, 6, 7, 2]  # in a corner
    content = {
        "categories": [category],
        "images": [{"id": 1, "file_name": "below/0.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "keypoints": keypoints}],
    }
    (tmp_path / "2d.json").write_text(json.dumps(content))
    assert label(tmp_path, photos, "--keypoints", tmp_path / "2d.json", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert 1 <= report["rejected"]["labels-2d"] < report["people"]
    content["images"][0]["file_name"] = "other.jpg"
    (tmp_path / "2d.json").write_text(json.dumps(content))
    assert label(tmp_path, photos, "--keypoints", tmp_path / "2d.json", "--teacher", "bundle:/nowhere") == 2
    assert "2d.json: images: none is one of the photos" in capsys.readouterr().err


def test_wrong_input_is_one_line(photos, tmp_path, capsys):
    def error(*arguments):
        assert label(tmp_path, *arguments) == 2
        text = capsys.readouterr().err.strip().splitlines()[-1]
        assert text.startswith("error: ")
        return text

    cv2.imwrite(str(tmp_path / "grey.png"), np.full((100, 100, 3), 128, np.uint8))
    assert "grey.png: nobody found (images: 1)" in error(tmp_path / "grey.png")
    (tmp_path / "text.mp4").write_text("no video")
    assert "text.mp4: cannot be decoded as a video" in error(tmp_path / "text.mp4")
    assert "nothing: no such file or folder" in error(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "empty: no photos or videos" in error(tmp_path / "empty")
    assert "--every 0: out of range; give 1 to " in error(photos, "--every", "0")
    assert "--focal nan: out of range; give 1 to " in error(photos, "--focal", "nan")
    assert "--test-fraction nan: out of range" in error(photos, "--test-fraction", "nan")
    assert "--skeleton 'h36m' is not one of" in error(photos, "--skeleton", "h36m")
    (tmp_path / "file").write_text("no folder")
    assert "file: not a folder" in error(photos, "--out", tmp_path / "file")
    assert "min_presence: Input should be less than or equal to 1" in error(photos, "--min-presence", "7")
