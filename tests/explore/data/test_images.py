"""Decoding of images at reduced size, partial decoding, and unusable images."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from arch.errors import InputError
from explore.data import Human36MOptions, batches, jpeg, open_dataset
from explore.data.augment import AUGMENTS
from explore.data.batches import MAX_RETRIES, batch_at, evaluation_arrays, sample_crop
from explore.data.crop import affine, crop, crop_region
from explore.data.images import image_size, read_frame, read_image, read_mask
from explore.data.sample_errors import SampleError
from tests.helpers import layouts
from tests.helpers.layouts import REAL_DATA

REAL = REAL_DATA / "human36m"


def smooth(width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 255, (30, 40, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    ("allowed", "reduced"), [(0.7, 1), (1.8, 1), (1.9, 2), (3.6, 2), (5, 4), (7, 4), (8, 8), (20, 8)]
)
def test_jpegs_are_decoded_at_the_smallest_sufficient_size(tmp_path, allowed, reduced):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), smooth(1003, 801))
    image, factor = read_frame(path, (1003, 801), allowed)
    assert factor == reduced and image.shape == (-(-801 // reduced), -(-1003 // reduced), 3)


def test_small_images_and_other_formats_are_decoded_at_full_size(tmp_path):
    for name, size in (("a.jpg", (256, 300)), ("b.png", (600, 600))):
        cv2.imwrite(str(tmp_path / name), smooth(*size))
        assert read_frame(tmp_path / name, size, 8)[1] == 1


@pytest.mark.parametrize("size", [64, 128, 256])
def test_crops_of_reduced_images_are_not_shifted(tmp_path, size):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), smooth(1000, 1000), (cv2.IMWRITE_JPEG_QUALITY, 95))
    bbox = np.array([200.0, 150, 500, 620])
    move = {"scale": 1.2, "rotation_deg": 20, "flip": True, "shift": (0.03, -0.02)}
    image, reduced = read_frame(path, (1000, 1000), 1.2 * 1.25 * 620 / size)
    assert reduced > 1
    got, matrix = crop(image, bbox, size, reduced=reduced, **move)
    want, same = crop(read_image(path), bbox, size, **move)
    assert (matrix == same).all()
    assert np.abs(got.astype(int) - want).mean() < 2.5
    shift, _ = cv2.phaseCorrelate(want[..., 0].astype(np.float32), got[..., 0].astype(np.float32))
    assert np.abs(shift).max() < 0.05


def test_other_backgrounds_are_decoded_as_sharp_as_people(data, monkeypatch):
    allowed = []
    whole = np.zeros((1280, 1280, 3), np.uint8)
    monkeypatch.setattr(batches, "read_frame", lambda path, size, most: allowed.append(most) or (whole, 1))
    monkeypatch.setattr(batches, "_random_square", lambda box, rng: np.array([0.0, 0, 640, 640]))
    empty = replace(data, vis=np.zeros_like(data.vis))
    assert batches._empty_place(empty, 64, np.random.default_rng(0)).shape == (64, 64, 3) and allowed == [10]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no Human3.6M samples at {REAL}")
def test_real_frames_reduced():
    options = Human36MOptions(train_subjects=(1, 5, 7, 8), train_step=1)
    data = open_dataset(f"human36m:{REAL}", "train", options)
    for index in range(4):
        got, _ = sample_crop(data, index, 64)
        want, _ = crop(read_image(data.path(index)), data.bbox[index], 64)
        assert np.abs(got.astype(int) - want).mean() < 4


# ---- unusable images ----


@pytest.fixture
def data(tmp_path):
    layouts.human36m(tmp_path, 200)
    return open_dataset(f"human36m:{tmp_path}", "train", Human36MOptions(train_subjects=(1,)))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


def floats(path: Path) -> None:
    _, encoded = cv2.imencode(".tiff", np.full((100, 120, 3), 0.5, np.float32))
    path.write_bytes(encoded.tobytes())


def smaller(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((20, 30, 3), np.uint8))


def text(path: Path) -> None:
    path.write_text("no picture")


def turned(path: Path) -> None:
    """Store the image rotated, with an EXIF orientation that would restore the annotated size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).rotate(90, expand=True).save(path, exif=exif)


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (cut, "broken", "cut off"),
        (text, "broken", "not an image"),
        (floats, "format", "values of type float32"),
        (smaller, "size", "is 30 x 20, annotated 120 x 100"),
        (turned, "size", "is 100 x 120, annotated 120 x 100"),
    ],
)
def test_one_unusable_image(data, damage, kind, message):
    path = data.path(3)
    damage(path)
    with pytest.raises(SampleError, match=message) as caught:
        read_frame(path, data.size[3])
    assert caught.value.kind == kind and str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match=message):
        evaluation_arrays(data, 32)  # the whole set or nothing
    batches = [batch_at(data, step, 20, 32, AUGMENTS["none"], 0) for step in range(10)]
    faults = [fault for batch in batches for fault in batch.errors]
    assert len(faults) == 1 and path.name in faults[0]
    step = next(step for step, batch in enumerate(batches) if batch.errors)
    again = batch_at(data, step, 20, 32, AUGMENTS["none"], 0)
    assert (again.images == batches[step].images).all() and again.images.std((1, 2, 3)).min() > 5


def test_only_unusable_images(data):
    for index in range(len(data)):
        cut(data.path(index))
    with pytest.raises(InputError, match="cut off"):
        batch_at(data, 0, 1, 32, AUGMENTS["none"], 0)
    assert len(data) > MAX_RETRIES


def test_grey_images_have_three_equal_channels_and_orientation_is_ignored(data):
    cv2.imwrite(str(data.path(0)), np.tile(np.arange(120, dtype=np.uint8), (100, 1)))
    image, _ = read_frame(data.path(0), data.size[0])
    assert image.shape == (100, 120, 3) and (image == image[..., :1]).all()
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    plain, _ = read_frame(data.path(1), data.size[1])
    Image.open(data.path(1)).save(data.path(1), exif=exif, quality=95)
    stored, _ = read_frame(data.path(1), data.size[1])
    assert np.abs(stored.astype(int) - plain).mean() < 5
    assert np.abs(read_image(data.path(1))[::-1, ::-1].astype(int) - stored).mean() < 5


@pytest.mark.skipif(not jpeg.available(), reason="libturbojpeg 3 is not installed: pip install edgepose[jpeg]")
@pytest.mark.parametrize("size", [256, 100, 64])
def test_partial_decoding_equals_full_decoding(tmp_path, size):
    path = tmp_path / "frame.jpg"
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (803, 1001, 3), np.uint8), (0, 0), 2)
    cv2.imwrite(str(path), cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX))
    for bbox in ([300.0, 250, 300, 350], [0.0, 0, 120, 200], [700.0, 400, 301, 403], [0.0, 0, 1001, 803]):
        box = np.array(bbox)
        for rotation, flip, shift in ((0, False, (0.0, 0.0)), (37, True, (0.2, -0.1)), (-60, False, (0.9, 0.9))):
            region = crop_region(affine(box, size, 1.1, rotation, flip, shift), size)
            allowed = 1.1 * 1.25 * max(box[2:]) / size
            part, reduced = read_frame(path, (1001, 803), allowed, region)
            whole, same = read_frame(path, (1001, 803), allowed)
            assert reduced == same and part.shape == whole.shape
            crops = [crop(image, box, size, 1.1, rotation, flip, shift, reduced)[0] for image in (part, whole)]
            assert (crops[0] == crops[1]).all()


@pytest.mark.skipif(not jpeg.available(), reason="libturbojpeg 3 is not installed: pip install edgepose[jpeg]")
def test_partial_decoding_rejects_damaged_files(tmp_path):
    whole = cv2.imencode(".jpg", np.full((400, 300, 3), 90, np.uint8))[1].tobytes()
    assert jpeg.decode_part(whole, (300, 400), (0, 0, 100, 100), 1) is not None
    assert jpeg.decode_part(whole, (301, 400), (0, 0, 100, 100), 1) is None
    assert jpeg.decode_part(whole[: len(whole) // 2], (300, 400), (0, 0, 300, 400), 1) is None
    assert jpeg.decode_part(b"no picture", (300, 400), (0, 0, 100, 100), 1) is None


def test_message_has_the_exact_image_size(tmp_path):
    cv2.imwrite(str(tmp_path / "frame.jpg"), smooth(1000, 1002))
    for allowed in (1, 8):
        with pytest.raises(SampleError, match="the image is 1000 x 1002, annotated 900 x 1002"):
            read_frame(tmp_path / "frame.jpg", (900, 1002), allowed, (0, 0, 500, 500))


def huge_png():
    """Return a header of 70,000 x 70,000 px without the pixels."""
    header = struct.pack(">IIBBBBB", 70000, 70000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def test_unreadable_images_are_named(tmp_path):
    data = cv2.imencode(".jpg", smooth(200, 160))[1].tobytes()
    for name, content, message in (
        ("half.jpg", data[: len(data) // 2], "cut off"),
        ("header.jpg", data[:10], "cut off"),
        ("empty.jpg", b"", "cut off"),
        ("text.jpg", b"hello, this is no picture", "not an image"),
        ("damaged.jpg", data[:2] + b"\xff\xda" + bytes(40) + b"\xff\xd9", "not an image"),
        ("no_end.jpg", data[:-2], "cut off"),
        ("half_filled.jpg", data[:2] + b"\xff\xff\xff" + data[2 : len(data) // 2], "cut off"),
        ("huge.png", huge_png(), "too many pixels"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        for read in (read_image, lambda path: read_frame(path, (200, 160))):
            with pytest.raises(InputError, match=message) as caught:
                read(path)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"missing\.jpg"):
        read_image(tmp_path / "missing.jpg")


def test_fill_bytes_before_markers(tmp_path):
    data = cv2.imencode(".jpg", smooth(90, 100))[1].tobytes()
    at = data.index(b"\xff\xda")
    filled = (data, data[:2] + b"\xff\xff\xff" + data[2:], data[:at] + b"\xff" * 5 + data[at:])
    for number, content in enumerate(filled):
        (tmp_path / f"{number}.jpg").write_bytes(content)
        for found in (read_image(tmp_path / f"{number}.jpg"), read_frame(tmp_path / f"{number}.jpg", (90, 100))[0]):
            assert (found == read_image(tmp_path / "0.jpg")).all()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits(tmp_path, suffix, channels):
    values = np.random.default_rng(1).integers(0, 65536, (100, 90, channels)).astype(np.uint16)
    path = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(path), values)
    for found in (read_image(path), read_frame(path, (90, 100))[0]):
        assert (found == values[..., ::-1] // 256).all() and found.dtype == np.uint8


def test_masks_of_16_bits_and_the_size_of_heic_photos(tmp_path):
    cv2.imwrite(str(tmp_path / "mask.png"), np.array([[0, 65535, 256]], np.uint16))
    assert read_mask(tmp_path / "mask.png").tolist() == [[0, 255, 1]]
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.fromarray(smooth(90, 100))).save(tmp_path / "a.heic")
    assert image_size(tmp_path / "a.heic") == (90, 100)


def test_colours_are_rgb(tmp_path):
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((4, 4, 3), (0, 0, 255), np.uint8))  # OpenCV writes BGR
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]
