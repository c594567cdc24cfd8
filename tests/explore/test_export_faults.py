"""An export that cannot end well leaves the bundle of before as it was, nothing half, and says why in one line."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from arch.network import build
from explore.cli import main
from explore.config import SearchConfig, parse
from explore.search.dataset import open_judge
from explore.train.checkpoint import save_network
from explore.train.loop import to_input
from quantize import bundle
from tests.quantize.conftest import small_arch

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--dataset.train=24", "--dataset.test=8", "--measure.rounds=3", "--measure.calls=3", "--measure.budget=0.5"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The options of an export that ended well; what it left is in the folder after --out=."""
    root = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPOSE_CACHE", str(root / "cache"))
        judge = open_judge(parse(SearchConfig, {"dataset": {"train": 24, "test": 8}, "scale": 64}, "test"))
        net = build(small_arch().replace(joints=len(judge.train.skeleton.names)), 0).train()
        with torch.no_grad():
            for _ in range(30):
                net.forward_heatmaps(to_input(judge.calibration(24, 0)))
        save_network(root / "net.safetensors", net.eval(), {})
        options = ["export", str(root / "net.safetensors"), f"--out={root / 'out'}", "--runtimes=onnxruntime", *QUICK]
        assert main(options) == 0
        yield options


def files(options: list[str]) -> dict[str, bytes]:
    out = Path(options[2].removeprefix("--out="))
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.suffix != ".log"}


def test_full_disk(exported: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    before = files(exported)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        status = main([*exported, "--recipe=int8-float-stem"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("failed:")]
    assert status == 1 and len(said) == 1 and "File too large" in said[0]
    assert files(exported) == before


def test_stopped_by_the_user_while_a_bundle_is_written(
    exported: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(exported)
    original = bundle.shutil.copyfile

    def stopped(source: Path, target: Path) -> None:
        original(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle.shutil, "copyfile", stopped)
    assert main([*exported, "--recipe=float"]) == 130
    assert "stopped" in capsys.readouterr().err
    assert files(exported) == before


def test_killed_while_converting(exported: list[str]) -> None:
    before = files(exported)
    log = Path(exported[2].removeprefix("--out=")) / "converter.log"
    log.unlink()
    command = [sys.executable, str(ROOT / "explore.py"), *exported, "--recipe=int8-float-stem"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not log.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert files(exported) == before
    assert bundle.load(log.parent / "onnxruntime").manifest.recipe.name == "int8-static"
