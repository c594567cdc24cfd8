"""Photos and videos that are unusual or cannot be used: each is read or named, and a folder goes on."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from arch.errors import InputError
from explore.cli import main
from explore.data.images import read_image
from explore.predict import BUNDLED
from explore.predict.inputs import parse_inputs
from quantize import sdk
from tests.helpers import ROOT
from tests.helpers.runtimes import run_py

BUNDLE = next((ROOT / "results" / "version-0.1" / "bundles").glob("*/litert"))


def picture(width: int = 90, height: int = 100) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def png(width: int, height: int) -> bytes:
    """A PNG whose pixels are missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def heic(path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_bytes("RGB", (90, 100), picture().tobytes()).save(path, quality=95)


def film(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (90, 100))
    for _ in range(2):
        writer.write(picture())
    writer.release()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of everything: `good` names are read, the others are named."""
    folder = tmp_path_factory.mktemp("inputs")
    cv2.imwrite(str(folder / "good.jpg"), picture())
    cv2.imwrite(str(folder / "good.png"), picture())  # the same name without the suffix
    film(folder / "good.mp4")
    cv2.imwrite(str(folder / "good-wide.png"), picture(70_000, 5))
    cv2.imwrite(str(folder / "good-low.jpg"), picture(900, 5))
    cv2.imwrite(str(folder / "good-tall.png"), picture(3, 40_000))
    cv2.imwrite(str(folder / "good-dot.png"), picture(1, 1))
    shutil.copy(folder / "good.jpg", os.fsencode(folder) + b"/good-\xff\xfe.jpg")
    shutil.copy(folder / "good.jpg", folder / "good\nline.jpg")
    (folder / "huge.png").write_bytes(png(30_000, 30_000))
    (folder / "cut.jpg").write_bytes((folder / "good.jpg").read_bytes()[:400])
    (folder / "empty.webp").write_bytes(b"")
    (folder / "text.tif").write_text("no picture")
    (folder / "notes.txt").write_text("neither photo nor video")
    (folder / "bad.mp4").write_bytes(bytes(100))
    (folder / "folder.png").mkdir()
    (folder / "bad.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    os.mkfifo(folder / "pipe.jpg")
    return folder


BAD = ("huge.png", "cut.jpg", "empty.webp", "text.tif", "bad.mp4", "folder.png", "bad.heic", "pipe.jpg")


@pytest.mark.parametrize("options", [["--full-image"], []], ids=["full image", "detector"])
def test_a_folder_goes_on(options: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(folder), "--model", str(BUNDLE), "--out", str(tmp_path), "--json", *options]) == 1
    out, err = capsys.readouterr()
    named = [line for line in err.splitlines() if line.startswith("incomplete: ")]
    assert len(named) == len(BAD) and all(any(f"/{name}: " in line for line in named) for name in BAD), named
    assert "30000 x 30000 px; the limit is 250 megapixels" in err and "Not a regular file" in err
    written = [Path(file).name for result in json.loads(out) for file in result["files"]]
    assert {"good.jpg-pose.png", "good.png-pose.png", "good-pose.mp4", "good-pose.jsonl"} <= set(written)
    assert len(written) == 2 * 9 and len(list(tmp_path.iterdir())) == 2 * 9


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_named_is_an_error(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", str(folder / name), "--full-image", "--model", str(BUNDLE), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert f"/{name}: " in line and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["huge.png", "cut.jpg", "pipe.jpg", "folder.png", "good-wide.png"])
def test_run_py(name: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "b")
    (tmp_path / "b" / "run.py").write_bytes(sdk.run_program())
    done = run_py(tmp_path / "b", str(folder / name))
    if name.startswith("good"):
        assert done.returncode == 0 and json.loads(done.stdout)["people"], done.stderr
    else:
        assert done.returncode == 2 and f"/{name}: " in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_names_of_results() -> None:
    photos, videos = parse_inputs(["a.jpg", "x/b.png", "a.mp4", "b.jpg", "c.mov", "camera:1"])
    assert [photo.stem for photo in photos] == ["a", "b.png", "b.jpg"]
    assert [video.stem for video in videos] == ["a", "c", "camera-1"]
    with pytest.raises(InputError, match=r"y/a\.jpg: another input also writes a\.jpg-pose files"):
        parse_inputs(["x/a.jpg", "y/a.jpg"])


def test_heic(tmp_path: Path) -> None:
    heic(tmp_path / "a.heic")
    found = read_image(tmp_path / "a.heic").astype(int)
    assert found.shape == (100, 90, 3) and np.abs(found - picture()).mean() < 6  # RGB, as it was given


def test_heic_without_pillow_heif(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        InputError, match=r"bad\.heic: a HEIC photo, which needs pillow-heif; pip install 'edgepose\[heif\]'"
    ):
        read_image(folder / "bad.heic")


def test_folders_of_data_label(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "label", str(folder), "--teacher", f"bundle:{BUNDLED}"]
    assert main([*arguments, "--out", str(tmp_path / "set")]) == 2  # there is no real person in the pictures
    assert "were left out" in capsys.readouterr().err
    report = (tmp_path / "set" / "report.txt").read_text()
    assert report.count("skipped ") == len(BAD) and "huge.png: too many pixels" in report
