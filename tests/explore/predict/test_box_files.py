"""Entries of a box file apply to the file that they name; names that match no input are an error."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from explore.cli import main
from tests.helpers.layouts import OLD_BUNDLE

BOX = {"bbox": [10, 10, 60, 90]}
CSV = "{},x,y,w,h\n"


@pytest.fixture(autouse=True)
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The photos album/anna.jpg and album/ben.jpg in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("album").mkdir()
    for name in ("anna", "ben"):
        cv2.imwrite(f"album/{name}.jpg", np.full((120, 100, 3), 90, np.uint8))


def predict(*inputs: str, boxes: object) -> int:
    path = Path("boxes.csv" if isinstance(boxes, str) else "boxes.json")
    path.write_text(boxes if isinstance(boxes, str) else json.dumps(boxes))
    return main(["predict", *inputs, "--boxes", str(path), "--model", str(OLD_BUNDLE), "--json", "--out", "out"])


@pytest.mark.parametrize(
    ("inputs", "boxes", "message"),
    [
        (["album/anna.jpg"], [BOX | {"file": "ana.jpg"}], "'ana.jpg' (did you mean 'anna.jpg'?): matches no input"),
        (["album/anna.jpg"], [BOX | {"file": "Anna.JPG"}], "'Anna.JPG' (did you mean 'anna.jpg'?)"),
        (["album/anna.jpg"], [BOX | {"file": "zoo/x.png"}], "'zoo/x.png': matches no input"),
        (["album/anna.jpg"], [BOX | {"file": "other/anna.jpg"}], "'other/anna.jpg' (did you mean 'anna.jpg'?)"),
        (["album"], [BOX | {"file": "anna.jpg"}, BOX | {"file": "bem.jpg"}], "'bem.jpg' (did you mean 'ben.jpg'?)"),
        (["album/anna.jpg"], CSV.format("fname") + "bem.jpg,10,10,60,90\n", "'bem.jpg': matches no input"),
        (["album/anna.jpg"], CSV.format("filename") + "ana.jpg,10,10,60,90\n", "did you mean 'anna.jpg'"),
        (["album/anna.jpg"], [BOX | {"image_id": "ana.jpg"}], "did you mean 'anna.jpg'"),
        (["album"], [BOX], "entry 1: no file; name the photo or video of each box under 'file'"),
        (["album/anna.jpg"], [BOX | {"image_id": 1}, BOX | {"image_id": 2}], "entry 1: no file"),
        (["album/anna.jpg"], [BOX | {"file": "anna.jpg"}, BOX], "entry 2: no file"),
        (["album/anna.jpg"], [BOX | {"frame": 1}], "frame 1: album/anna.jpg has 1 frames, counted from 0"),
    ],
)
def test_names_that_match_no_input_are_an_error(
    inputs: list[str], boxes: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(*inputs, boxes=boxes) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --boxes boxes.") and error.count("\n") == 1 and message in error
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "boxes",
    [
        [BOX | {"file": "anna.jpg"}, BOX | {"file": "ben.jpg", "bbox": [30, 20, 40, 50]}],
        [BOX | {"file": "album\\anna.jpg"}, BOX | {"file": "album/ben.jpg", "bbox": [30, 20, 40, 50]}],
        CSV.format("File") + "anna.jpg,10,10,60,90\nben.jpg,30,20,40,50\n",
        CSV.format("file_name") + "anna.jpg,10,10,60,90\nben.jpg,30,20,40,50\n",
    ],
)
def test_each_photo_gets_its_own_boxes(boxes: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("album", boxes=boxes) == 0
    found = {Path(one["photo"]).name: [p["bbox"] for p in one["people"]] for one in json.loads(capsys.readouterr().out)}
    assert found == {"anna.jpg": [[10, 10, 60, 90]], "ben.jpg": [[30, 20, 40, 50]]}


def test_boxes_of_other_photos_are_reported_and_not_used(capsys: pytest.CaptureFixture[str]) -> None:
    boxes = [BOX | {"file": "anna.jpg"}, BOX | {"file": "carl.jpg", "bbox": [1, 1, 9, 9]}]
    assert predict("album/anna.jpg", boxes=boxes) == 0
    printed = capsys.readouterr()
    assert "1 of its files are no inputs: carl.jpg" in printed.err
    assert [person["bbox"] for person in json.loads(printed.out)[0]["people"]] == [[10, 10, 60, 90]]


def test_numbered_photos_without_a_box_are_no_misspelling(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        cv2.imwrite(f"p{number}.png", np.full((120, 100, 3), 90, np.uint8))
    assert predict("p1.png", "p2.png", boxes=[BOX | {"file": "p1.png"}, BOX | {"file": "p3.png"}]) == 0
    assert [len(one["people"]) for one in json.loads(capsys.readouterr().out)] == [1, 0]


def test_boxes_without_a_file_apply_to_the_only_photo(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("album/anna.jpg", boxes=[BOX, BOX | {"score": 0.9}]) == 0
    assert len(json.loads(capsys.readouterr().out)[0]["people"]) == 2
