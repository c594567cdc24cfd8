"""The manual says what is so: its code runs as it stands, its lists are those of the program, its links lead somewhere."""

from __future__ import annotations

import csv
import json
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from arch import decode as numpy_decode
from arch import head as torch_decode
from arch.encoders import ENCODERS, Encoder
from arch.heads import HEADS
from arch.network import build
from arch.space import make_arch
from explore.cli import main
from explore.commands import COMMANDS
from explore.data import READERS, open_dataset
from explore.measure.devices import DEVICES, open_device
from explore.report.gather import gather
from quantize import runtimes
from quantize.recipes import recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL = {"input": 64, "heatmap": 16, "width": 0.25, "inter": 32, "decoder_width": 16, "depth_bins": 8, "joints": 5}


def module(title: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that a page shows under that title, as if it were the file."""
    text = (ROOT / "docs" / "extending.md").read_text()
    found = re.search(rf'```python title="{re.escape(title)}"\n(.*?)```', text, re.DOTALL)
    assert found, f"docs/extending.md has no {title}"
    name = title.removesuffix(".py").replace("/", ".")
    made = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, made)
    exec(compile(found[1], title, "exec"), made.__dict__)
    return made


def test_the_encoder_builds_and_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = module("arch/encoders/tiny.py", monkeypatch)
    monkeypatch.setitem(ENCODERS, "tiny", Encoder(shown.ROWS, shown.STEM))
    for concat in ("none", "skip", "residual"):
        net = build(make_arch(SMALL | {"encoder": "tiny", "concat": concat}), seed=0)
        net(torch.zeros(2, 3, 64, 64)).sum().backward()
        assert all(parameter.grad is not None for parameter in net.parameters())


def test_the_heads_two_decodes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "sharp", module("arch/heads/sharp.py", monkeypatch))
    arch = make_arch(SMALL | {"head": "sharp"})
    with torch.no_grad():
        raw = build(arch, seed=0).eval().forward_heatmaps(torch.randn(2, 3, 64, 64))
        assert tuple(raw.shape[1:]) == HEADS["sharp"].raw_shape(arch)
        expected = torch_decode.decode(raw, arch).numpy()
    np.testing.assert_allclose(numpy_decode.decode(raw.numpy(), arch), expected, atol=1e-4)
    plain = numpy_decode.decode(raw.numpy(), arch.replace(head="volumetric"))
    assert np.abs(plain - expected).max() > 1e-3, "it sharpens nothing"


def test_the_runtime_exports_loads_and_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module("quantize/runtimes/exported.py", monkeypatch)
    monkeypatch.setitem(runtimes.RUNTIMES, "exported", "quantize.runtimes.exported")
    runtime = runtimes.get("exported")
    net = build(make_arch(SMALL), seed=0).eval()
    assert runtime.unsupported(net.arch, recipe("int8-static")) and not runtime.unsupported(net.arch, recipe("float"))
    path = runtime.export(net, tmp_path, recipe("float"), None)
    x = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    session = runtime.load(path)
    session.prepare(x[:1])()
    with torch.no_grad():
        np.testing.assert_allclose(session.run(x), net.forward_heatmaps(torch.from_numpy(x)).numpy(), atol=1e-4)
    session.close()
    assert runtime.inspect(path).operators


def test_the_reader_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(READERS, "lines", module("explore/data/lines.py", monkeypatch).load)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 80, 3), np.uint8))
    joints = np.random.default_rng(0).normal([0, 0, 4000], 100, (17, 3)).tolist()
    entry = {"file_name": "a.png", "width": 80, "height": 100, "bbox": [10, 10, 50, 80]}
    lines = [entry | {"f": [100, 100], "c": [40, 50], "joints_mm": joints}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = open_dataset(f"lines:{tmp_path}", "train")
    assert len(data) == 1 and np.allclose(data.joints_cam[0], joints)


def test_the_device_describes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    module("explore/measure/devices/python.py", monkeypatch)
    monkeypatch.setitem(DEVICES, "python", "explore.measure.devices.python")
    assert open_device(f"python://{sys.executable}").describe().processor


def test_the_configuration_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--markdown"]) == 0
    assert (ROOT / "docs" / "configuration.md").read_text() == capsys.readouterr().out, (
        "run: python explore.py config --markdown > docs/configuration.md"
    )


def test_the_default_configuration_is_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from explore.config import SearchConfig, load_yaml, parse

    assert main(["config"]) == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert parse(SearchConfig, load_yaml(tmp_path / "c.yaml"), "c.yaml") == SearchConfig()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_links_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    for command in re.findall(r"explore\.py (\w[\w-]*)", text):
        assert command in COMMANDS, f"{page.name}: no command {command}"
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target} leads nowhere"
    for file in re.findall(r"`((?:arch|quantize|explore|tests|results)/[\w/.-]+\.(?:py|json|md|yaml))`", text):
        assert (ROOT / file).exists() or f'title="{file}"' in text, f"{page.name}: no file {file}"


def test_the_lines_to_embed_a_file_do_what_its_runner_does(monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```python\n(manifest = .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found
    monkeypatch.chdir(next((ROOT / "results" / "reference" / "bundles").glob("*/litert")))
    run: dict[str, Any] = runpy.run_path("run.py")
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 90, 3), np.uint8))
    names: dict[str, Any] = {"photo": photo, "box": (10.0, 10.0, 60.0, 100.0), "json": json, "Path": Path, "np": np}
    names |= {"crop": run["crop"], "decode": run["decode"], "Interpreter": Interpreter}
    exec(compile(found[1], "README.md", "exec"), names)
    manifest = run["read_manifest"]()
    joints, _ = run["find"](run["load"](manifest), manifest, photo, names["box"])
    np.testing.assert_allclose(names["joints"], joints, atol=0.05)


def test_the_headline_is_what_the_reference_study_says() -> None:
    folder = ROOT / "results" / "reference"
    said = " ".join((ROOT / "README.md").read_text().split())
    with (folder / "front.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["runtime"] == "litert"]
    assert rows
    for row in rows:
        mm, pa, plain = (f"{float(row[key]):.1f}" for key in ("mpjpe_mm", "pa_mpjpe_mm", "float_mpjpe_mm"))
        ms, plain_ms = (f"{float(row[key]):.3f}" for key in ("latency_ms", "float_latency_ms"))
        line = f"| {row['name']} | {mm} | {pa} | {plain} | {ms} | {plain_ms} | {int(row['macs']) / 1e6:.1f} |"
        assert line in said
    for line in gather(folder).equal_error:
        assert line in said
