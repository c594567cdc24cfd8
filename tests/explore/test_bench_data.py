"""The loader's bench: rows without the reference; a stand-in of it where there is none to run."""

from __future__ import annotations

import pytest

from arch.errors import InputError
from explore.bench import data as bench
from explore.data import Human36MOptions, open_dataset
from explore.train.memory import keep_freed_memory
from tests.explore import layouts

DATASET = """
import numpy as np, torch
class DatasetLoader:
    def __init__(self, db, ref_joints_name, is_train, transform):
        self.db, self.transform = db, transform
    def __len__(self):
        return len(self.db.data)
    def __getitem__(self, index):
        assert self.db.data[index]["joint_img"].shape == (18, 3)
        return self.transform(np.zeros((64, 64, 3), np.float32)), 0, 0, 0
"""


@pytest.fixture
def frames(tmp_path, monkeypatch):
    layouts.human36m(tmp_path / "set", 4)
    monkeypatch.setattr(
        bench, "CONFIG", bench.CONFIG | {"rounds": 1, "images": 24, "batch": 4, "sizes": (64,), "workers": (0,)}
    )
    options = Human36MOptions(train_subjects=(1,))
    return open_dataset(f"human36m:{tmp_path / 'set'}", "train", options).take([0, 1, 2, 3] * 6)


def test_without_the_reference_there_are_rows_and_no_claim(frames, monkeypatch):
    monkeypatch.delenv(bench.VARIABLE, raising=False)
    done = []
    rows, claims = bench.compare(frames, done.append)
    assert claims == [] and [row["workers"] for row in rows] == [0] and done[-1] == 1
    assert all(row["ours_images_s"] > 0 and "ratio" not in row for row in rows)


def test_a_reference_takes_turns(frames, tmp_path, monkeypatch):
    root = tmp_path / "reference"
    (root / "data").mkdir(parents=True)
    (root / "data" / "dataset.py").write_text(DATASET)
    (root / "common" / "utils").mkdir(parents=True)
    (root / "common" / "utils" / "__init__.py").write_text("")
    code = "from config import cfg\nassert cfg.input_shape == (64, 64)\ndef process_bbox(box, w, h):\n    return box\n"
    (root / "common" / "utils" / "pose_utils.py").write_text(code)
    monkeypatch.setenv(bench.VARIABLE, str(root))
    rows, claims = bench.compare(frames, lambda share: None)
    assert len(claims) == 1 and all(row["reference_images_s"] > 0 for row in rows)
    assert all(claim.holds == (row["ratio"] >= 3) for claim, row in zip(claims, rows, strict=True))


def test_a_folder_that_is_no_reference(monkeypatch, tmp_path):
    monkeypatch.setenv(bench.VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match="clone of the reference"):
        bench.reference_folder()


def test_frames_of_a_folder(tmp_path, monkeypatch):
    layouts.human36m(tmp_path, 3)
    monkeypatch.setenv("EDGEPOSE_HUMAN36M", str(tmp_path))
    data = bench.frames()
    assert len(data) == bench.CONFIG["images"] and len(set(data.files)) == 3


def test_memory_is_kept_where_the_c_library_can():
    assert keep_freed_memory() in (True, False)
