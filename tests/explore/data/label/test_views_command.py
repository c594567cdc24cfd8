"""`data label --views` on a real recording by four cameras, with the teacher that is fetched on first use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from explore.cli import main
from explore.data import open_dataset
from explore.data.label.fetch import MODELS
from explore.host import default_cache
from tests.helpers.layouts import REAL_DATA

RECORDING = REAL_DATA / "pose2sim" / "SinglePerson"
TEACHER = default_cache() / "teachers" / MODELS["blazepose-full"].name
CAMERAS, FRAMES, LATE = ("cam01", "cam02", "cam04"), 64, 16

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RECORDING.is_dir(), reason=f"no recording at {RECORDING}"),
    pytest.mark.skipif(not TEACHER.is_file(), reason=f"no teacher at {TEACHER}; data label fetches it"),
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Half-size copies of three videos, and of the second one with its first frames cut off."""
    folder = tmp_path_factory.mktemp("videos")
    for name, source, skipped in (*((camera, camera, 0) for camera in CAMERAS), ("late-cam02", "cam02", LATE)):
        reader = cv2.VideoCapture(str(RECORDING / f"{source}.mp4"))
        writer = cv2.VideoWriter(str(folder / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 60.0, (544, 960))
        for index in range(FRAMES + skipped):
            image = reader.read()[1]
            if index >= skipped:
                writer.write(cv2.resize(image, (544, 960), interpolation=cv2.INTER_AREA))
        writer.release()
    return folder


def label(videos, names, out, calibration=RECORDING / "Calib.qca.txt"):
    return main(["data", "label", *(str(videos / f"{name}.mp4") for name in names), "--every", "8",
                 "--views", str(calibration), "--out", str(out), "--test-fraction", "0.25"])  # fmt: skip


def test_a_recording_becomes_a_data_set(videos, tmp_path, capsys):
    assert label(videos, CAMERAS, tmp_path / "set") == 0, capsys.readouterr().err
    parts = {split: open_dataset(f"custom:{tmp_path / 'set'}", split) for split in ("train", "test")}
    assert len(parts["train"]) >= 9 and len(parts["test"]) >= 3
    frames = {split: {int(Path(file).name[:6]) for file in data.files} for split, data in parts.items()}
    assert max(frames["train"]) < min(frames["test"])  # the same moments in all views
    cam = parts["train"].joints_cam
    thigh = np.nanmedian(np.linalg.norm(cam[:, 1] - cam[:, 2], axis=1))
    assert 350 < thigh < 500 and (parts["train"].depth_weight == 1).all()
    annotation = json.loads((tmp_path / "set" / "annotations" / "train.json").read_text())["annotations"][0]
    assert len(annotation["views"]) == 18 and min(annotation["views"]) >= 2
    assert 0 < np.mean(annotation["reprojection_px"]) < 15


def test_a_late_video_and_other_cameras_are_refused(videos, tmp_path, capsys):
    assert label(videos, ("cam01", "late-cam02", "cam04"), tmp_path / "late") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "not synchronised: late-cam02.mp4 shows the same moment" in error and "earlier than the others" in error

    shutil.copy(videos / "cam01.mp4", tmp_path / "x-cam04.mp4")
    shutil.copy(videos / "cam04.mp4", tmp_path / "x-cam01.mp4")
    shutil.copy(videos / "cam02.mp4", tmp_path / "x-cam02.mp4")
    assert label(tmp_path, ("x-cam01", "x-cam02", "x-cam04"), tmp_path / "other") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the calibration is not that of the cameras of" in error
