"""run.py of a bundle gives the results of the toolkit without importing it; the probe for devices decodes with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arch.decode import decode_with_confidence
from arch.heads import HEADS as HEADS_BY_NAME
from arch.space import Arch
from quantize import runner, sdk
from quantize.manifest import Postprocessing
from quantize.recipes import recipe
from quantize.sdk import edgepose_decoder as decoder
from tests.helpers.networks import HEADS, Case, small_arch, write_bundle
from tests.helpers.runtimes import every_runtime, run_py

RESULTS = Path(__file__).resolve().parents[2] / "results"
BOX = (30.5, 12.0, 60.0, 90.0)


def decoded(raw: np.ndarray, arch: Arch, depth_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints (J, 3) in cells and the confidences (J,) of a raw output with scaled depths."""
    rules = Postprocessing(
        head=arch.head, heatmap=arch.heatmap_size, depth_bins=arch.depth_bins, depth_scale=depth_scale
    )
    joints, confidence = decoder.decode(raw, rules.model_dump())
    return joints * (arch.heatmap_size, arch.heatmap_size, arch.depth_bins), confidence


@pytest.mark.parametrize("head", HEADS)
def test_standalone_decode_equals_the_toolkit(head: str) -> None:
    arch, scale = small_arch(head), 16.0 if HEADS_BY_NAME[head].DEPTH_VALUES else 1.0
    shape = HEADS_BY_NAME[head].raw_shape(arch.head_spec)
    raw = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32) * 3
    expected, confidence = decode_with_confidence(raw, arch, scale)
    joints, found = decoded(raw, arch, scale)
    assert np.abs(joints - expected[0]).max() < 1e-4
    assert np.abs(found - confidence[0]).max() < 1e-6


def test_unknown_head_is_rejected() -> None:
    raw = np.zeros((1, 34, 8, 8), np.float32)
    with pytest.raises(ValueError, match="head: 'heatmap-4d' is unknown"):
        decoder.decode(raw, {"head": "heatmap-4d", "heatmap": 8, "depth_bins": 8, "depth_scale": 1.0})


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a smooth image of 128 px, for which all ways to resample agree."""
    rng = np.random.default_rng(2)
    small = Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8))
    path = tmp_path / "photo.png"
    small.resize((128, 128), Image.Resampling.BICUBIC).save(path)
    return path


@every_runtime
def test_run_py(
    runtime: str, exported: Callable[[str, str, str], Path], case: Callable[[str], Case], photo: Path, tmp_path: Path
) -> None:
    made = write_bundle(tmp_path / "b", exported(runtime, "heatmap-2.5d", "float"), runtime, recipe=recipe("float"))
    box = ",".join(map(str, BOX))
    done = run_py(made.path, str(photo), "--bbox", box, "--root-depth", "3000", "--draw", str(tmp_path / "drawn.png"))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["joints"] == list(made.manifest.skeleton.joints)
    (person,) = answer["people"]
    region = decoder.region_of_box(BOX, 128, 128, 1.25)
    image = decoder.sample_region(runner.read_photo(photo), region, 64)
    session = made.session()
    joints, confidence = made.run_crops(image[None], session)
    session.close()
    expected = decoder.to_photo(joints[0], region, 2000)
    assert np.abs(np.array(person["joints_px_mm"]) - expected).max() < 0.5
    assert np.abs(np.array(person["confidence"]) - confidence[0]).max() < 1e-3
    assert person["confidence"] == [round(value, 4) for value in person["confidence"]]
    assert np.array(person["camera_mm"])[:, 2] == pytest.approx(expected[:, 2] + 3000, abs=1)
    assert Image.open(tmp_path / "drawn.png").size == (128, 128)
    done = run_py(made.path, str(photo), "--draw", str(tmp_path / "drawn.abc"))
    assert done.returncode == 2 and "drawn.abc: cannot be written" in done.stderr


def test_crop_follows_pixels() -> None:
    """Ramps along x in red and y in green have the values of the crop's pixel centres; outside the photo it is black."""
    y, x = np.mgrid[:100, :100]
    photo = np.stack([2 * x, 2 * y, x], 2).astype(np.uint8)
    region = decoder.region_of_box((20, 30, 40, 20), 100, 100, 1.25)
    assert region == decoder.Region(40, 40, 50)
    image = decoder.sample_region(photo, region, 25)
    centres = 15 + (np.arange(25) + 0.5) * 50 / 25
    colours = image.astype(np.float64)
    assert np.abs(colours[:, :, 0] - (2 * centres - 1)[None]).max() <= 0.5  # pixel i has its centre at i + 0.5
    assert np.abs(colours[:, :, 1] - (2 * centres - 1)[:, None]).max() <= 0.5
    region = decoder.region_of_box((-40, -40, 80, 80), 100, 100, 2.0)  # the box is clipped to 0, 0, 40, 40
    assert region == decoder.Region(20, 20, 80)
    edge = decoder.sample_region(photo, region, 64)
    assert edge[:15, :15].max() == 0 and edge[20:, 20:].max() > 0


def test_unusable_files_give_one_line(tmp_path: Path, photo: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x")
    made = write_bundle(tmp_path / "b", model)
    for name, advice in (("model.onnx", "give a photo"), ("photo.heic", "install pillow-heif")):
        (tmp_path / name).write_bytes(b"x")
        done = run_py(made.path, str(tmp_path / name))
        assert done.returncode == 2 and "cannot be read as an image" in done.stderr and advice in done.stderr
        assert "Traceback" not in done.stderr
    written = (made.path / "manifest.json").read_text()
    (made.path / "manifest.json").write_text(written.replace('"Apache-2.0"', '"MIT"'))
    done = run_py(made.path, str(photo))
    assert done.returncode == 2 and "was changed after it was written" in done.stderr
    (made.path / "manifest.json").write_text(written)
    made.model.write_bytes(b"y")
    done = run_py(made.path, str(photo))
    assert done.returncode == 2 and "SHA-256 differs from manifest.json" in done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--root-depth", "-3000"], "--root-depth: '-3000': give a positive number"),
        (["--root-depth", "3000", "--focal", "-5"], "--focal: '-5': give a positive number"),
        (["--root-depth", "inf"], "--root-depth: 'inf': give a positive number"),
        (["--focal", "900"], "--focal: applies to camera coordinates only; add --root-depth"),
        *(
            (["--bbox", box], f"--bbox: '{box}': give x,y,w,h in px")
            for box in ("1,2,x,4", "1,2,3", "1,2,0,5", "1,2,nan,5")
        ),
        (["--boxes", "a.csv"], "unrecognized arguments: --boxes a.csv; see --help"),
    ],
)
def test_wrong_options_give_one_line(given: list[str], message: str, tmp_path: Path, photo: Path) -> None:
    (tmp_path / "run.py").write_bytes(sdk.run_program())
    done = run_py(tmp_path, str(photo), *given)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "folder", sorted([*RESULTS.glob("real-*/litert"), *RESULTS.glob("reference/bundles/*/litert")])
)
def test_distributed_bundles_contain_the_runner(folder: Path) -> None:
    """On failure write `quantize.sdk.run_program()` to these files."""
    assert (folder / "run.py").read_bytes() == sdk.run_program()


def test_bundle_contains_the_runner(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x")
    assert (write_bundle(tmp_path / "b", model).path / "run.py").read_bytes() == sdk.run_program()
