"""The measuring program: the assembled file alone, and its copies of the project's own code."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from explore.measure import probe
from explore.measure.probe import machine, protocol, runtimes
from explore.measure.probe.protocol import Block
from explore.measure.rows import Model
from quantize import bundle
from quantize.sdk import edgepose_decoder
from tests.helpers.measure import quick
from tests.helpers.runtimes import every_runtime

ANSWERS = """
import json, numpy, probe
rng = numpy.random.default_rng(0)
raw = rng.normal(size=(1, 34, 16, 16)).astype(numpy.float32)
photo = rng.integers(0, 256, (50, 60, 3), numpy.uint8)
crop = probe.to_input(photo, (3.0, 5.0, 30.0), 16, (0.5,) * 3, (0.25,) * 3)
rules = {"head": "heatmap-2.5d", "heatmap": 16, "depth_bins": 16, "depth_scale": 1.0}
joints, _ = probe.decode(raw, rules)
interval = probe.median_interval(rng.uniform(1.0, 2.0, 12))
print(json.dumps([joints.tolist(), crop.tolist(), interval, probe.describe_machine()]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that contains nothing but the assembled program, `probe.py`."""
    (tmp_path / "probe.py").write_bytes(probe.program())
    return tmp_path


def test_program_imports_only_numpy_and_runtimes() -> None:
    tree = ast.parse(probe.program(), feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    allowed = {"numpy", "ai_edge_litert", "tflite_runtime", "openvino", "onnxruntime", "executorch", "torch"}
    assert {name.split(".")[0] for name in imported} <= allowed | sys.stdlib_module_names


def test_program_defines_each_name_once() -> None:
    defined: list[str] = []
    for node in ast.parse(probe.program()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            defined.append(node.name)
        elif isinstance(node, ast.Assign):
            defined += [target.id for target in node.targets if isinstance(target, ast.Name)]
    assert [name for name, count in Counter(defined).items() if count > 1] == []


def test_program_alone_gives_the_same_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules: Any = ModuleType("probe")
    for module in (edgepose_decoder, machine, protocol, runtimes):
        vars(modules).update({name: value for name, value in vars(module).items() if not name.startswith("_")})
    monkeypatch.setitem(sys.modules, "probe", modules)
    expected: list[str] = []
    exec(ANSWERS, {"print": expected.append})
    command = [sys.executable, "-E", "-c", ANSWERS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(expected[0])


def test_program_alone_measures(folder: Path, model_of: Callable[[str], Model]) -> None:
    model = model_of("litert")
    described = model.for_probe() | {"path": str(model.files[0].absolute())}
    request = json.dumps({"models": [described], **quick().for_probe()})
    with subprocess.Popen(
        [sys.executable, "-E", "probe.py", "serve", "cache"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(request + "\n")
        process.stdin.flush()
        messages = [json.loads(line) for line in process.stdout]
    *progress, last = messages
    assert all("progress" in message for message in progress)
    assert last["result"]["machine"] == machine.describe_machine()
    row = last["result"]["rows"][0]
    assert row["model"] == model.name and row["delegated"] == 1.0 and row["rounds"] >= 3 and row["median_ms"] > 0


def test_crop_at_full_size_only_normalises() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    crop = runtimes.to_input(photo, (10.0, 5.0, 40.0), 40, mean, std)
    expected = (photo[5:45, 10:50] / 255 - 0.5) / 0.25
    assert crop.shape == (1, 3, 40, 40)
    assert np.allclose(crop[0].transpose(1, 2, 0), expected, atol=1e-5)
    half = runtimes.to_input(photo, (10.0, 5.0, 40.0), 20, mean, std)
    grey_level = 1 / 255 / 0.25
    assert (
        np.abs(half[0, :, 3, 4] - expected[6:8, 8:10].mean((0, 1))).max() <= grey_level / 2 + 1e-6
    )  # mean of four pixels


@every_runtime
def test_runs_a_file_like_the_project(runtime: str, model_of: Callable[[str], Model]) -> None:
    model = model_of(runtime)
    x = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    session = bundle.load(model.name).session()
    network = runtimes.RUNTIMES[runtime](str(model.files[0]), 1)
    network.put(x)
    network.run()
    assert np.allclose(network.take(), session.run(x), atol=1e-5)
    assert network.facts()["delegated"] == 1.0


def test_block_is_disturbed_by_lack_of_cpu_time() -> None:
    ms = np.ones(3)
    assert Block(ms, 0.9, 0.0).disturbed(1, 0.95)
    assert not Block(ms, 0.96, 0.0).disturbed(1, 0.95)
    assert not Block(ms, 0.6, 0.01).disturbed(2, 0.95)  # the threads waited for each other
    assert Block(ms, 0.96, 0.2).disturbed(2, 0.95)
    assert Block(ms, 0.6, None).disturbed(2, 0.95)  # waiting is unknown: the strict rule


def test_machine_description_and_state() -> None:
    about, now = machine.describe_machine(), machine.machine_state()
    assert about["cores"] >= 1 and about["processor"] and about["system"]
    assert now["load"] is None or now["load"] >= 0
