"""The manual: its code runs, its tables match the program, its commands, options, files and links exist."""

from __future__ import annotations

import functools
import importlib
import json
import random
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from arch.decode import decode, decode_tensor
from arch.encoders import ENCODERS, Encoder
from arch.heads import HEADS
from arch.network import build
from arch.search_space import Space
from arch.space import make_arch
from benchmarks import BENCHES
from explore.cli import Parser, main, visible_options
from explore.commands import COMMANDS
from explore.data import open_dataset
from explore.data.readers import READERS
from explore.measure.devices import DEVICES, open_device
from explore.report.study_folder import read_summary
from explore.report.tables import read_table
from quantize import runtimes
from quantize.recipes import recipe
from tests.helpers import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL = {
    "input_size": 64, "heatmap_size": 16, "width": 0.25, "intermediate_channels": 32, "decoder_width": 16,
    "depth_bins": 8, "num_joints": 5,
}  # fmt: skip


def module(title: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module that a page shows under `title`, imported under its name."""
    text = (ROOT / "docs" / "extending.md").read_text()
    found = re.search(rf'```python title="{re.escape(title)}"\n(.*?)```', text, re.DOTALL)
    assert found, f"docs/extending.md has no {title}"
    name = title.removesuffix(".py").replace("/", ".")
    made = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, made)
    exec(compile(found[1], title, "exec"), made.__dict__)
    return made


def test_encoder_builds_and_has_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = module("arch/encoders/tiny.py", monkeypatch)
    monkeypatch.setitem(ENCODERS, "tiny", Encoder(shown.ROWS, shown.STEM))
    for concat in ("none", "skip", "residual"):
        net = build(make_arch(SMALL | {"encoder": "tiny", "concat": concat}), seed=0)
        net(torch.zeros(2, 3, 64, 64)).sum().backward()
        assert all(parameter.grad is not None for parameter in net.parameters())


def test_head_decodes_equally_in_numpy_and_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "sharp", module("arch/heads/sharp.py", monkeypatch))
    arch = make_arch(SMALL | {"head": "sharp"})
    with torch.no_grad():
        raw = build(arch, seed=0).eval().forward_heatmaps(torch.randn(2, 3, 64, 64))
        assert tuple(raw.shape[1:]) == HEADS["sharp"].raw_shape(arch.head_spec)
        expected = decode_tensor(raw, arch).numpy()
    np.testing.assert_allclose(decode(raw.numpy(), arch), expected, atol=1e-4)
    plain = decode(raw.numpy(), arch.replace(head="volumetric"))
    assert np.abs(plain - expected).max() > 1e-3, "the factor has no effect"


def test_the_space_can_be_searched(tmp_path: Path) -> None:
    shown = re.search(r'```yaml title="my-space.yaml"\n(.*?)```', (ROOT / "docs" / "search.md").read_text(), re.DOTALL)
    assert shown
    path = tmp_path / "my-space.yaml"
    path.write_text(shown[1])
    found = {Space.load(path).at(128).sample(random.Random(seed)).id for seed in range(200)}
    assert len(found) == 18, "depth_bins counts with the volumetric head only"


def test_runtime_exports_loads_and_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


def test_reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module("explore/data/readers/lines.py", monkeypatch)
    monkeypatch.setitem(READERS, "lines", "explore.data.readers.lines")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 80, 3), np.uint8))
    joints = np.random.default_rng(0).normal([0, 0, 4000], 100, (17, 3)).tolist()
    entry = {"file_name": "a.png", "width": 80, "height": 100, "bbox": [10, 10, 50, 80]}
    lines = [entry | {"f": [100, 100], "c": [40, 50], "joints_mm": joints}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = open_dataset(f"lines:{tmp_path}", "train")
    assert len(data) == 1 and np.allclose(data.joints_cam[0], joints)


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    module("explore/measure/devices/python.py", monkeypatch)
    monkeypatch.setitem(DEVICES, "python", "explore.measure.devices.python")
    assert open_device(f"python://{sys.executable}").describe().processor


def test_configuration_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--markdown"]) == 0
    assert (ROOT / "docs" / "configuration.md").read_text() == capsys.readouterr().out, (
        "run: python explore.py config --markdown > docs/configuration.md"
    )


def test_printed_defaults_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from explore.config import load_yaml, parse
    from explore.search.config import SearchConfig

    assert main(["config"]) == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert parse(SearchConfig, load_yaml(tmp_path / "c.yaml"), "c.yaml") == SearchConfig()


@functools.cache
def options_of(command: str) -> set[str]:
    """Return the options of a command and of its subcommands, without those of version 0.1."""
    parser = Parser(prog=command)
    parser.add_argument("--json")
    importlib.import_module(f"explore.commands.{command}").add_arguments(parser)
    return set(visible_options(parser))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_options_files_and_links_exist(page: Path) -> None:
    text = page.read_text()
    for command in re.findall(r"explore\.py (\w[\w-]*)", text):
        assert command in {*COMMANDS, "help"}, f"{page.name}: no command {command}"
    for command, arguments in re.findall(r"explore\.py (\w+)([^`\n]*)", text):
        for option in re.findall(r"(?<!\S)--[a-z][\w.-]*", arguments):
            assert option in options_of(command), f"{page.name}: {command} has no option {option}"
    for name in re.findall(r"python -m benchmarks ([a-z]\w*)", text):
        assert name in BENCHES, f"{page.name}: no benchmark {name}"
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target} does not exist"
    for file in re.findall(r"`((?:arch|quantize|explore|tests|results)/[\w/.-]+\.(?:py|json|md|yaml))`", text):
        assert (ROOT / file).exists() or f'title="{file}"' in text, f"{page.name}: no file {file}"


def test_readme_table_equals_the_reference_study() -> None:
    folder = ROOT / "results" / "reference"
    text = " ".join((ROOT / "README.md").read_text().split())
    rows = [row for row in read_table(folder / "front.csv") if row["runtime"] == "litert"]
    assert rows
    for row in rows:
        mm, pa, plain = (f"{float(row[key]):.1f}" for key in ("mpjpe_mm", "pa_mpjpe_mm", "float_mpjpe_mm"))
        ms, plain_ms = (f"{float(row[key]):.3f}" for key in ("latency_ms", "float_latency_ms"))
        line = f"| {row['name']} | {mm} | {pa} | {plain} | {ms} | {plain_ms} | {int(row['macs']) / 1e6:.1f} |"
        assert line in text
    for found in read_summary(folder).iso_accuracy:
        assert found.text in text
