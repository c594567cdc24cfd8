"""run.py of a bundle, alone in its folder, says what the toolkit says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arch.decode import decode_with_confidence, to_normalised
from quantize import bundle, runner
from quantize.manifest import Postprocessing
from quantize.recipes import recipe
from quantize.runtimes import RUNTIMES
from tests.quantize.conftest import HEADS, Case, small_arch
from tests.quantize.test_bundle import write

BOX = (30.5, 12.0, 60.0, 90.0)


@pytest.mark.parametrize("head", HEADS)
def test_decode_is_ours(head: str) -> None:
    arch = small_arch(head)
    shape = {"volumetric": (17 * 8, 8, 8), "depthmap": (34, 8, 8), "simcc": (17, 40)}[head]
    gain = 16.0 if head == "depthmap" else 1.0
    raw = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32) * 3
    rules = Postprocessing(head=arch.head, heatmap=arch.heatmap, depth_bins=arch.depth_bins, depth_gain=gain)
    joints, confidence = runner.decode(raw, rules.model_dump())
    cells, expected = decode_with_confidence(raw, arch, gain)
    assert np.abs(joints - to_normalised(cells, arch)[0]).max() < 1e-5
    assert np.abs(confidence - expected[0]).max() < 1e-6


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Smooth colours, 128 x 128, so that two ways to resample agree."""
    rng = np.random.default_rng(2)
    small = Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8))
    path = tmp_path / "photo.png"
    small.resize((128, 128), Image.Resampling.BICUBIC).save(path)
    return path


def run_alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As a stranger does: without this project on the path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-P", str(folder / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/", env=environment)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_run_alone(
    runtime: str, exported: Callable[[str, str, str], Path], case: Callable[[str], Case], photo: Path, tmp_path: Path
) -> None:
    made = write(tmp_path / "b", exported(runtime, "depthmap", "float"), runtime, recipe=recipe("float"))
    box = ",".join(map(str, BOX))
    done = run_alone(
        made.path, str(photo), "--bbox", box, "--root-depth", "3000", "--draw", str(tmp_path / "drawn.png")
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["joints"] == list(made.manifest.skeleton.joints)
    (person,) = answer["people"]
    picture, left, top, side = runner.crop(Image.open(photo), BOX, 64, 1.25)
    session = made.session()
    shares, confidence = made.run_crops(np.asarray(picture)[None], session)
    session.close()
    expected = runner.shares_to_photo(shares[0], left, top, side, 2000)
    assert np.abs(np.array(person["joints_px_mm"]) - expected).max() < 0.5
    assert np.abs(np.array(person["confidence"]) - confidence[0]).max() < 1e-3
    assert np.array(person["camera_mm"])[:, 2] == pytest.approx(expected[:, 2] + 3000, abs=1)
    assert Image.open(tmp_path / "drawn.png").size == (128, 128)


def test_crop_follows_pixels() -> None:
    """Ramps along x in red and y in green read back at the crop's pixel centres; black where the photo ends."""
    y, x = np.mgrid[:100, :100]
    photo = Image.fromarray(np.stack([2 * x, 2 * y, x], 2).astype(np.uint8))
    picture, left, top, side = runner.crop(photo, (20, 30, 40, 20), 25, 1.25)
    assert (left, top, side) == (15, 15, 50)
    centres = left + (np.arange(25) + 0.5) * side / 25
    colours = np.asarray(picture, np.float64)
    assert np.abs(colours[:, :, 0] - (2 * centres - 1)[None]).max() < 0.5  # pixel i has its centre at i + 0.5
    assert np.abs(colours[:, :, 1] - (2 * centres - 1)[:, None]).max() < 0.5
    edge, *_ = runner.crop(photo, (-40, -40, 80, 80), 64, 1.0)
    assert np.asarray(edge)[:30, :30].max() == 0 and np.asarray(edge)[40:, 40:].max() > 0


@pytest.mark.parametrize("box", ["1,2,3", "1,2,0,5", "1,2,nan,5"])
def test_wrong_input_is_one_line(box: str, tmp_path: Path, photo: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x")
    made = write(tmp_path / "b", model)
    done = run_alone(made.path, str(photo), "--bbox", box)
    assert done.returncode == 2 and "should be x,y,w,h" in done.stderr and "Traceback" not in done.stderr
    done = run_alone(made.path, str(model))
    assert done.returncode == 1 and "cannot be read as a picture" in done.stderr and "Traceback" not in done.stderr
    written = (made.path / "manifest.json").read_text()
    (made.path / "manifest.json").write_text(written.replace('"Apache-2.0"', '"MIT"'))
    done = run_alone(made.path, str(photo))
    assert done.returncode == 1 and "was changed after it was written" in done.stderr
    (made.path / "manifest.json").write_text(written)
    made.model.write_bytes(b"y")
    done = run_alone(made.path, str(photo))
    assert done.returncode == 1 and "not the file that manifest.json speaks of" in done.stderr


def test_runner_is_the_file_in_the_bundle(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x")
    assert (write(tmp_path / "b", model).path / "run.py").read_bytes() == bundle.RUNNER.read_bytes()
