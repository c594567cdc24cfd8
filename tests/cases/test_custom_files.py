"""Exports of annotation tools: what they write is understood, or one line names it, in `data check` and in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arch.errors import InputError
from explore.cli import main
from explore.data import Human36MOptions, open_dataset
from tests.helpers.layouts import custom, edit, human36m

pytestmark = pytest.mark.usefixtures("first_fault_aborts")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A custom set of 4 people with a training split."""
    custom(tmp_path / "set", 4)
    (tmp_path / "set" / "annotations" / "test.json").unlink()
    return tmp_path / "set"


def edit_training(root: Path, change: Callable[[Any], None]) -> None:
    edit(root / "annotations" / "train.json", change)


def update(table: str, index: int = 1, **values: Any) -> Callable[[Any], None]:
    return lambda content: content[table][index].update(values)


def test_a_placeholder_category_first(root: Path) -> None:
    def change(content: Any) -> None:
        content["categories"][0] |= {"id": 1, "name": "person"}
        content["categories"].insert(0, {"id": 0, "name": "objects", "supercategory": "none"})
        content["categories"].append({"id": 5, "name": "dog", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]})
        for annotation in content["annotations"]:
            annotation["category_id"] = 1
        ball = {"id": 99, "image_id": 10, "category_id": 0, "bbox": [5, 5, 10, 10]}
        dog = {"id": 98, "image_id": 10, "category_id": 5, "bbox": [5, 5, 10, 10], "keypoints": [1, 1, 2] * 2}
        content["annotations"] += [ball, dog]

    edit_training(root, change)
    data = open_dataset(f"custom:{root}", "train")
    assert len(data) == 4 and len(data.skeleton) == 17 and data.left_out == {"of another category": 2}
    assert main(["data", "check", f"custom:{root}", "--sheet", str(root / "sheet.png")]) == 0


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([], "categories: empty"),
        ([{"id": 0, "name": "objects"}], "none has the key 'keypoints'"),
        ([{"id": 0, "keypoints": ["a", "b"]}, {"id": 1, "keypoints": ["c", "d"]}], "name the one of the people person"),
        ({"keypoints": ["a", "b"]}, "categories: a list is expected"),
    ],
)
def test_categories_that_cannot_be_chosen_from(root: Path, categories: Any, message: str) -> None:
    edit_training(root, lambda content: content.update(categories=categories))
    with pytest.raises(InputError, match=message):
        open_dataset(f"custom:{root}", "train")


@pytest.mark.parametrize("number", [4, "10", 10.5, None, [10]])
def test_an_image_id_of_no_image(root: Path, number: Any, capsys: pytest.CaptureFixture[str]) -> None:
    edit_training(root, update("annotations", image_id=number))
    with pytest.raises(InputError, match=r"annotation 1: image_id .*(not among the images|not an id)") as caught:
        open_dataset(f"custom:{root}", "train")
    assert repr(number) in str(caught.value)
    assert main(["data", "check", f"custom:{root}", "--sheet", str(root / "sheet.png")]) == 1
    assert repr(number) in capsys.readouterr().out


def test_repeated_image_ids(root: Path) -> None:
    edit_training(root, update("images", id=10))
    with pytest.raises(InputError, match="image 10: the id repeats"):
        open_dataset(f"custom:{root}", "train")


def test_windows_separators(root: Path) -> None:
    folder = root / "images" / "a" / "b"
    folder.mkdir(parents=True)
    (root / "images" / "1.jpg").rename(folder / "1.jpg")
    edit_training(root, update("images", file_name="a\\b\\1.jpg"))
    data = open_dataset(f"custom:{root}", "train")
    assert data.files[1] == "images/a/b/1.jpg"
    for outside in ("..\\1.jpg", "C:\\data\\1.jpg", "\\\\host\\1.jpg", "", None):
        edit_training(root, update("images", file_name=outside))
        with pytest.raises(InputError, match="file_name is not a path below"):
            open_dataset(f"custom:{root}", "train")


def test_boxes_as_shares_of_the_image(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(content: Any) -> None:
        for annotation in content["annotations"]:
            annotation["bbox"] = [0.47, 0.23, 0.13, 0.5]

    edit_training(root, change)
    with pytest.raises(
        InputError, match=r"annotation 0: bbox .* is under one pixel; give x, y, w, h in px of .*0\.jpg"
    ):
        open_dataset(f"custom:{root}", "train")
    assert main(["data", "check", f"custom:{root}"]) == 1
    out = capsys.readouterr().out
    assert out.count("is under one pixel; give x, y, w, h in px of") == 4 and "no annotations" not in out


@pytest.mark.parametrize(
    ("subject", "number"), [("S1", 1), ("subject_07", 7), ("12", 12), (None, 0), (3.0, 3), ("", 0)]
)
def test_subjects(root: Path, subject: Any, number: int) -> None:
    edit_training(root, update("annotations", subject=subject))
    assert open_dataset(f"custom:{root}", "train").subject[1] == number


@pytest.mark.parametrize("subject", ["anna", 1.5, True, [1], float("nan"), "S1b"])
def test_subjects_without_a_number(root: Path, subject: Any) -> None:
    edit_training(root, update("annotations", subject=subject))
    with pytest.raises(InputError, match=r"annotation 1: subject .* has no number"):
        open_dataset(f"custom:{root}", "train")


def test_two_subjects_with_the_same_number(root: Path) -> None:
    edit_training(root, update("annotations", subject="S1"))
    edit_training(root, update("annotations", 2, subject="T1"))
    with pytest.raises(InputError, match="annotation 2: subjects s1 and t1 have the same number"):
        open_dataset(f"custom:{root}", "train")


def test_whole_numbers_written_as_floats(root: Path, tmp_path: Path) -> None:
    edit_training(root, update("images", width=120.0, height=100.0))
    assert open_dataset(f"custom:{root}", "train").size[1].tolist() == [120, 100]
    for width in (120.5, float("inf"), float("nan"), True, "120", -3):
        edit_training(root, update("images", width=width))
        with pytest.raises(InputError, match="width, height are not pixels"):
            open_dataset(f"custom:{root}", "train")
    path = human36m(tmp_path / "h36m", 4)
    keys = ("frame_idx", "cam_idx", "action_idx", "subaction_idx", "width")
    edit(path, lambda content: content["images"][1].update({key: float(content["images"][1][key]) for key in keys}))
    data = open_dataset(f"human36m:{tmp_path / 'h36m'}", "train", Human36MOptions(train_subjects=(1,), train_step=1))
    assert len(data) == 4 and data.frame.dtype.kind == "i"


@pytest.mark.parametrize("key", ["f", "c"])
def test_cameras_that_are_not_finite(root: Path, key: str) -> None:
    edit_training(root, update("images", **{key: [float("nan"), 50.0]}))
    with pytest.raises(InputError, match=f"image 11: {key} is not two"):
        open_dataset(f"custom:{root}", "train")
