"""Plain COCO keypoints exports, which any annotation tool writes, in the reader `custom`."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arch.errors import InputError
from explore.cli import main
from explore.data import open_dataset
from explore.data.skeleton import COCO19
from tests.helpers.layouts import custom, mscoco

NAMES = ["nose", *(f"{side}_{part}" for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right"))]  # fmt: skip
BONES = [[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9], [8, 10], [9, 11],
         [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]]  # fmt: skip
PERSON = {"id": 1, "name": "person", "keypoints": NAMES, "skeleton": BONES}
DOG = {"id": 18, "name": "dog", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """The training split of mscoco as it is exported, without f and c, in the folders of `custom`."""
    content = json.loads(mscoco(tmp_path / "coco", 4).read_text())
    (tmp_path / "set" / "annotations").mkdir(parents=True)
    (tmp_path / "coco" / "images" / "train2017").rename(tmp_path / "set" / "images")
    for annotation in content["annotations"]:
        annotation["category_id"] = 1
    write(tmp_path / "set", content | {"categories": [PERSON]})
    return tmp_path / "set"


def write(root: Path, content: Any, split: str = "train") -> None:
    (root / "annotations" / f"{split}.json").write_text(json.dumps(content))


def content_of(root: Path) -> Any:
    return json.loads((root / "annotations" / "train.json").read_text())


def test_as_the_reader_mscoco_reads_it(export: Path, tmp_path: Path) -> None:
    data = open_dataset(f"custom:{export}", "train")
    same = open_dataset(f"mscoco:{tmp_path / 'coco'}", "test")  # other pictures of the same people
    assert data.skeleton == COCO19 and not data.has_depth.any() and len(data) == 4
    for column in ("joints_img", "vis", "bbox", "f", "c"):
        np.testing.assert_array_equal(getattr(data, column), getattr(same, column))


def test_joints_in_another_order_and_other_categories(export: Path) -> None:
    before = open_dataset(f"custom:{export}", "train")
    content = content_of(export)
    order = random.Random(0).sample(range(17), 17)
    content["categories"] = [DOG, PERSON | {"keypoints": [NAMES[joint] for joint in order], "skeleton": []}]
    for annotation in content["annotations"]:
        triples = np.reshape(annotation["keypoints"], (17, 3))
        annotation["keypoints"] = triples[order].ravel().tolist()
    content["annotations"].append({"id": 70, "image_id": 10, "category_id": 18, "bbox": [1, 1, 9, 9]})
    content["images"][0] |= {"width": 120.0, "height": 100.0}
    write(export, content)
    data = open_dataset(f"custom:{export}", "train")
    np.testing.assert_array_equal(data.joints_img, before.joints_img)
    assert data.left_out == {"of another category": 1}


def test_a_category_without_names(export: Path) -> None:
    write(export, content_of(export) | {"categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "ball"}]})
    assert open_dataset(f"custom:{export}", "train").skeleton == COCO19


def test_mixed_with_a_set_in_3d(export: Path, tmp_path: Path) -> None:
    custom(tmp_path / "3d", 4)
    data = open_dataset(f"custom:{tmp_path / '3d'}*0.5+custom:{export}*0.5", "train")
    assert len(data) == 8 and data.has_depth.sum() == 4 and len(data.skeleton) == 17
    pelvis = data.skeleton.index("Pelvis")
    assert (data.vis[4:, pelvis] == 1).all() and (data.vis[4:, data.skeleton.index("Torso")] == 0).all()


def test_other_names_of_the_file(export: Path) -> None:
    (export / "annotations" / "train.json").rename(export / "annotations" / "person_keypoints_default.json")
    with pytest.raises(InputError, match=r"train\.json: missing; .* has person_keypoints_default\.json: rename"):
        open_dataset(f"custom:{export}", "train")


def test_data_check(export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "check", f"custom:{export}", "--sheet", str(tmp_path / "sheet.png")]
    assert main(arguments) == 0
    assert "in 2D only; train on it in a mix, after a set in 3D" in capsys.readouterr().out
    content = content_of(export)
    names = [f"joint{number}" for number in range(140)]
    content["categories"] = [{"keypoints": names, "skeleton": [[1, joint] for joint in range(2, 141)]}]
    for annotation in content["annotations"]:
        annotation["keypoints"] = [50.0, 50.0, 2.0] * 140
    write(export, content)
    assert main(arguments) == 1
    assert "140 joints; networks have at most 133" in capsys.readouterr().out


def test_known_bones_and_joints_without_a_bone(tmp_path: Path) -> None:
    path = custom(tmp_path, 4)
    whole = open_dataset(f"custom:{tmp_path}", "train")
    content = json.loads(path.read_text())
    bones = content["categories"][0].pop("skeleton")
    write(tmp_path, content)
    data = open_dataset(f"custom:{tmp_path}", "train")
    assert data.skeleton == whole.skeleton
    content["categories"][0]["skeleton"] = bones[:-1]
    write(tmp_path, content)
    with pytest.raises(
        InputError, match=r"category: skeleton: joint R_Wrist has no bone; add the pair of its number \(17"
    ):
        open_dataset(f"custom:{tmp_path}", "train")
