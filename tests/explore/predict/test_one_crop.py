"""The command predict, run.py, evaluation, the web page and the measuring program make the same crop of a photo and box."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from explore.cli import main
from explore.data.crop import affine, clip_box, crop, warp
from explore.data.images import read_image
from explore.export import golden
from explore.measure.probe import runtimes
from quantize import bundle, runner, sdk
from quantize.sdk import edgepose_decoder as decoder
from tests.helpers import mostly_slow
from tests.helpers.browser import in_javascript
from tests.helpers.layouts import OLD_BUNDLE
from tests.helpers.runtimes import run_py

BOXES = {
    "inside": (61.4, 40.2, 90.7, 120.5),
    "over the edge": (-40.0, -25.0, 150.0, 160.0),
    "over the other edge": (250.5, 130.0, 200.0, 300.0),
    "larger than the photo": (-100.0, -50.0, 900.0, 700.0),
    "tiny": (100.3, 80.6, 4.2, 2.5),
    "one pixel": (319.0, 239.0, 1.0, 1.0),
}


def scene(width: int = 320, height: int = 240, fine: bool = True) -> np.ndarray:
    """Return an image, RGB uint8, of a smooth ground and, with `fine`, stripes that bilinear sampling would alias."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(40, 200, (9, 12, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    stripes = rng.integers(0, 256, (height, width, 3), np.uint8)
    return cv2.addWeighted(ground, 0.5, stripes, 0.5, 0) if fine else ground


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> bundle.Bundle:
    """A bundle with a stored prediction and the current run.py."""
    folder = tmp_path_factory.mktemp("bundle") / "b"
    shutil.copytree(OLD_BUNDLE, folder)
    opened = bundle.load(folder)
    return bundle.add_golden(opened, golden.stored_predictions(opened))


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize(("width", "height"), [(320, 240), (1500, 1125)])
def test_programs_make_the_same_crop(width: int, height: int, box: tuple[float, ...], size: int) -> None:
    image, zoom = scene(width, height), width / 320
    place = tuple(value * zoom for value in box)
    inside = clip_box(place, width, height)
    expected, matrix = crop(image, inside, size)
    region = decoder.region_of_box(place, width, height, 1.25)  # type: ignore[arg-type]
    assert (decoder.sample_region(image, region, size) == expected).all()
    side, left, top = region.side, region.x - region.side / 2, region.y - region.side / 2
    np.testing.assert_allclose(matrix @ [left, top, 1], [0, 0], atol=1e-6)
    augmented = warp(image, affine(inside, size), size)  # OpenCV's, for crops that are rotated in training
    assert np.abs(augmented.astype(int) - expected).max() <= 1
    measured = runtimes.to_input(image, (left, top, side), size, (0.0,) * 3, (1.0,) * 3)
    assert (np.rint(measured[0].transpose(1, 2, 0) * 255) == expected).all()


def test_the_web_page_makes_the_same_crop() -> None:
    expression = """given.boxes.map((box) => [64, 100].map((size) => Array.from(
      js.sampleRegion(given.picture, js.regionOfBox(box, given.picture.width, given.picture.height, 1.25), size))))"""
    for photo in (scene(), scene(640, 480)):
        height, width = photo.shape[:2]
        picture = {"data": np.dstack([photo, photo[:, :, :1]]).ravel().tolist(), "width": width, "height": height}
        found = in_javascript(sdk.path("javascript"), expression, picture=picture, boxes=list(BOXES.values()))
        for crops, box in zip(found, BOXES.values(), strict=True):
            for values, size in zip(crops, (64, 100), strict=True):
                expected = crop(photo, clip_box(box, width, height), size)[0]
                assert (np.array(values).reshape(size, size, 3) == expected).all()


def photo_files() -> dict[str, Callable[[Path], None]]:
    """Return functions that write the same scene in formats that programs decode differently."""
    image = scene(fine=False)
    photo, wide = Image.fromarray(image), image.astype(np.uint16) * 256 + 200
    alpha = Image.fromarray(np.tile(np.arange(320) % 256, (240, 1)).astype(np.uint8))
    transparent = photo.copy()
    transparent.putalpha(alpha)
    files: dict[str, Callable[[Path], None]] = {
        "plain.png": photo.save,
        "plain.jpg": photo.save,
        "grey.png": photo.convert("L").save,
        "grey.jpg": photo.convert("L").save,
        "palette.png": photo.quantize(64).save,
        "alpha.png": transparent.save,
        "alpha.webp": lambda path: transparent.save(path, lossless=True),
        "alpha.tif": transparent.save,
        "grey-alpha.png": transparent.convert("LA").save,
        "16.png": lambda path: _write(path, wide),
        "16-grey.png": lambda path: _write(path, wide[:, :, 1]),
        "16-grey.tif": lambda path: _write(path, wide[:, :, 1]),
    }
    for orientation in (2, 3, 6, 8):
        exif = Image.Exif()
        exif[0x112] = orientation
        for suffix in ("jpg", "png", "tif"):
            files[f"turned-{orientation}.{suffix}"] = lambda path, exif=exif: photo.save(path, exif=exif)  # type: ignore[misc]
    return files


def _write(path: Path, image: np.ndarray) -> None:
    assert cv2.imwrite(str(path), image)


@pytest.mark.parametrize(("name", "write"), photo_files().items(), ids=photo_files())
def test_photos_are_decoded_alike(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / name)
    expected, found = read_image(tmp_path / name), runner.read_photo(tmp_path / name)
    assert found.shape == expected.shape and found.dtype == np.uint8 and (found == expected).all()


def test_cmyk_photos_differ_by_at_most_one_grey_level(tmp_path: Path) -> None:
    Image.fromarray(scene(fine=False)).convert("CMYK").save(tmp_path / "cmyk.jpg")
    expected, found = read_image(tmp_path / "cmyk.jpg"), runner.read_photo(tmp_path / "cmyk.jpg")
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("name", "box"),
    [("plain.png", "over the edge"), ("16-grey.png", "inside"), ("turned-6.jpg", "tiny"), ("alpha.tif", "inside")],
)
def test_run_py_and_predict_give_the_same_joints(
    checked: bundle.Bundle, name: str, box: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo_files()[name](tmp_path / name)
    place = ",".join(map(str, BOXES[box]))
    options = ["--root-depth", "3000", "--focal", "400"]
    arguments = [str(tmp_path / name), "--model", str(checked.path), "--bbox", place, "--json", *options]
    assert main(["predict", *arguments, "--out", str(tmp_path)]) == 0
    (predicted,) = json.loads(capsys.readouterr().out)
    done = run_py(checked.path, str(tmp_path / name), "--bbox", place, *options)
    assert done.returncode == 0, done.stderr
    (person,) = json.loads(done.stdout)["people"]
    joints = predicted["people"][0]["joints"]
    px = np.array(person["joints_px_mm"])[:, :2] - [joint["px"] for joint in joints]
    mm = np.array(person["camera_mm"]) - [joint["mm"] for joint in joints]
    assert np.abs(px).max() <= 0.02 and np.linalg.norm(mm, axis=1).max() <= 0.5


def test_run_py_rejects_a_box_outside_the_photo(checked: bundle.Bundle, tmp_path: Path) -> None:
    Image.new("RGB", (320, 240)).save(tmp_path / "photo.png")
    done = run_py(checked.path, str(tmp_path / "photo.png"), "--bbox", "400,10,50,50")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "photo of 320 x 240" in done.stderr


# ---- the stored prediction ----


def test_check_passes_and_prints_the_deviation(checked: bundle.Bundle) -> None:
    assert bundle.load(checked.path).manifest.golden == checked.manifest.golden
    assert sum(file.bytes for file in checked.manifest.golden) < 500_000
    assert checked.bytes == checked.model.stat().st_size  # the size of the model alone
    done = run_py(checked.path, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 8 and all(line.startswith("pass  ") for line in lines)
    assert " px (limit " in lines[3] and " mm (limit " in lines[3]


@pytest.mark.parametrize("fault", mostly_slow(["bilinear", "box", "decode"], "box"))
def test_check_reveals_another_crop_or_decoding(checked: bundle.Bundle, fault: str, tmp_path: Path) -> None:
    changes = {
        "bilinear": ("min(max(int(shrink * 1.1) if min(height, width) > 256 else round(shrink), 1), 8)", "1"),
        "box": ("x, y, w, h = clip_box(box, width, height)", "x, y, w, h = box"),
        "decode": ("along = (np.arange(cells) + 0.5) / cells", "along = np.arange(cells) / cells"),
    }
    shutil.copytree(checked.path, tmp_path / "b")
    program = (tmp_path / "b" / "run.py").read_text()
    assert changes[fault][0] in program
    (tmp_path / "b" / "run.py").write_text(program.replace(*changes[fault]))
    done = run_py(tmp_path / "b", "--check")
    assert done.returncode == 1 and "FAIL  1: photo to joints" in done.stdout, done.stdout + done.stderr


def test_bundles_without_a_stored_prediction_still_work(checked: bundle.Bundle, tmp_path: Path) -> None:
    shutil.copytree(OLD_BUNDLE, tmp_path / "old")
    old: Any = bundle.annotate(bundle.load(tmp_path / "old"), metrics={"note_mm": 1.0})  # writes the current run.py
    done = run_py(old.path, "--check")
    assert done.returncode == 2 and "no stored prediction; export it again" in done.stderr
    (tmp_path / "old" / "photo.png").write_bytes((checked.path / runner.GOLDEN_PHOTO).read_bytes())
    assert run_py(old.path, str(tmp_path / "old" / "photo.png")).returncode == 0
    (checked.path / runner.GOLDEN_PHOTO).rename(tmp_path / "away.png")
    try:
        done = run_py(checked.path, "--check")
    finally:
        (tmp_path / "away.png").rename(checked.path / runner.GOLDEN_PHOTO)
    assert done.returncode == 2 and "golden.png: missing" in done.stderr
