"""predict --web: its JavaScript against our numpy, what is served to whom, and a browser with a camera of ours."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from arch.decode import decode_with_confidence, to_normalised
from arch.space import preset
from arch.spec import SIMCC_SPLIT
from explore.cli import main
from explore.data.synthetic.dataset import SyntheticConfig, picture
from explore.measure.devices import web as litertjs
from explore.predict import detect, pipeline, web
from explore.predict.camera import choose_camera
from explore.predict.detect import Detector, overlap
from quantize import bundle as bundles
from tests.explore.report.studies import MIDDLE, REFERENCE

MODEL = REFERENCE / "bundles" / MIDDLE / "litert"
SIZE = (480, 360)


def in_javascript(expression: str, **given: Any) -> Any:
    """The value of an expression in which decode.js is `js` and its inputs are `given`."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here (Debian: nodejs)")
    module = base64.b64encode((web.PAGE / "decode.js").read_bytes()).decode()
    code = (
        "const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        f"import('data:text/javascript;base64,{module}')"
        f".then((js) => console.log(JSON.stringify({expression})));"
    )
    done = subprocess.run([node, "-e", code], input=json.dumps(given), capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("head", web.HEADS)
def test_the_page_decodes_as_the_bundle_does(head: str) -> None:
    arch = preset("paper-XS-relu@64").replace(head=head, **({} if head == "depthmap" else {"depth_bins": 8}))
    joints = arch.joints
    rng = np.random.default_rng(0)
    shape = {
        "volumetric": (1, joints * arch.depth_bins, arch.heatmap, arch.heatmap),
        "depthmap": (1, 2 * joints, arch.heatmap, arch.heatmap),
        "simcc": (1, joints, 2 * SIMCC_SPLIT * arch.heatmap + arch.depth_bins),
    }[head]
    raw = rng.normal(0, 3, shape).astype(np.float32)
    gain = 16.0 if head == "depthmap" else 1.0
    cells, confidence = decode_with_confidence(raw, arch, gain)
    last = raw.transpose(0, 2, 3, 1) if raw.ndim == 4 else raw
    about = {"head": head, "heatmap": arch.heatmap, "depth_bins": arch.depth_bins, "joints": joints, "depth_gain": gain}
    said = in_javascript(
        "js.decode(given.raw, given.about)", raw=last.ravel().tolist(), about=about | {"simcc_split": SIMCC_SPLIT}
    )
    np.testing.assert_allclose(said["joints"], to_normalised(cells, arch)[0], atol=1e-5)
    np.testing.assert_allclose(said["confidence"], confidence[0], atol=1e-5)


def test_the_page_reads_the_detector_as_we_do() -> None:
    rng = np.random.default_rng(0)
    scores, places = rng.normal(-9, 1, 2254), rng.normal(0, 30, (2254, 12))
    scores[[40, 1700, 2100]] = 3.0, 2.0, 1.0
    expected = detect.read_answer(scores, places, detect.anchors())
    apart = [box for at, box in enumerate(expected[1]) if at == 0 or overlap(box[None], expected[1][:at]).max() < 0.3]
    about = web.about(bundles.load(MODEL))["detector"]
    said = in_javascript(
        "js.people(given.scores, given.places, js.anchors(), given.about)",
        scores=scores.tolist(), places=places.ravel().tolist(), about=about,
    )  # fmt: skip
    assert len(apart) > 1
    np.testing.assert_allclose(said, apart, atol=1e-6)
    np.testing.assert_allclose(in_javascript("js.anchors()"), detect.anchors())


# ---- the server ----


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[web.Site]:
    """A server whose LiteRT.js is an empty folder."""
    monkeypatch.setattr(litertjs, "installed", lambda report: tmp_path)
    made = web.Site(str(MODEL), None, getattr(request, "param", None))
    yield made
    made.close()


def ask(address: str, what: str) -> tuple[int, bytes, dict[str, str]]:
    parts = urlsplit(address)
    context = ssl._create_unverified_context()
    connection = (
        http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=10, context=context)
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    )
    connection.request("GET", parts.path + what)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, dict(answer.getheaders())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
@pytest.mark.parametrize("site", [None, "self"], indirect=True, ids=["http", "https"])
def test_what_is_served_and_to_whom(site: web.Site, capsys: pytest.CaptureFixture[str]) -> None:
    status, content, headers = ask(site.address, "")
    assert status == 200 and b"importmap" in content and b"NONCE" not in content and b"://" not in content
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert ask(site.address, "model")[1] == site.bundle.model.read_bytes()
    assert ask(site.address, "person")[1] == detect.MODEL.read_bytes()
    about = json.loads(ask(site.address, "about.json")[1])
    assert about["joints"] == 18 and about["size"] == 64 and len(about["colours"]) == len(about["edges"])
    for name in web.OWN:
        status, content, headers = ask(site.address, name)
        assert status == 200 and headers["Content-Type"].endswith("javascript") and b"://" not in content
    for wrong in ("manifest.json", "../page.js", "core/dist/index.js", "core/dist/../../secret.js"):
        assert ask(site.address, wrong)[0] == 404
    assert ask(site.address.rsplit("/", 2)[0] + "/" + "x" * 22 + "/", "")[0] == 404
    site.announce()
    said = capsys.readouterr().err
    assert site.address in said and f"adb reverse tcp:{site.port} tcp:{site.port}" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--listen", "here"], "--listen here: cannot be read; give HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "cannot be read"),
        (["--listen", "192.0.2.1:0"], "--listen 192.0.2.1:0: "),
        (["--cert", "gone.pem"], "--cert gone.pem: no certificate with its key"),
        (["photo.jpg"], "leave INPUT and --model away"),
    ],
)
def test_wrong_requests_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    monkeypatch.setattr(litertjs, "installed", lambda report: tmp_path)
    assert main(["predict", "--web", str(MODEL), *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error


# ---- a browser ----


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A film for Chromium's camera, of one picture with a person in it, and that picture, RGB."""
    config = SyntheticConfig(size=360)
    person = cv2.imdecode(np.frombuffer(picture(config, "test", 4), np.uint8), cv2.IMREAD_COLOR_RGB)
    image = np.full((SIZE[1], SIZE[0], 3), 140, np.uint8)
    image[:, 60:420] = person
    jpeg = cv2.imencode(".jpg", image[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, 97))[1].tobytes()
    path = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    path.write_bytes(2 * jpeg)
    return path, cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)


def test_a_browser_shows_the_person_before_its_camera(camera: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None or shutil.which("npm") is None:
        pytest.skip("no Chromium or no npm here (Debian: chromium, npm)")
    film, image = camera
    try:
        site = web.Site(str(MODEL), None, None)
    except litertjs.DeviceError as error:
        pytest.skip(f"LiteRT.js cannot be installed here: {error}")
    faults: list[str] = []
    flags = ["--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    try:
        with sync.sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=[*flags, f"--use-file-for-fake-video-capture={film}"]
            )
            page = browser.new_page(viewport={"width": 390, "height": 800})
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.goto(site.address)
            page.wait_for_function("window.edgepose?.frame > 12 || document.querySelector('.bad')", timeout=60_000)
            seen, text = page.evaluate("window.edgepose"), page.inner_text("#text")
            before = page.locator("#room").screenshot()
            page.wait_for_function(f"window.edgepose.frame > {seen['frame'] + 8}")
            after = page.locator("#room").screenshot(path=tmp_path / "room.png")
            wide = page.evaluate("document.documentElement.scrollWidth")
            browser.close()
    finally:
        site.close()
    assert text == "1 person" and not faults
    assert before != after, "the room does not turn"
    assert wide == 390
    (found,) = seen["found"]
    (ours,) = Detector().everyone(image)
    zoom = np.array([seen["width"] / SIZE[0], seen["height"] / SIZE[1]] * 2)
    assert overlap(np.array([found["box"]]), (ours * zoom)[None])[0, 0] > 0.85
    bundle = bundles.load(MODEL)
    eye = choose_camera(seen["width"], seen["height"])
    frame = cv2.resize(image, (seen["width"], seen["height"]))
    (person,) = pipeline.find_people(bundle, bundle.session(), frame, [np.array(found["box"])], eye)
    side = 1.25 * max(found["box"][2:])
    apart = np.linalg.norm(np.array(found["px"]) - person.px, axis=1) / side
    assert np.median(apart) < 0.01 and apart.max() < 0.08  # the camera's colours are not the file's
    roots = np.array(found["mm"]) - found["mm"][0], person.mm - person.mm[0]
    assert np.linalg.norm(roots[0] - roots[1], axis=1).mean() < 40
    assert np.array(found["mm"])[0, 2] == pytest.approx(person.mm[0, 2], rel=0.02)
