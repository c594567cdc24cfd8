"""Benchmark `data`, with a stand-in for the reference repository."""

from __future__ import annotations

import pytest

from arch.errors import InputError
from benchmarks import data as bench
from explore.data import Human36MOptions, open_dataset
from tests.helpers import layouts

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


def test_rows_without_the_reference(frames, monkeypatch):
    monkeypatch.delenv(bench.VARIABLE, raising=False)
    done = []
    rows, claims = bench.compare(frames, done.append)
    assert claims == [] and [row["workers"] for row in rows] == [0] and done[-1] == 1
    assert all(row["ours_images_s"] > 0 and "ratio" not in row for row in rows)


def test_rows_with_a_reference(frames, tmp_path, monkeypatch):
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
    ratios = rows[0]["ratios"]
    assert min(ratios) <= rows[0]["ratio"] <= max(ratios)
    # Ratio of medians and median of ratios differ by the noise of the rounds; figures have two decimals.
    assert rows[0]["ratio"] == pytest.approx(
        rows[0]["ours_images_s"] / rows[0]["reference_images_s"], rel=0.5, abs=0.01
    )


@pytest.mark.parametrize(("ratio", "passed"), [(2.99, False), (3.0, True), (3.7, True)])
def test_target_of_the_speed_up(ratio, passed):
    row = {"px": 256, "workers": 2, "ratio": ratio, "ratios": [ratio - 0.1, ratio, ratio + 0.1]}
    claim = bench._claim(row)
    assert (claim.passed, claim.measured, claim.low) == (passed, f"{ratio:.2f}", ratio - 0.1)


def test_folder_that_is_not_a_reference(monkeypatch, tmp_path):
    monkeypatch.setenv(bench.VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match="clone of the reference"):
        bench.reference_folder()


def test_frames_of_a_human36m_folder(tmp_path, monkeypatch):
    layouts.human36m(tmp_path, 3)
    monkeypatch.setenv("EDGEPOSE_HUMAN36M", str(tmp_path))
    data = bench.frames()
    assert len(data) == bench.CONFIG["images"] and len(set(data.files)) == 6  # of two subjects
