"""No program decodes an unknown head as a depth map, and the README's embedding example runs for every head."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from arch.errors import InputError
from arch.files import content_hash
from explore.measure.probe import server
from explore.measure.probe.server import ProbeError
from quantize import bundle, sdk
from quantize.recipes import recipe
from quantize.sdk import edgepose_decoder as decoder
from tests.helpers import ROOT
from tests.helpers.browser import in_javascript
from tests.helpers.networks import HEADS, small_arch, write_bundle
from tests.helpers.runtimes import run_py

BOX = (20.0, 10.0, 60.0, 100.0)


@pytest.fixture
def photo() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array(Image.fromarray(rng.integers(0, 255, (12, 9, 3), np.uint8)).resize((90, 120)))


@pytest.mark.parametrize("head", HEADS)
def test_the_readme_example_runs_for_every_head(
    head: str,
    exported: Callable[[str, str, str], Path],
    photo: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = re.search(r"```python\n(manifest = .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found
    model = exported("litert", head, "float")
    made = write_bundle(tmp_path / "b", model, "litert", arch=small_arch(head), recipe=recipe("float"))
    monkeypatch.chdir(made.path)
    run: dict[str, Any] = runpy.run_path("run.py")
    names: dict[str, Any] = {"photo": photo, "box": BOX, "json": json, "Path": Path, "np": np}
    names |= {name: getattr(decoder, name) for name in dir(decoder)} | {"Interpreter": Interpreter}
    exec(compile(found[1].replace("model.tflite", model.name), "README.md", "exec"), names)
    manifest = run["read_manifest"]()
    expected, confidence = run["predict_box"](run["load"](manifest), manifest, photo, BOX)
    assert names["joints"].shape == (17, 3)
    np.testing.assert_allclose(names["joints"], expected, atol=0.05)
    np.testing.assert_allclose(names["confidence"], confidence, atol=1e-3)


def test_run_py_rejects_an_unknown_head_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    made = write_bundle(tmp_path / "b", tmp_path / "model.onnx")
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    values = json.loads((made.path / "manifest.json").read_text())
    del values["checksum"]
    values["postprocessing"]["head"] = "heatmap-4d"
    (made.path / "manifest.json").write_text(json.dumps(values | {"checksum": content_hash(values, 16)}))
    for arguments in ([str(tmp_path / "photo.png")], ["--check"]):
        done = run_py(made.path, *arguments)
        assert done.returncode == 2 and not done.stdout
        assert done.stderr.splitlines() == [
            "manifest.json: postprocessing.head: 'heatmap-4d' is unknown to this run.py; use a newer one"
        ]
    with pytest.raises(InputError, match="postprocessing: head, heatmap or depth_bins differ from the arch"):
        bundle.load(made.path)


def test_the_measuring_program_rejects_an_unknown_head_before_it_loads_the_model(tmp_path: Path) -> None:
    model = {"path": str(tmp_path / "gone.onnx"), "runtime": "onnxruntime", "head": "heatmap-4d", "input_size": 64}
    with pytest.raises(ProbeError, match="head heatmap-4d: unknown to this program; use a newer edgepose"):
        server._check(model)


def test_the_web_page_rejects_an_unknown_head() -> None:
    expression = "(() => { try { js.decode([], { head: 'heatmap-4d' }) } catch (error) { return error.message } })()"
    message = in_javascript(sdk.path("javascript"), expression)
    assert message == "head heatmap-4d is unknown to this decoder; use a newer one"
