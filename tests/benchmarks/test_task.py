"""Benchmark `task`: known landmarks have known errors, and frames without a person are left out for all files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import task as bench
from explore.data import Human36MOptions, open_dataset
from explore.data.label.mapping import JointMap
from explore.data.sample import Dataset
from explore.data.skeleton import H36M18
from explore.export.task_verify import Tracked
from tests.helpers import layouts

VIDEOS = [Path("cam01.mp4"), Path("cam02.mp4")]
FIRST = np.eye(18, 33)  # the joints are the first 18 landmarks
JOINTS = JointMap(H36M18, FIRST, FIRST, FIRST)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Eight people, whose images are named as frames 0 to 3 of two undistorted videos."""
    layouts.human36m(tmp_path / "set", 8)
    found = open_dataset(f"human36m:{tmp_path / 'set'}", "train", Human36MOptions(train_subjects=(1,), train_step=1))
    names = [f"{index % 4:06}-{VIDEOS[index // 4].stem}-0123abcd.jpg" for index in range(8)]
    for index, name in enumerate(names):
        shutil.copyfile(found.path(index), tmp_path / name)
    return replace(found, root=tmp_path, files=tuple(names))


def tracked(data: Dataset, view: int, deeper: float, lost: tuple[int, ...] = ()) -> Tracked:
    """Return results that are `deeper` mm too deep in all joints but the root, of 12 frames, of which four have a truth."""
    landmarks, world = np.full((12, 33, 5), 1.0), np.zeros((12, 33, 3))
    for frame in range(4):
        sample = data[4 * view + frame]
        scale = bench.CONFIG["side"] / max(sample.size)
        landmarks[frame, :18, :2] = sample.joints_img[:, :2] * scale
        world[frame, :18] = (sample.joints_cam - sample.joints_cam[0]) / 1000
        world[frame, 1:18, 2] += deeper / 1000
    found = ~np.isin(np.arange(12), lost)
    landmarks[~found], world[~found] = np.nan, np.nan
    return Tracked(found, landmarks, world, np.full(12, 2.0 + deeper / 10), "1.2.3")


def test_rows_claims_page_and_sheet(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SHEET", tmp_path / "task.png")
    files = [bench.File(name, Path("a.task"), JOINTS, name == "net") for name in ("blazepose-lite", "net")]
    lite = bench.collect(files[0], [tracked(data, view, 20.0) for view in range(2)], VIDEOS, data)
    net = bench.collect(files[1], [tracked(data, 0, 10.0, (1, 9)), tracked(data, 1, 10.0)], VIDEOS, data)
    rows = bench.rows_of([lite, net], data)
    assert [row["network"] for row in rows] == ["blazepose-lite", "net"]
    assert {(row["people"], row["of_people"]) for row in rows} == {(7, 8)}  # the lost one is left out for both
    assert [row["mpjpe_mm"] for row in rows] == pytest.approx([20 * 16 / 17, 10 * 16 / 17], abs=0.06)
    assert [row["latency_ms"] for row in rows] == [4.0, 3.0] and rows[1]["tracked_percent"] == 91.7
    assert max(row["error_2d_percent"] for row in rows) < 0.01
    claims = bench.claims_of(rows)
    assert [claim.passed for claim in claims] == [False, False, True]
    text = bench.markdown(rows, claims)
    assert "7 of 8 people with ground truth are found by all files." in text and "| net | 91.7 | 9.4 |" in text
    bench.write_sheet([lite, net], data)
    assert cv2.imread(str(tmp_path / "task.png")) is not None
