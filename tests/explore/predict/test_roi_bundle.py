"""A bundle of framing roi in `predict`, run.py, and as a teacher: a small network of random weights, a rendered person."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from explore.cli import main
from explore.data.framing import region_of_box, roi_of
from explore.data.label.teacher import open_teacher
from explore.data.skeleton import H36M18
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.frame import render_jpeg
from explore.export import golden
from quantize import bundle as bundles
from quantize.bundle import Bundle
from tests.helpers.networks import random_bundle
from tests.helpers.runtimes import run_py


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    written = random_bundle(tmp_path_factory.mktemp("roi"), roi_of(H36M18))
    return bundles.add_golden(written, golden.stored_predictions(written))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "person.jpg"
    path.write_bytes(render_jpeg(SyntheticConfig(level="easy", size=240), "test", 3))
    return path


def test_manifest_of_framing_roi(bundle: Bundle) -> None:
    rules = bundles.load(bundle.path).manifest.preprocessing
    assert (rules.framing, rules.border, rules.roi) == ("roi", "replicate", roi_of(H36M18))


def test_photo_and_video(bundle: Bundle, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = cv2.imread(str(photo))
    assert image is not None
    writer = cv2.VideoWriter(str(tmp_path / "still.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (240, 240))
    for _ in range(8):
        writer.write(image)
    writer.release()
    (tmp_path / "out").mkdir()
    command = ["predict", str(photo), str(tmp_path / "still.mp4"), "--model", str(bundle.path)]
    assert main([*command, "--out", str(tmp_path / "out"), "--json"]) == 0
    photo_record, video = json.loads(capsys.readouterr().out)
    (person,) = photo_record["people"]
    assert set(person["region"]) == {"centre", "side", "rotation_deg"} and len(person["joints"]) == 18
    assert video["frames"] == 8  # random weights put all joints in one place, so that nobody is followed


def test_given_box_starts_from_the_circle_of_the_detector(
    bundle: Bundle, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    command = ["predict", str(photo), "--model", str(bundle.path), "--bbox", "20,5,200,230"]
    assert main([*command, "--out", str(tmp_path / "out"), "--json"]) == 0
    ((person,),) = [record["people"] for record in json.loads(capsys.readouterr().out)]
    assert person["bbox"] == [20, 5, 200, 230] and person["region"]["side"] > 0


def test_run_py_checks_and_predicts(bundle: Bundle, photo: Path) -> None:
    assert run_py(bundle.path, "--check").returncode == 0
    done = run_py(bundle.path, str(photo), "--bbox", "20,5,200,230")
    assert done.returncode == 0, done.stderr
    assert np.isfinite(json.loads(done.stdout)["people"][0]["joints_px_mm"]).all()


def test_bundle_of_framing_roi_as_a_teacher(bundle: Bundle, photo: Path) -> None:
    image = np.ascontiguousarray(np.asarray(cv2.imread(str(photo)))[..., ::-1])
    pose = open_teacher(f"bundle:{bundle.path}").label(image, region_of_box(np.array([20.0, 5, 200, 230])))
    hips = [H36M18.index("R_Hip"), H36M18.index("L_Hip")]
    assert pose.image.shape == (18, 3) and np.linalg.norm(pose.world[hips].mean(0)) < 1e-6
