"""Unusual pictures are read, or one line names them and a folder goes on; 16 bits become 8 in the same way everywhere."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from arch.errors import InputError
from explore.data.images import read_frame, read_image, to_8_bits
from explore.data.sample_errors import SampleError


def picture(width: int = 90, height: int = 100) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def huge_png() -> bytes:
    """A header of 70,000 x 70,000 px without the pixels."""
    header = struct.pack(">IIBBBBB", 70000, 70000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def both(path: Path) -> tuple[np.ndarray, np.ndarray]:
    return read_image(path), read_frame(path, (90, 100))[0]


def test_fill_bytes_before_markers(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", picture())[1].tobytes()
    (tmp_path / "plain.jpg").write_bytes(data)
    (tmp_path / "filled.jpg").write_bytes(data[:2] + b"\xff\xff\xff" + data[2:])
    at = data.index(b"\xff\xda")
    (tmp_path / "scan.jpg").write_bytes(data[:at] + b"\xff" * 5 + data[at:])
    for name in ("filled.jpg", "scan.jpg"):
        for found in both(tmp_path / name):
            assert (found == read_image(tmp_path / "plain.jpg")).all()
    (tmp_path / "cut.jpg").write_bytes(data[:2] + b"\xff\xff\xff" + data[2 : len(data) // 2])
    with pytest.raises(SampleError, match="cut off"):
        read_image(tmp_path / "cut.jpg")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (100, 90, channels)).astype(np.uint16)
    path = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(path), values)
    for found in both(path):
        assert (found == values[..., ::-1] // 256).all() and found.dtype == np.uint8
    assert (to_8_bits(values) == values // 256).all()


def test_pictures_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", picture())[1].tobytes()
    floats = cv2.imencode(".tiff", np.full((100, 90, 3), 0.5, np.float32))[1].tobytes()
    for name, content, message in (
        ("huge.png", huge_png(), "too many pixels"),
        ("no_end.jpg", data[:-2], "cut off"),
        ("floats.tiff", floats, "values of type float32"),
    ):
        (tmp_path / name).write_bytes(content)
        for read in (read_image, lambda path: read_frame(path, (90, 100))):
            with pytest.raises(InputError, match=message) as caught:
                read(tmp_path / name)
            assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_goes_on_after_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    from explore.cli import main
    from tests.helpers.layouts import REPOSITORY

    bundle = next((REPOSITORY / "results" / "version-0.1" / "bundles").glob("*/litert"))
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for name, size in (
        ("good.png", (90, 100)),
        ("narrow.png", (4000, 5)),
        ("tall.png", (3, 6000)),
        ("dot.png", (1, 1)),
    ):
        cv2.imwrite(str(folder / name), picture(*size))
    (folder / "huge.png").write_bytes(huge_png())
    (folder / "cut.jpg").write_bytes(cv2.imencode(".jpg", picture())[1].tobytes()[:-2])
    for more in ([], ["--full-image"]):
        assert main(["predict", str(folder), "--model", str(bundle), "--out", str(out), *more]) == 1
        written = {path.name for path in out.glob("*-pose.json")}
        assert written == {f"{name}-pose.json" for name in ("good", "narrow", "tall", "dot")}
