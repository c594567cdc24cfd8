"""`data check` names what a search rejects, in the same words: parts that would be empty, and parts that share people."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from explore.cli import main
from tests.helpers.layouts import custom, human36m


def of_one_subject(train: dict[str, Any], test: dict[str, Any]) -> None:
    for annotation in train["annotations"]:
        annotation["subject"] = 1


def of_shared_subjects(train: dict[str, Any], test: dict[str, Any]) -> None:
    for number, annotation in enumerate([*train["annotations"], *test["annotations"]]):
        annotation["subject"] = number % 3 + 1


def of_one_image(train: dict[str, Any], test: dict[str, Any]) -> None:
    for annotation in train["annotations"]:
        annotation["image_id"] = train["images"][0]["id"]


def on_test_images(train: dict[str, Any], test: dict[str, Any]) -> None:
    test["images"] = train["images"]


def in_2d_only(train: dict[str, Any], test: dict[str, Any]) -> None:
    for annotation in test["annotations"]:
        annotation["keypoints"] = [50.0, 50.0, 2.0] * 17
        del annotation["keypoints_cam"]


def with_other_joints(train: dict[str, Any], test: dict[str, Any]) -> None:
    test["categories"][0]["keypoints"] = [f"Marker{number}" for number in range(16)] + ["Pelvis2"]


def without_shoulders(train: dict[str, Any], test: dict[str, Any]) -> None:
    for split in (train, test):
        names = split["categories"][0]["keypoints"]
        split["categories"][0]["keypoints"] = [re.sub("Shoulder|Thorax|Neck", "Part", name) for name in names]


def as_it_is(train: dict[str, Any], test: dict[str, Any]) -> None:
    return


CASES: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], None], list[str], str]] = {
    "one clip": (of_one_subject, [], "all training samples are of one clip"),
    "one image": (of_one_image, [], "has one training image"),
    "shared subjects": (of_shared_subjects, [], "share subject custom S1"),
    "shared images": (on_test_images, [], "share the image"),
    "test part in 2D": (in_2d_only, [], "annotates no 3D position of Pelvis"),
    "other joints": (with_other_joints, [], "none of its joints"),
    "no such subject": (as_it_is, ["--dataset.val-subjects=7"], "7 is not a training subject"),
    "region of interest": (without_shoulders, ["--dataset.framing=roi"], "has no shoulders"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_parts_that_a_search_rejects(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, options, expected = CASES[case]
    paths = [custom(tmp_path / "set", 8).with_name(f"{split}.json") for split in ("train", "test")]
    train, test = (json.loads(path.read_text()) for path in paths)
    change(train, test)
    for path, content in zip(paths, (train, test), strict=True):
        path.write_text(json.dumps(content))
    data = f"custom:{tmp_path / 'set'}"
    assert main(["search", "--data", data, "--results", str(tmp_path / "results"), *options]) == 2
    (refused,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert expected in refused
    assert main(["data", "check", data, "--sheet", str(tmp_path / "sheet.png"), "--json", *options]) == 1
    found = [problem["problem"] for problem in json.loads(capsys.readouterr().out)["problems"]]
    assert refused.removeprefix("error: ") in found


def test_a_set_with_one_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    custom(tmp_path / "set", 8).with_name("test.json").unlink()
    assert main(["data", "check", f"custom:{tmp_path / 'set'}", "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert f"no test part: {tmp_path / 'set' / 'annotations' / 'test.json'}: missing" in capsys.readouterr().out


def test_subjects_of_human36m(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    human36m(tmp_path / "set", 8)
    call = ["data", "check", f"human36m:{tmp_path / 'set'}", "--sheet", str(tmp_path / "sheet.png"), "--json"]
    main([*call, "--dataset.train-subjects=1,9", "--dataset.test-subjects=9"])
    problems = [problem["problem"] for problem in json.loads(capsys.readouterr().out)["problems"]]
    assert [line for line in problems if "share subject human36m S9" in line]
    main(call)
    facts = json.loads(capsys.readouterr().out)
    assert [problem for problem in facts["problems"] if problem["kind"] == "parts"] == [
        {"kind": "parts", "problem": next(p["problem"] for p in facts["problems"] if "of one clip" in p["problem"])}
    ]
    for file in (tmp_path / "set" / "annotations").glob("*subject5*"):
        file.unlink()
    shutil.rmtree(tmp_path / "set" / "images" / "s_09_act_02_subact_01_ca_01")
    main(call)
    facts = json.loads(capsys.readouterr().out)
    missing = (
        f"{tmp_path / 'set' / 'annotations'}: the train part lacks subject 5; add its files, or choose among 1, 6, 7"
    )
    assert [p["kind"] for p in facts["problems"] if p["problem"].startswith(missing)] == ["parts"]


def test_heic_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heif = pytest.importorskip("pillow_heif")
    custom(tmp_path / "set", 4)
    for file in (tmp_path / "set" / "annotations").iterdir():
        found = json.loads(file.read_text())
        for entry in found["images"]:
            image = tmp_path / "set" / "images" / entry["file_name"]
            heif.from_pillow(Image.open(image).convert("RGB")).save(image.with_suffix(".heic"))
            entry["file_name"] = str(Path(entry["file_name"]).with_suffix(".heic"))
        file.write_text(json.dumps(found))
    assert main(["data", "check", f"custom:{tmp_path / 'set'}", "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert "no problems found" in capsys.readouterr().out and (tmp_path / "sheet.png").is_file()
