"""export BUNDLE --web and --sdk: what is made of a finished bundle, and the page behind a plain static server in Chromium."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from explore import web_server
from explore.cli import main
from explore.export import pipeline
from quantize import bundle, sdk
from tests.explore.predict.test_web import camera, wait_for_frame  # noqa: F401  # fixture
from tests.helpers import ROOT
from tests.helpers.browser import litertjs, page_with_camera, served
from tests.helpers.layouts import OLD_BUNDLE
from tests.helpers.networks import write_bundle


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """A copy of a bundle."""
    return Path(shutil.copytree(OLD_BUNDLE, tmp_path / "net" / "litert"))


def test_decoders_are_added_to_a_bundle(opened: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(opened), "--sdk", "c,js", "--sdk", "java", "--json"]) == 0
    names = ["edgepose_decoder.h", "edgepose_decoder.js", "EdgeposeDecoder.java"]
    assert json.loads(capsys.readouterr().out) == {"sdk": [str(opened / name) for name in names]}
    for language, name in zip(("c", "javascript", "java"), names, strict=True):
        assert (opened / name).read_bytes() == sdk.path(language).read_bytes()
    packed = bundle.save_zip(bundle.load(opened), tmp_path / "b.zip")
    with bundle.load(packed).unpacked or pytest.fail("not unpacked") as folder:
        assert (Path(folder) / "edgepose_decoder.h").is_file()


def test_a_bundle_may_have_every_decoder(opened: Path, tmp_path: Path) -> None:
    bundle.add_decoders(bundle.load(opened), tuple(sdk.LANGUAGES))
    assert bundle.load(bundle.save_zip(bundle.load(opened), tmp_path / "b.zip")).manifest.arch_id


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--sdk", "c,rust"], "sdk: 'rust' is not one of python, javascript, c, java, csharp, kotlin, swift"),
        (["--web", "WEB", "--quantization", "float"], "quantization: changes the model file"),
        (["--sdk", "c", "--input-dtype", "uint8"], "input-dtype: changes the model file"),
        (["--web", "USED"], "contains other files, which would be replaced; give a new folder"),
        (["--web", "FILE"], "not a folder"),
        ([], "net/litert: a bundle; add --task, --web or --sdk, or give its checkpoint"),
    ],
)
def test_wrong_options_give_one_line(
    opened: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    places = {"WEB": tmp_path / "web", "USED": tmp_path / "used", "FILE": tmp_path / "used" / "notes.txt"}
    assert main(["export", str(opened), *(str(places.get(word, word)) for word in given)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / "web").exists() and (tmp_path / "used" / "notes.txt").read_text() == "mine"


def test_a_zip_and_another_runtime_are_rejected(
    opened: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = bundle.save_zip(bundle.load(opened), tmp_path / "b.zip")
    assert main(["export", str(packed), "--sdk", "c"]) == 2
    assert "a .zip stays as it is; unpack it" in capsys.readouterr().err
    (tmp_path / "model.onnx").write_bytes(b"x")
    other = write_bundle(tmp_path / "other", tmp_path / "model.onnx")
    assert main(["export", str(other.path), "--web", str(tmp_path / "web")]) == 2
    assert "a bundle of onnxruntime; LiteRT.js needs one of litert" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["bundle", "checkpoint"])
def test_missing_npm_is_reported_before_work(
    given: str, opened: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(web_server.shutil, "which", lambda name: None)
    monkeypatch.setattr(pipeline, "_open_parts", lambda *_: pytest.fail("opens the data"))
    path = opened if given == "bundle" else ROOT / "results" / "real-128" / "net.safetensors"
    folder = [] if given == "bundle" else ["--out", str(tmp_path / "out")]
    assert main(["export", str(path), "--sdk", "c", "--web", str(tmp_path / "web"), *folder]) == 2
    assert "web: needs npm" in capsys.readouterr().err
    assert not (opened / "edgepose_decoder.h").exists()


def test_page_runs_behind_a_plain_static_server(
    opened: Path,
    tmp_path: Path,
    camera: tuple[Path, np.ndarray],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "site" / "live"
    for _ in range(2):  # a page may be written again
        with litertjs():
            assert main(["export", str(opened), "--web", str(folder)]) == 0
    assert f"http.server --directory {folder}" in capsys.readouterr().out
    hosts: set[str] = set()
    size = {"width": 800, "height": 500}
    with served(tmp_path / "site") as address, page_with_camera(camera[0], viewport=size) as (page, faults):
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.goto(f"{address}/live/")
        wait_for_frame(page, 6)
        seen, text = page.evaluate("window.edgepose"), page.inner_text("#status")
        page.screenshot(path=tmp_path / "page.png")
    assert text == "1 person" and not faults
    assert len(seen["people"][0]["px"]) == 18
    assert hosts == {address.removeprefix("http://")}  # nothing is loaded from elsewhere
