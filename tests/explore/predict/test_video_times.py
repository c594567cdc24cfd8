"""The times of a variable-rate video are the timestamps of its container, also for tracker and drawn video."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from explore.cli import main
from explore.predict.inputs import VideoReader, VideoSource, silence_opencv
from explore.predict.tracker import Tracker
from tests.helpers.layouts import OLD_BUNDLE
from tests.helpers.mp4 import set_durations

DURATIONS = [40, 40, 40, 500, 40, 40, 1000, 40, 40, 40]  # ms
TIMES = [0.0, *np.cumsum(DURATIONS)[:-1] / 1000]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames, each brighter than the one before, shown for DURATIONS."""
    silence_opencv()
    path = tmp_path / "variable.mp4"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (96, 64))
    for index in range(len(DURATIONS)):
        writer.write(np.full((64, 96, 3), 20 * index, np.uint8))
    writer.release()
    set_durations(path, DURATIONS)
    return path


def test_reader_gives_the_timestamps(video: Path) -> None:
    reader = VideoReader(VideoSource("v", video))
    times = []
    while reader.read() is not None:
        times.append(reader.time_s)
    reader.close()
    np.testing.assert_allclose(times, TIMES, atol=1e-3)
    assert reader.untimed == 0 and reader.fps == pytest.approx(10 / 1.82, rel=0.01)


def test_records_and_drawn_video_have_the_timestamps(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["predict", str(video), "--model", str(OLD_BUNDLE), "--full-image", "--json", "--out", str(tmp_path)]) == 0
    )
    (result,) = json.loads(capsys.readouterr().out)
    assert result["frames"] == 10 and result["seconds"] == pytest.approx(1.78 + 1 / result["fps"], abs=0.01)
    frames = [json.loads(line) for line in (tmp_path / "variable-pose.jsonl").read_text().splitlines()[1:]]
    np.testing.assert_allclose([frame["time_s"] for frame in frames], TIMES, atol=1e-3)
    drawn = VideoReader(VideoSource("d", tmp_path / "variable-pose.mp4"))
    first: dict[int, float] = {}
    while (frame := drawn.read()) is not None:
        first.setdefault(round(float(frame[60:200, 20:200].mean()) / 20), drawn.time_s)
    drawn.close()
    assert drawn.fps == pytest.approx(25, abs=0.1)
    np.testing.assert_allclose([first[index] for index in sorted(first)][:10], TIMES, atol=0.025)


def test_seconds_counts_time_and_not_frames(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(video), "--model", str(OLD_BUNDLE), "--full-image", "--seconds", "0.65", "--json"]
    assert main(["predict", *arguments, "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)[0]["frames"] == 5


def test_frames_without_timestamps_are_spaced_evenly_and_reported(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container's clock stands still from the sixth frame on."""
    opened = cv2.VideoCapture

    class Stopped:
        def __init__(self, path: str) -> None:
            self.capture = opened(path)

        def get(self, key: int) -> float:
            value = float(self.capture.get(key))
            return min(value, 620.0) if key == cv2.CAP_PROP_POS_MSEC else value

        def __getattr__(self, name: str) -> object:
            return getattr(self.capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", Stopped)
    arguments = [str(video), "--model", str(OLD_BUNDLE), "--full-image", "--json", "--out", str(tmp_path)]
    assert main(["predict", *arguments]) == 0
    printed = capsys.readouterr()
    frames = [json.loads(line) for line in (tmp_path / "variable-pose.jsonl").read_text().splitlines()[1:]]
    times = np.array([frame["time_s"] for frame in frames])
    assert "the times of 5 frames (their timestamps are missing or do not increase)" in printed.err
    np.testing.assert_allclose(np.diff(times[4:]), json.loads(printed.out)[0]["fps"] ** -1, atol=1e-3)


def test_tracker_measures_in_seconds() -> None:
    """A track ends after the same time at every frame rate, and a box follows a step at the same speed."""
    here, there = np.array([[0.0, 0, 100, 100]]), np.array([[20.0, 0, 100, 100]])
    image = np.zeros((240, 320, 3), np.uint8)
    ends, boxes = {}, {}
    for fps in (10, 25, 50):
        gone = False
        detector = SimpleNamespace(detect_in=lambda image, regions: here)
        people = Tracker(detector)  # type: ignore[arg-type]
        people.update(image, 0.0)
        detector.detect_in = lambda image, regions: there
        for index in range(1, fps // 5 + 1):
            (box,) = people.update(image, index / fps)
        boxes[fps] = box.bbox[0]
        detector.detect_in = lambda image, regions: np.zeros((0, 4))
        for index in range(1, fps):
            if not people.update(image, 0.2 + index / fps) and not gone:
                gone, ends[fps] = True, index / fps
    assert all(0.2 < end <= 0.2 + 1.01 / fps for fps, end in ends.items()) and len(ends) == 3
    assert np.ptp(list(boxes.values())) < 0.01
