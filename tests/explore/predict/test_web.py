"""predict --web: its decoders against those in Python, the server, and the page in Chromium with a simulated camera."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from explore import web_server
from explore.cli import main
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.frame import render_jpeg
from explore.predict import detector, pipeline, tracker, web
from explore.predict.boxes import Box
from explore.predict.camera import choose_camera
from explore.predict.detector import Detector, iou
from quantize import bundle as bundles
from tests.helpers.browser import in_javascript, litertjs, page_with_camera
from tests.helpers.layouts import OLD_BUNDLE

SIZE = (480, 360)
DETECTOR = web.PAGE / "detector.js"


def test_page_decodes_detections_like_the_detector() -> None:
    rng = np.random.default_rng(0)
    scores, points = rng.normal(-9, 1, 2254), rng.normal(0, 30, (2254, 12))
    scores[[40, 1700, 2100]] = 3.0, 2.0, 1.0
    expected = detector.decode_detections(scores, points, detector.anchors())
    apart: list[np.ndarray] = []
    for box in expected[1]:  # in the order of the scores
        if not detector.is_known(box, apart):
            apart.append(box)
    config = web.page_config(bundles.load(OLD_BUNDLE))["detector"]
    decoded = in_javascript(
        DETECTOR,
        "js.decodeDetections(given.scores, given.points, js.anchors(), given.config)",
        scores=scores.tolist(), points=points.ravel().tolist(), config=config,
    )  # fmt: skip
    assert len(apart) > 1
    np.testing.assert_allclose(decoded, apart, atol=1e-6)
    np.testing.assert_allclose(in_javascript(DETECTOR, "js.anchors()"), detector.anchors())


def test_page_reads_the_constants_of_detector_and_tracker() -> None:
    config = web.page_config(bundles.load(OLD_BUNDLE))
    scripts = "".join((web.PAGE / name).read_text() for name in web.SCRIPTS)
    assert config["tracker"]["duplicate_iou"] == tracker.DUPLICATE_IOU
    for name in (*config["detector"], *config["tracker"]):
        assert name in scripts


# ---- the server ----


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[web.Site]:
    """A server whose folder of LiteRT.js is empty."""
    monkeypatch.setattr(web_server, "installed", lambda progress: tmp_path)
    made = web.Site(str(OLD_BUNDLE), None, getattr(request, "param", None))
    yield made
    made.close()


def get(address: str, path: str) -> tuple[int, bytes, dict[str, str]]:
    parts = urlsplit(address)
    context = ssl._create_unverified_context()
    connection = (
        http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=10, context=context)
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    )
    connection.request("GET", parts.path + path)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, dict(answer.getheaders())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
@pytest.mark.parametrize("site", [None, "self"], indirect=True, ids=["http", "https"])
def test_served_files_need_the_token(site: web.Site, capsys: pytest.CaptureFixture[str]) -> None:
    status, content, headers = get(site.address, "")
    assert status == 200 and b"importmap" in content and b"NONCE" not in content and b"://" not in content
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert get(site.address, "model")[1] == site.bundle.model.read_bytes()
    assert get(site.address, "person")[1] == detector.MODEL.read_bytes()
    config = json.loads(get(site.address, "config.json")[1])
    assert config["joints"] == 18 and config["size"] == 64 and len(config["colours"]) == len(config["edges"])
    for name in (*web.SCRIPTS, "decoder.js"):
        status, content, headers = get(site.address, name)
        assert status == 200 and headers["Content-Type"].endswith("javascript") and b"://" not in content
    for wrong in ("manifest.json", "../page.js", "core/dist/index.js", "core/dist/../../secret.js"):
        assert get(site.address, wrong)[0] == 404
    assert get(site.address.rsplit("/", 2)[0] + "/" + "x" * 22 + "/", "")[0] == 404
    site.announce()
    printed = capsys.readouterr().err
    assert site.address in printed and f"adb reverse tcp:{site.port} tcp:{site.port}" in printed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--listen", "here"], "--listen here: not an address; give HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "not an address"),
        (["--listen", "192.0.2.1:0"], "--listen 192.0.2.1:0: "),
        (["--cert", "gone.pem"], "--cert gone.pem: no certificate and key"),
        (["photo.jpg"], "INPUT: has no effect with --web"),
        (["--model", str(OLD_BUNDLE)], "--model: has no effect with --web"),
        (["--focal", "900"], "--focal: has no effect with --web"),
        (["--bbox", "1,2,30,40"], "--bbox: has no effect with --web"),
        (["--full-image"], "--full-image: has no effect with --web"),
        (["--video-format", "webm"], "--video-format: has no effect with --web"),
    ],
)
def test_wrong_options_give_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    monkeypatch.setattr(web_server, "installed", lambda progress: tmp_path)
    assert main(["predict", "--web", str(OLD_BUNDLE), *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


# ---- a browser ----


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A video of one image with a person, for Chromium's simulated camera, and that image, RGB."""
    config = SyntheticConfig(size=360)
    person = cv2.imdecode(np.frombuffer(render_jpeg(config, "test", 4), np.uint8), cv2.IMREAD_COLOR_RGB)
    image = np.full((SIZE[1], SIZE[0], 3), 140, np.uint8)
    image[:, 60:420] = person
    jpeg = cv2.imencode(".jpg", image[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, 97))[1].tobytes()
    path = tmp_path_factory.mktemp("camera") / "video.mjpeg"
    path.write_bytes(2 * jpeg)
    return path, cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)


def wait_for_frame(page: Any, frame: int, timeout_s: float = 60.0) -> None:
    """Wait until the page has processed a frame or shows an error. Polls from Python."""
    deadline = time.monotonic() + timeout_s
    while (page.evaluate("window.edgepose?.frame") or 0) <= frame and not page.query_selector(".error"):
        assert time.monotonic() < deadline, page.inner_text("#status")
        time.sleep(0.1)


def test_page_shows_the_person_in_front_of_the_camera(camera: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    video, image = camera
    with litertjs():
        site = web.Site(str(OLD_BUNDLE), None, None)
    try:
        with page_with_camera(video, viewport={"width": 390, "height": 800}) as (page, faults):
            page.goto(site.address)
            wait_for_frame(page, 12)
            seen, text = page.evaluate("window.edgepose"), page.inner_text("#status")
            before = page.locator("#view").screenshot()
            wait_for_frame(page, seen["frame"] + 8)
            after = page.locator("#view").screenshot(path=tmp_path / "view.png")
            wide = page.evaluate("document.documentElement.scrollWidth")
    finally:
        site.close()
    assert text == "1 person" and not faults
    assert before != after, "the 3D view does not rotate"
    assert wide == 390
    (found,) = seen["people"]
    (detected,) = Detector().detect(image)
    zoom = np.array([seen["width"] / SIZE[0], seen["height"] / SIZE[1]] * 2)
    assert iou(np.array([found["box"]]), (detected.bbox * zoom)[None])[0, 0] > 0.85
    bundle = bundles.load(OLD_BUNDLE)
    intrinsics = choose_camera(seen["width"], seen["height"])
    frame = cv2.resize(image, (seen["width"], seen["height"]))
    model = pipeline.Model("model", bundle, bundle.session())
    (person,) = pipeline.predict_people(model, frame, [Box(1, np.array(found["box"]))], intrinsics)
    side = 1.25 * max(found["box"][2:])
    apart = np.linalg.norm(np.array(found["px"]) - person.px, axis=1) / side
    assert np.median(apart) < 0.01 and apart.max() < 0.08  # the simulated camera changes the colours
    roots = np.array(found["mm"]) - found["mm"][0], person.mm - person.mm[0]
    assert np.linalg.norm(roots[0] - roots[1], axis=1).mean() < 40
    assert np.array(found["mm"])[0, 2] == pytest.approx(person.mm[0, 2], rel=0.02)
