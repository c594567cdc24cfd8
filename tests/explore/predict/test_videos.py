"""predict on videos, folders and cameras: detection and tracking of a rendered person, and invalid inputs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from explore.cli import main
from explore.commands.predict import BUNDLED
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.frame import compose_frame, render_jpeg
from explore.predict import detector, inputs, tracker, videos
from explore.predict.detector import Detector, iou
from explore.predict.pipeline import name_of, open_models
from explore.predict.tracker import Tracker
from explore.progress import Display
from quantize import bundle as bundles
from tests.helpers import ROOT

BUNDLES = ROOT / "results" / "version-0.1" / "bundles"
NAME, OTHER_NAME = "4d9892a5a7", "ebf227c12d"
MODEL, OTHER = BUNDLES / NAME / "litert", BUNDLES / OTHER_NAME / "litert"
FRAMES, SIZE = 24, (320, 240)
RENDERED = SyntheticConfig(size=240)


@pytest.fixture(scope="module")
def person() -> tuple[np.ndarray, np.ndarray]:
    """A rendered person, RGB (240, 240, 3), and the box (4,)."""
    stage = compose_frame(RENDERED, "test", 4)
    image = cv2.imdecode(np.frombuffer(render_jpeg(RENDERED, "test", 4, stage), np.uint8), cv2.IMREAD_COLOR_RGB)
    return image, np.array(stage.record["bbox"])


@pytest.fixture(scope="module")
def scene(person: tuple[np.ndarray, np.ndarray]) -> Callable[[int], np.ndarray]:
    """Return the frames of a video in which the person moves to the right by 2 px a frame."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(90, 160, (6, 8, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)

    def frame(index: int) -> np.ndarray:
        made = wall.copy()
        made[:, 2 * index : 2 * index + 240] = person[0][:, : SIZE[0] - 2 * index]
        return made

    return frame


def write_video(path: Path, scene: Callable[[int], np.ndarray], frames: int = FRAMES, code: str = "mp4v") -> Path:
    inputs.silence_opencv()  # FFmpeg reads the setting once, at its first use
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), 12.0, SIZE)
    for index in range(frames):
        writer.write(np.ascontiguousarray(scene(index)[:, :, ::-1]))
    writer.release()
    return path


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments)])


def frames_of(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    return list(
        itertools.takewhile(lambda picture: picture is not None, (capture.read()[1] for _ in itertools.count()))
    )


def lines_of(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    head, *frames = (json.loads(line) for line in path.read_text().splitlines())
    return head, frames


# ---- detection and tracking ----


def test_rendered_person_is_detected(person: tuple[np.ndarray, np.ndarray]) -> None:
    image, box = person
    (found,) = Detector().detect(image)
    square = np.array([*(box[:2] + box[2:] / 2 - max(box[2:]) / 2), max(box[2:]), max(box[2:])])
    assert iou(found.bbox[None], square[None])[0, 0] > 0.6
    assert not len(Detector().detect(np.full((200, 300, 3), 128, np.uint8)))


def test_small_person_is_detected_in_tiles(person: tuple[np.ndarray, np.ndarray]) -> None:
    large = np.full((480, 900, 3), 120, np.uint8)
    large[230:470, 20:260] = person[0]
    (found,) = Detector().detect(large)
    middle = found.bbox[:2] + found.bbox[2:] / 2
    assert 20 < middle[0] < 260 and 230 < middle[1] < 470


def test_anchors_match_the_graph() -> None:
    centres = detector.anchors()
    assert centres.shape == (2254, 2)
    np.testing.assert_allclose(
        centres[[0, 1, 2, 1568, -1]] * 28, [[0.5, 0.5], [0.5, 0.5], [1.5, 0.5], [1, 1], [26, 26]]
    )


def test_person_keeps_the_number_over_a_gap(scene: Callable[[int], np.ndarray]) -> None:
    people = Tracker(Detector())
    seen = [people.update(scene(index), index / 25) for index in range(10)]
    assert all([box.number for box in boxes] == [1] for boxes in seen)
    assert seen[9][0].bbox[0] > seen[0][0].bbox[0]
    empty = np.full((240, 320, 3), 128, np.uint8)
    counts = [len(people.update(empty, index / 25)) for index in range(10, 18)]
    assert counts == [1] * 5 + [0] * 3 and tracker.MAX_MISSED == 5 / 25
    assert people.update(scene(0), 18 / 25)[0].number == 2


def test_detections_are_assigned_by_the_largest_total_overlap() -> None:
    """The first track overlaps most with the detection that belongs to the second one."""
    frames = iter([
        np.array([[0, 0, 100, 100], [40, 0, 100, 100]], float),
        np.array([[25, 0, 100, 100], [-30, 0, 100, 100]], float),
    ])  # fmt: skip
    people = Tracker(SimpleNamespace(detect_in=lambda image, regions: next(frames)))  # type: ignore[arg-type]
    image = np.zeros((240, 320, 3), np.uint8)
    people.update(image, 0.0)
    assert [(box.number, box.bbox[0]) for box in people.update(image, 1 / 25)] == [(1, -15), (2, 32.5)]


# ---- videos ----


def test_video_gives_a_video_and_json_lines(scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any) -> None:
    path = write_video(tmp_path / "walk.mp4", scene)
    assert predict(path, "--model", MODEL, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert "assumed: focal length 320 px" in printed.err and "walk.mp4: 24 processed" in printed.out.replace("\n", "")
    assert all(stage in printed.out for stage in ("read", "detect", "crop", "network", "decode", "draw", "write"))
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["walk-pose.jsonl", "walk-pose.mp4"]
    head, frames = lines_of(tmp_path / "out" / "walk-pose.jsonl")
    assert head["size_px"] == list(SIZE) and head["fps"] == 12 and head["bundle"]["arch"] == NAME
    assert [frame["frame"] for frame in frames] == list(range(FRAMES)) and frames[12]["time_s"] == 1.0
    assert all([one["person"] for one in frame["people"]] == [1] for frame in frames)
    assert len(frames[0]["people"][0]["joints"]) == 18
    drawn = frames_of(tmp_path / "out" / "walk-pose.mp4")
    assert len(drawn) == FRAMES and drawn[0].shape[1] > 700


def test_seconds_limits_the_length(
    scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "walk.mp4", scene)
    shown: list[float] = []
    monkeypatch.setattr(Display, "update", lambda self, fraction, text="": shown.append(fraction))
    assert predict(path, "--model", MODEL, "--full-image", "--seconds", 0.5, "--json", "--out", tmp_path) == 0
    printed = capsys.readouterr()
    (video,) = json.loads(printed.out)
    assert video["frames"] == 6 and video["incomplete"] is None and "whole frame is one person's box" in printed.err
    np.testing.assert_allclose(shown, np.arange(6) / 6, atol=0.01)


def test_two_models_side_by_side(scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any) -> None:
    path = write_video(tmp_path / "walk.avi", scene, 4, "MJPG")
    still = tmp_path / "still.png"
    cv2.imwrite(str(still), scene(0)[:, :, ::-1])
    models = ("--model", MODEL, "--model", OTHER, "--model", MODEL)
    assert predict(path, still, *models, "--json", "--video-format", "webm", "--out", tmp_path / "out") == 0
    first, second, third, video = json.loads(capsys.readouterr().out)
    labels = [f"{NAME}-litert", f"{OTHER_NAME}-litert", f"{NAME}-litert#2"]
    assert [first["model"], second["model"], third["model"]] == labels
    assert first["people"][0]["joints"] == third["people"][0]["joints"] != second["people"][0]["joints"]
    assert video["differences_mm"] > 1
    assert {row["model"] for row in video["ms_per_frame"] if row["stage"] == "network"} == set(labels)
    assert [Path(file).name for file in video["files"]] == [
        "walk-pose.webm", *(f"walk-pose-{label}.jsonl" for label in labels)
    ]  # fmt: skip
    assert all(Path(file).is_file() for file in [*video["files"], *first["files"]])
    assert [model.title for model in open_models([str(MODEL), str(MODEL)], 1)] == [
        f"{NAME} · litert int8-static", f"{NAME}#2 · litert int8-static"
    ]  # fmt: skip


def test_a_network_without_a_preset_is_named_like_its_folder(tmp_path: Path) -> None:
    bundle = bundles.load(BUNDLED)
    assert bundle.arch.name == bundle.arch.id and name_of(bundle) == BUNDLED.name
    assert name_of(replace(bundle, path=tmp_path / "mine" / "litert")) == "mine"
    assert name_of(bundles.load(MODEL)) == NAME


def test_boxes_and_root_depths_of_frames_from_a_file(
    scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any
) -> None:
    path = write_video(tmp_path / "walk.mp4", scene, 6)
    table = tmp_path / "boxes.csv"
    table.write_text("frame,person,x,y,w,h,root_depth_mm\n0,7,50,20,140,200,3100\n3,7,56,20,140,200,\n")
    assert predict(path, "--model", MODEL, "--boxes", table, "--out", tmp_path / "out") == 0
    _, frames = lines_of(tmp_path / "out" / "walk-pose.jsonl")
    assert [[one["person"] for one in frame["people"]] for frame in frames] == [[7], [], [], [7], [], []]
    assert frames[0]["people"][0]["root_depth_mm"] == 3100
    assert frames[3]["people"][0]["root_depth_from"] == "estimated from the box's size"
    roots = tmp_path / "rootnet.json"
    entries = [
        {"file": "walk.mp4", "bbox": [50, 20, 140, 200], "root_cam": [1, 2, 4200]},
        {"file": "b", "bbox": [0, 0, 9, 9]},
    ]
    roots.write_text(json.dumps(entries))
    assert predict(path, "--model", MODEL, "--boxes", roots, "--out", tmp_path / "out") == 0
    _, frames = lines_of(tmp_path / "out" / "walk-pose.jsonl")
    assert [frame["people"][0]["root_depth_mm"] for frame in frames] == [4200] * 6


def test_video_of_a_camera_plays_in_real_time(
    scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "what-it-sees.avi", scene, code="MJPG")
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: opened(str(path)) if name == 3 else opened(name))
    quarters = itertools.count()  # every clock reading is a quarter of a second later
    monkeypatch.setattr(videos, "time", SimpleNamespace(monotonic=lambda: next(quarters) / 4))
    assert predict("camera:3", "--model", MODEL, "--out", tmp_path, "--seconds", 0.7, "--json") == 0
    (video,) = json.loads(capsys.readouterr().out)
    assert video["incomplete"] is None and video["frames"] == 2 and video["seconds"] == 0.75
    assert len(frames_of(tmp_path / "camera-3-pose.mp4")) == 13  # of 25 a second, from 0 to 0.5 s


# ---- invalid inputs ----


def test_truncated_video_keeps_the_results(scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any) -> None:
    whole = write_video(tmp_path / "whole.avi", scene, code="MJPG").read_bytes()
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    assert predict(tmp_path / "half.avi", "--model", MODEL, "--out", tmp_path) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "incomplete" in line]
    assert len(lines) == 1 and "of 24 frames; the results so far are kept" in lines[0]
    _, frames = lines_of(tmp_path / "half-pose.jsonl")
    assert 8 < len(frames) < 16 and cv2.VideoCapture(str(tmp_path / "half-pose.mp4")).isOpened()


def test_photo_without_people_is_reported(tmp_path: Path, capsys: Any) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((200, 300, 3), 128, np.uint8))
    assert predict(tmp_path / "wall.png", "--model", MODEL, "--out", tmp_path, "--json") == 0
    printed = capsys.readouterr()
    assert "wall.png: no person found; give --bbox" in printed.err and json.loads(printed.out)[0]["people"] == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["gone.mp4"], "gone.mp4: no such file"),
        (["broken.mp4"], "broken.mp4: cannot be decoded as a video"),
        (["half.mp4"], "half.mp4: cannot be decoded as a video, or its index is cut off"),
        (["empty"], "empty: no photos or videos in this folder"),
        (["camera:97"], "camera:97: this camera delivers no frames"),
        (["camera:x"], "camera:x: not the number of a camera; give camera:0"),
        (["a.mp4", "--bbox", "900,10,50,50"], "a.mp4: --bbox 900,10,50,50: "),
        (["a.mp4", "--boxes", "gone.json"], "--boxes gone.json: cannot be read"),
        (["a.mp4", "--boxes", "text.csv"], "--boxes text.csv: no column x, y, w, h; the first line must be"),
        (["a.mp4", "--boxes", "wrong.json"], "--boxes wrong.json: entry 1: bbox"),
        (["a.mp4", "--boxes", "outside.json"], "a.mp4, frame 3: --boxes outside.json 900,10,50,50: "),
        (["a.mp4", "--full-image", "--bbox", "0,0,9,9"], "--bbox: not allowed with argument --full-image"),
        (["a.mp4", "--seconds", "0"], "--seconds 0: give a positive"),
        (["a.mp4", "--out", "text.csv"], "--out text.csv: not a folder"),
        (["a.mp4", "--out", "/proc/nowhere"], "--out /proc/nowhere: No such file or directory"),
        (["a.mp4", "--cert", "x"], "apply to --web BUNDLE only"),
        (["--seconds", "3"], "INPUT: missing; give photos"),
    ],
)
def test_wrong_input_gives_one_line(
    scene: Callable[[int], np.ndarray], tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch, given: list[str],
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    whole = write_video(Path("a.mp4"), scene, 4).read_bytes()
    Path("half.mp4").write_bytes(whole[: len(whole) // 2])
    Path("broken.mp4").write_bytes(b"not a video" * 99)
    Path("empty").mkdir()
    Path("text.csv").write_text("one,two\n1,2\n")
    Path("wrong.json").write_text('[{"bbox": [1, 2, 3]}]')
    Path("outside.json").write_text('[{"frame": 3, "bbox": [900, 10, 50, 50]}]')
    before = sorted(Path().rglob("*"))
    capfd.readouterr()
    assert predict(*given, "--model", MODEL) == 2
    printed = capfd.readouterr()
    errors = [line for line in printed.err.splitlines() if not line.startswith(("INFO: ", "a.mp4"))]
    assert len(errors) == 1 and errors[0].startswith("error: ") and message in errors[0], printed.err
    assert not printed.out and sorted(Path().rglob("*")) == before
