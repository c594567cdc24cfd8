"""predict on films, folders and cameras: a rendered person found and followed, and every kind of broken input."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from explore.cli import main
from explore.data.synthetic.dataset import SyntheticConfig, picture, set_stage
from explore.predict import detect, films, inputs
from explore.predict.detect import Detector, Follower, overlap
from tests.explore.report.studies import FAST, MIDDLE, REFERENCE

BUNDLES = REFERENCE / "bundles"
MODEL, OTHER = BUNDLES / MIDDLE / "litert", BUNDLES / FAST / "litert"
FRAMES, SIZE = 24, (320, 240)
RENDERED = SyntheticConfig(size=240)


@pytest.fixture(scope="module")
def person() -> tuple[np.ndarray, np.ndarray]:
    """A rendered person, RGB (240, 240, 3), and their box."""
    stage = set_stage(RENDERED, "test", 4)
    image = cv2.imdecode(np.frombuffer(picture(RENDERED, "test", 4, stage), np.uint8), cv2.IMREAD_COLOR_RGB)
    return image, np.array(stage.record["bbox"])


@pytest.fixture(scope="module")
def scene(person: tuple[np.ndarray, np.ndarray]) -> Callable[[int], np.ndarray]:
    """The frames of a film in which the person moves to the right by 2 px a frame."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(90, 160, (6, 8, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)

    def frame(index: int) -> np.ndarray:
        made = wall.copy()
        made[:, 2 * index : 2 * index + 240] = person[0][:, : SIZE[0] - 2 * index]
        return made

    return frame


def film(path: Path, scene: Callable[[int], np.ndarray], frames: int = FRAMES, code: str = "mp4v") -> Path:
    inputs.quiet()  # before the first use of FFmpeg, which asks once
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), 12.0, SIZE)
    for index in range(frames):
        writer.write(np.ascontiguousarray(scene(index)[:, :, ::-1]))
    writer.release()
    return path


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments)])


def pictures_of(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    return list(
        itertools.takewhile(lambda picture: picture is not None, (capture.read()[1] for _ in itertools.count()))
    )


def lines_of(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    head, *frames = (json.loads(line) for line in path.read_text().splitlines())
    return head, frames


# ---- people found ----


def test_a_rendered_person_is_found(person: tuple[np.ndarray, np.ndarray]) -> None:
    image, box = person
    (found,) = Detector().everyone(image)
    square = np.array([*(box[:2] + box[2:] / 2 - max(box[2:]) / 2), max(box[2:]), max(box[2:])])
    assert overlap(found[None], square[None])[0, 0] > 0.6
    assert not len(Detector().everyone(np.full((200, 300, 3), 128, np.uint8)))


def test_a_small_person_is_found_in_parts_of_the_picture(person: tuple[np.ndarray, np.ndarray]) -> None:
    large = np.full((480, 900, 3), 120, np.uint8)
    large[230:470, 20:260] = person[0]
    (found,) = Detector().everyone(large)
    middle = found[:2] + found[2:] / 2
    assert 20 < middle[0] < 260 and 230 < middle[1] < 470


def test_the_anchors_are_the_graphs() -> None:
    places = detect.anchors()
    assert places.shape == (2254, 2)
    np.testing.assert_allclose(places[[0, 1, 2, 1568, -1]] * 28, [[0.5, 0.5], [0.5, 0.5], [1.5, 0.5], [1, 1], [26, 26]])


def test_a_person_keeps_the_number_and_a_gap_is_bridged(scene: Callable[[int], np.ndarray]) -> None:
    follower = Follower(Detector())
    seen = [follower.next(scene(index)) for index in range(10)]
    assert all([number for number, _ in people] == [1] for people in seen)
    assert seen[9][0][1][0] > seen[0][0][1][0]
    empty = np.full((240, 320, 3), 128, np.uint8)
    counts = [len(follower.next(empty)) for _ in range(8)]
    assert counts == [1] * detect.MISSED + [0] * (8 - detect.MISSED)
    assert follower.next(scene(0))[0][0] == 2


# ---- films ----


def test_a_film_becomes_a_film_and_lines(scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any) -> None:
    path = film(tmp_path / "walk.mp4", scene)
    assert predict(path, "--model", MODEL, "--out", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "assumed: focal length 320 px" in said.err and "walk.mp4: 24 in all" in said.out.replace("\n", "")
    assert all(stage in said.out for stage in ("read", "detect", "crop", "network", "decode", "draw", "write"))
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["walk-pose.jsonl", "walk-pose.mp4"]
    head, frames = lines_of(tmp_path / "out" / "walk-pose.jsonl")
    assert head["size_px"] == list(SIZE) and head["fps"] == 12 and head["bundle"]["arch"] == MIDDLE
    assert [frame["frame"] for frame in frames] == list(range(FRAMES)) and frames[12]["time_s"] == 1.0
    assert all([one["person"] for one in frame["people"]] == [1] for frame in frames)
    assert len(frames[0]["people"][0]["joints"]) == 18
    drawn = pictures_of(tmp_path / "out" / "walk-pose.mp4")
    assert len(drawn) == FRAMES and drawn[0].shape[1] > 700


def test_the_beginning_of_a_film(scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any) -> None:
    path = film(tmp_path / "walk.mp4", scene)
    assert predict(path, "--model", MODEL, "--whole", "--seconds", 0.5, "--json", "--out", tmp_path) == 0
    said = capsys.readouterr()
    (reel,) = json.loads(said.out)
    assert reel["frames"] == 6 and reel["incomplete"] is None and "whole frame is one person's box" in said.err


def test_stopped_by_hand_keeps_what_was_done(
    scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "walk.mp4", scene)
    read = inputs.Reel.read

    def interrupted(reel: inputs.Reel) -> np.ndarray | None:
        if reel.frames == 5:
            raise KeyboardInterrupt
        return read(reel)

    monkeypatch.setattr(inputs.Reel, "read", interrupted)
    assert predict(path, "--model", MODEL, "--whole", "--out", tmp_path) == 1
    assert "stopped after 5 frames; what was done is kept" in capsys.readouterr().err
    assert len(pictures_of(tmp_path / "walk-pose.mp4")) == len(lines_of(tmp_path / "walk-pose.jsonl")[1]) == 5


def test_two_models_side_by_side(scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any) -> None:
    path = film(tmp_path / "walk.avi", scene, 4, "MJPG")
    still = tmp_path / "still.png"
    cv2.imwrite(str(still), scene(0)[:, :, ::-1])
    models = ("--model", MODEL, "--model", OTHER, "--model", MODEL)
    assert predict(path, still, *models, "--bbox=40,20,160,200", "--out", tmp_path) == 2
    assert "2 photos given, boxes belong to one" in capsys.readouterr().err
    assert predict(path, still, *models, "--json", "--film", "webm", "--out", tmp_path / "out") == 0
    first, second, third, reel = json.loads(capsys.readouterr().out)
    labels = [f"{MIDDLE}-litert", f"{FAST}-litert", f"{MIDDLE}-litert#2"]
    assert [first["model"], second["model"], third["model"]] == labels
    assert first["people"][0]["joints"] == third["people"][0]["joints"] != second["people"][0]["joints"]
    assert reel["differences_mm"] > 1
    assert {row["model"] for row in reel["ms_per_frame"] if row["stage"] == "network"} == set(labels)
    assert [Path(file).name for file in reel["files"]] == [
        "walk-pose.webm", *(f"walk-pose-{label}.jsonl" for label in labels)
    ]  # fmt: skip
    assert all(Path(file).is_file() for file in [*reel["files"], *first["files"]])


def test_boxes_of_frames_and_root_depths_from_a_file(
    scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any
) -> None:
    path = film(tmp_path / "walk.mp4", scene, 6)
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


def test_a_camera_keeps_its_time(
    scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "what-it-sees.avi", scene, code="MJPG")
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: opened(str(path)) if name == 3 else opened(name))
    quarters = itertools.count()  # of a second: as slow as that the machine is
    monkeypatch.setattr(films, "time", SimpleNamespace(monotonic=lambda: next(quarters) / 4))
    assert predict("camera:3", "--model", MODEL, "--out", tmp_path, "--seconds", 0.7, "--json") == 0
    (reel,) = json.loads(capsys.readouterr().out)
    assert reel["incomplete"] is None and reel["frames"] == 2 and reel["seconds"] == 0.75
    assert len(pictures_of(tmp_path / "camera-3-pose.mp4")) == 13  # of 25 a second, from 0 to 0.5 s


# ---- what is wrong ----


def test_a_film_cut_in_half_keeps_what_was_readable(
    scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any
) -> None:
    whole = film(tmp_path / "whole.avi", scene, code="MJPG").read_bytes()
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    assert predict(tmp_path / "half.avi", "--model", MODEL, "--out", tmp_path) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "incomplete" in line]
    assert len(said) == 1 and "of 24 frames; what could be read is kept" in said[0]
    _, frames = lines_of(tmp_path / "half-pose.jsonl")
    assert 8 < len(frames) < 16 and cv2.VideoCapture(str(tmp_path / "half-pose.mp4")).isOpened()


def test_one_bad_picture_of_a_folder_is_said_and_the_others_are_done(
    scene: Callable[[int], np.ndarray], tmp_path: Path, capsys: Any
) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), scene(0)[:, :, ::-1])
    (folder / "b.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not looked at")
    assert predict(folder, "--model", MODEL, "--out", tmp_path / "out", "--json") == 1
    said = capsys.readouterr()
    assert "incomplete: " in said.err and "b.jpg: not a picture" in said.err
    assert [Path(one["photo"]).name for one in json.loads(said.out)] == ["a.jpg"]


def test_nobody_there_is_said(tmp_path: Path, capsys: Any) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((200, 300, 3), 128, np.uint8))
    assert predict(tmp_path / "wall.png", "--model", MODEL, "--out", tmp_path, "--json") == 0
    said = capsys.readouterr()
    assert "wall.png: nobody found; give --bbox" in said.err and json.loads(said.out)[0]["people"] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["gone.mp4"], "gone.mp4: no such file"),
        (["broken.mp4"], "broken.mp4: no video that can be decoded"),
        (["half.mp4"], "half.mp4: no video that can be decoded, or cut off before its index"),
        (["empty"], "empty: no photos or videos in this folder"),
        (["camera:97"], "camera:97: no camera gives pictures there"),
        (["a.mp4", "--bbox", "900,10,50,50"], "a.mp4: --bbox 900,10,50,50: "),
        (["a.mp4", "--boxes", "gone.json"], "--boxes gone.json: cannot be read"),
        (["a.mp4", "--boxes", "text.csv"], "--boxes text.csv: its first line names"),
        (["a.mp4", "--boxes", "wrong.json"], "--boxes wrong.json: entry 1: bbox"),
        (["a.mp4", "--boxes", "outside.json"], "a.mp4, frame 3: --boxes outside.json 900,10,50,50: "),
        (["a.mp4", "--whole", "--bbox", "0,0,9,9"], "each says where people are"),
        (["a.mp4", "--seconds", "0"], "--seconds 0: give a positive"),
        (["a.mp4", "--out", "text.csv"], "--out text.csv: cannot be written"),
        (["a.mp4", "--out", "/proc/nowhere"], "--out /proc/nowhere: cannot be written"),
        (["a.mp4", "--cert", "x"], "belong to --web"),
        (["--seconds", "3"], "INPUT: give photos"),
    ],
)
def test_wrong_input_is_one_line(
    scene: Callable[[int], np.ndarray], tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch, given: list[str],
    said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    whole = film(Path("a.mp4"), scene, 4).read_bytes()
    Path("half.mp4").write_bytes(whole[: len(whole) // 2])
    Path("broken.mp4").write_bytes(b"no film at all" * 99)
    Path("empty").mkdir()
    Path("text.csv").write_text("one,two\n1,2\n")
    Path("wrong.json").write_text('[{"bbox": [1, 2, 3]}]')
    Path("outside.json").write_text('[{"frame": 3, "bbox": [900, 10, 50, 50]}]')
    before = sorted(Path().rglob("*"))
    capfd.readouterr()
    assert predict(*given, "--model", MODEL) == 2
    printed = capfd.readouterr()
    errors = [line for line in printed.err.splitlines() if not line.startswith(("INFO: ", "a.mp4"))]
    assert len(errors) == 1 and errors[0].startswith("error: ") and said in errors[0], printed.err
    assert not printed.out and sorted(Path().rglob("*")) == before
