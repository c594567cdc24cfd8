"""docs/embedding.md: its programs in Python and C++ and its page, run as printed, give the joints of `predict`."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from explore import web_server
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.frame import render_jpeg
from explore.export.golden import draw_photo
from explore.predict.boxes import Box
from explore.predict.camera import choose_camera
from explore.predict.pipeline import Model, predict_people
from quantize import bundle, sdk
from quantize.bundle import Bundle
from quantize.recipes import recipe
from tests.helpers import ROOT, mostly_slow
from tests.helpers.browser import launched, litertjs, served
from tests.helpers.layouts import OLD_BUNDLE
from tests.helpers.networks import Case, write_bundle
from tests.quantize.conftest import case, converter, exported  # noqa: F401  # fixtures

BUNDLED_ROI = ROOT / "results" / "real-128" / "litert"
BOX = (70.0, 15.0, 150.0, 200.0)


def code(title: str) -> str:
    """Return the program that the page shows under a title."""
    text = (ROOT / "docs" / "embedding.md").read_text()
    found = re.search(rf'```\w+ title="{re.escape(title)}"\n(.*?)```', text, re.DOTALL)
    assert found, f"docs/embedding.md has no {title}"
    return found[1]


@pytest.fixture(scope="module", params=["box", "roi"])
def litert(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A LiteRT bundle of each framing with a current manifest, with the decoders and a photo."""
    folder = tmp_path_factory.mktemp("app") / "litert"
    if request.param == "roi":
        shutil.copytree(BUNDLED_ROI, folder)
        made = bundle.load(folder)
    else:
        old = bundle.load(OLD_BUNDLE).manifest
        about = {"recipe": old.recipe, "data": old.data, "skeleton": old.skeleton}
        made = bundle.write(folder, OLD_BUNDLE / "model.tflite", arch=old.arch, runtime="litert", **about)  # type: ignore[arg-type]
    bundle.add_decoders(made, ("python", "javascript"))
    Image.open(io.BytesIO(render_jpeg(SyntheticConfig(level="easy", size=300), "test", 3))).save(folder / "photo.png")
    return made


def limit_mm(made: Bundle) -> float:
    """Return the deviation to expect: with framing roi, crops of `predict` differ by one grey level, which moves INT8
    outputs. A missing second pass moves joints by more than 300 mm."""
    return 60.0 if made.manifest.preprocessing.roi else 0.2


def photo_of(made: Bundle) -> np.ndarray:
    return np.asarray(Image.open(made.path / "photo.png"))


def expected(made: Bundle, photo: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    """Return camera mm and confidence (J, 4) by `predict`."""
    session = made.session()
    camera = choose_camera(photo.shape[1], photo.shape[0])
    (person,) = predict_people(Model("m", made, session), photo, [Box(1, np.array(box))], camera)
    session.close()
    return np.concatenate([person.mm, person.confidence[:, None]], 1)


def check(text: str, wanted: np.ndarray, limit_mm: float = 0.2) -> None:
    """Compare lines that end in numbers: x, y, z in mm, and the confidence where it is printed."""
    found = np.array([[float(word) for word in line.split()[-wanted.shape[1] :]] for line in text.splitlines()])
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found[:, :3], wanted[:, :3], atol=limit_mm)
    if wanted.shape[1] > 3:
        np.testing.assert_allclose(found[:, 3], wanted[:, 3], atol=limit_mm / 200)  # 1e-3 with framing box


def test_python_program(litert: Bundle) -> None:
    (litert.path / "app.py").write_text(code("app.py"))
    command = [sys.executable, "-P", "-c", "import sys; sys.path[:0] = ['.']; exec(open('app.py').read())"]
    arguments = ["photo.png", *map(str, BOX)]
    done = subprocess.run([*command, *arguments], cwd=litert.path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == list(litert.manifest.skeleton.joints)
    check(done.stdout, expected(litert, photo_of(litert), BOX), limit_mm(litert))


@pytest.mark.slow
def test_cpp_program(
    case: Callable[[str], Case],  # noqa: F811
    exported: Callable[[str, str, str], Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler here (Debian: g++)")
    import openvino

    home = Path(openvino.__file__).parent
    made = write_bundle(
        tmp_path / "b", exported("openvino", "heatmap-2.5d", "float"), "openvino", recipe=recipe("float")
    )
    bundle.add_decoders(made, ("c",))
    arch = made.arch
    sizes = f"SIZE = {arch.input_size}, HEATMAP = {arch.heatmap_size}, JOINTS = {arch.num_joints};"
    source, changed = re.subn(r"SIZE = 128, HEATMAP = 32, JOINTS = 18;", sizes, code("app.cpp"))
    assert changed == 1
    (made.path / "app.cpp").write_text(source)
    Image.fromarray(draw_photo(300)).save(made.path / "photo.ppm")
    libraries = [str(path) for path in (home / "libs").glob("libopenvino.so.*")]
    compiler = ["g++", "-std=c++17", "app.cpp", "-I.", f"-I{home / 'include'}", *libraries]
    done = subprocess.run(
        [*compiler, f"-Wl,-rpath,{home / 'libs'}", "-o", "app"],
        cwd=made.path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    command = ["./app", "model.xml", "photo.ppm", *map(str, BOX)]
    done = subprocess.run(command, cwd=made.path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    check(done.stdout, expected(made, draw_photo(300), BOX))


@pytest.mark.parametrize("litert", mostly_slow(["roi", "box"], "roi"), indirect=True)
def test_web_page(litert: Bundle, tmp_path: Path) -> None:
    with litertjs():
        modules = web_server.installed(lambda _, text: None)
    for name in ("model.tflite", "manifest.json", sdk.LANGUAGES["javascript"]):
        shutil.copyfile(litert.path / name, tmp_path / name)
    (tmp_path / "index.html").write_text(code("index.html"))
    (tmp_path / "node_modules").symlink_to(modules)
    faults: list[str] = []
    with served(tmp_path) as address, launched() as browser:
        page = browser.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        page.wait_for_function("document.getElementById('file').onchange !== null", timeout=120_000)
        page.set_input_files("#file", str(litert.path / "photo.png"))
        deadline = time.monotonic() + 120
        while not (text := page.inner_text("#joints")) and not faults:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert not faults
    photo = photo_of(litert)
    check(text, expected(litert, photo, (0.0, 0.0, photo.shape[1], photo.shape[0]))[:, :3], limit_mm(litert))
