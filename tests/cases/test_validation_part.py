"""Method 1 and 2: parts that choices are made on share nothing with the parts that are reported; errors have intervals."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from arch.errors import InputError
from explore.cli import main
from explore.data.config import DataConfig
from explore.data.synthetic import dataset as synthetic
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.dataset import render_dataset
from explore.data.synthetic.frame import shapes_of_subjects
from explore.evaluation.evaluator import Accuracy, Evaluators, is_rendered, open_evaluator, open_evaluators
from tests.helpers import layouts

RENDERED = DataConfig.model_validate({"dataset": {"train_frames": 20, "test_frames": 8, "val_frames": 6}})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pixels(folder: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.jpg")))).hexdigest()


def custom(root: Path, split: str, count: int = 12, subjects: int = 3, folder: str = "", seed: int = 0) -> Path:
    """Write one split of a custom set: `count` people of `subjects` subjects, counted from 1 in train, 11 in test."""
    file = layouts.custom(root / "made", count)
    content = json.loads(file.with_name("train.json").read_text())
    for number, (image, annotation) in enumerate(zip(content["images"], content["annotations"], strict=True)):
        image["file_name"] = f"{folder or split}/{number}.jpg"
        annotation["subject"] = (1 if split == "train" else 11) + number % subjects if subjects else 0
    layouts.pictures(root / "images", [image["file_name"] for image in content["images"]], seed)
    layouts.dump(root / "annotations" / f"{split}.json", content)
    return root / "annotations" / f"{split}.json"


def opened(root: Path, **dataset: object) -> Evaluators:
    return open_evaluators(DataConfig.model_validate({"data": f"custom:{root}", "dataset": dataset}))


# ---- the embedded set ----


def test_a_cache_of_version_0_1_gets_validation_frames_and_keeps_the_others(cache: Path) -> None:
    before = open_evaluator(RENDERED)
    folder = before.train.root
    rendered = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    images = pixels(folder / "images")
    assert folder.name == SyntheticConfig(size=128, train_frames=20, test_frames=8).name  # whatever val_frames are
    assert is_rendered(RENDERED) and not is_rendered(RENDERED, validation=True)
    parts = open_evaluators(RENDERED)
    assert is_rendered(RENDERED, validation=True)
    assert rendered == {path: path.stat().st_mtime_ns for path in rendered} and pixels(folder / "images") == images
    assert (parts.train.hash, parts.test.data.hash) == (before.train.hash, before.data.hash)
    assert parts.test.mean_pose_mm == before.mean_pose_mm
    assert (parts.validation.part, parts.test.part) == ("validation", "test")
    assert len(parts.validation.data) == 6
    more = RENDERED.model_copy(update={"dataset": RENDERED.dataset.model_copy(update={"val_frames": 8})})
    larger = open_evaluators(more).validation.data
    assert len(larger) == 8 and len(open_evaluators(RENDERED).validation.data) == 6


def test_validation_bodies_are_in_neither_other_part(cache: Path) -> None:
    parts = open_evaluators(RENDERED)
    shapes = shapes_of_subjects()
    groups = [
        {shape for subject in set(data.subject.tolist()) for shape in shapes[subject].tolist()}
        for data in (parts.train, parts.validation.data, parts.test.data)
    ]
    assert all(groups) and sum(map(len, groups)) == len(set.union(*groups))
    assert parts.validation.mean_pose_mm == pytest.approx(parts.test.mean_pose_mm, rel=0.3)
    limbs = [
        np.linalg.norm(data.joints_cam[:, 1] - data.joints_cam[:, 2], axis=1).mean()
        for data in (parts.train, parts.validation.data)
    ]
    assert limbs[0] == pytest.approx(limbs[1], rel=0.1)  # the others' bodies are taller, and scaled


def test_a_rendered_folder_without_validation_part_holds_out_a_subject(cache: Path) -> None:
    folder = render_dataset(cache, SyntheticConfig(size=64, train_frames=20, test_frames=4))
    config = DataConfig(data=f"synthetic:{folder}")
    parts = open_evaluators(config)
    assert len(set(parts.validation.data.subject)) == 1
    synthetic.render_validation(cache, SyntheticConfig(size=64, train_frames=20, test_frames=4, val_frames=3))
    assert set(open_evaluators(config).validation.data.subject) <= {3, 4}


# ---- sets of one's own ----


def test_a_search_holds_out_subjects_and_train_keeps_all(tmp_path: Path) -> None:
    custom(tmp_path, "train")
    custom(tmp_path, "test", seed=1)
    config = DataConfig(data=f"custom:{tmp_path}")
    assert len(open_evaluator(config).train) == 12
    parts = open_evaluators(config)
    assert len(parts.train) == 8 and len(parts.validation.data) == 4 and len(parts.test.data) == 12
    assert parts.train is parts.test.train
    assert set(opened(tmp_path, val_subjects=[2]).validation.data.subject) == {2}
    with pytest.raises(InputError, match="val-subjects: 7 is not a training subject; choose among 1, 2, 3"):
        opened(tmp_path, val_subjects=[7])


def test_human36m_validates_on_the_last_training_subject(tmp_path: Path) -> None:
    file = layouts.human36m(tmp_path, 4)
    for kind in ("data", "camera", "joint_3d"):
        text = (file.parent / f"Human36M_subject1_{kind}.json").read_text()
        (file.parent / f"Human36M_subject8_{kind}.json").write_text(
            text.replace("s_01_", "s_08_").replace('"subject": 1', '"subject": 8')
        )
    names = [path.relative_to(tmp_path / "images").as_posix() for path in (tmp_path / "images").rglob("s_01_*.jpg")]
    layouts.pictures(tmp_path / "images", [name.replace("s_01_", "s_08_") for name in names], 8)
    dataset = {"train_step": 1, "test_step": 1}
    parts = open_evaluators(DataConfig.model_validate({"data": f"human36m:{tmp_path}", "dataset": dataset}))
    assert set(parts.validation.data.subject) == {8} and set(parts.train.subject) == {1}
    overlapping = {"test_subjects": [8]}
    with pytest.raises(InputError, match="the training and the test part share subject human36m S8"):
        open_evaluator(DataConfig.model_validate({"data": f"human36m:{tmp_path}", "dataset": overlapping}))


@pytest.mark.parametrize("shared", ["subject", "image", "clip"])
def test_train_rejects_a_test_part_that_overlaps(
    shared: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = custom(tmp_path, "train", subjects=0), custom(tmp_path, "test", subjects=0, seed=1)
    mine, theirs = json.loads(train.read_text()), json.loads(test.read_text())
    if shared == "subject":
        mine["annotations"][3]["subject"] = theirs["annotations"][5]["subject"] = 4
    elif shared == "image":
        theirs["images"][5]["file_name"] = mine["images"][3]["file_name"]
    else:
        layouts.pictures(tmp_path / "images", ["train/99.jpg"], 2)
        theirs["images"][5]["file_name"] = "train/99.jpg"
    layouts.dump(train, mine)
    layouts.dump(test, theirs)
    arguments = ["--arch", "paper-XS-relu@64", "--data", f"custom:{tmp_path}", "--samples", "8"]
    assert main(["train", *arguments, "--out", str(tmp_path / "net.safetensors")]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"the training and the test part share {'the ' * (shared != 'subject')}{shared}" in message


# ---- intervals ----


def test_errors_have_an_interval_and_can_be_paired(cache: Path) -> None:
    evaluator = open_evaluator(RENDERED)
    rng = np.random.default_rng(0)
    predictions = (evaluator.evaluation.target + rng.normal(0, 0.05, evaluator.evaluation.target.shape)).astype("f4")
    found = evaluator.evaluate(predictions)
    assert found.interval is not None
    assert found.interval.low < found.mpjpe < found.interval.high
    assert found.interval.value == pytest.approx(found.mpjpe)
    assert (found.interval.unit, found.interval.units) == ("frame", 8)
    stored = json.loads(json.dumps(asdict(found)))
    assert Accuracy(**stored) == found
    assert Accuracy(**{key: stored[key] for key in ("mpjpe", "pa_mpjpe")}).interval is None  # files of version 0.1
