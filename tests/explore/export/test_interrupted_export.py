"""A failed or interrupted export leaves the existing bundle unchanged."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from explore.cli import main
from quantize import bundle
from tests.helpers.networks import QUICK_EXPORT


@pytest.fixture(scope="module")
def exported(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the options of a successful export; its bundles are in the folder after --out=."""
    out = tmp_path_factory.mktemp("interrupted") / "out"
    options = ["export", str(checkpoint("relu")), f"--out={out}", "--runtimes=onnxruntime", *QUICK_EXPORT]
    assert main(options) == 0
    return options


def files(options: list[str]) -> dict[str, bytes]:
    out = Path(options[2].removeprefix("--out="))
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.suffix != ".log"}


def test_full_disk(exported: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    before = files(exported)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        status = main([*exported, "--quantization=int8-float-stem"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("failed:")]
    assert status == 1 and len(lines) == 1 and "File too large" in lines[0]
    assert files(exported) == before


def test_keyboard_interrupt_while_a_bundle_is_written(
    exported: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(exported)
    original = bundle.shutil.copyfile

    def stopped(source: Path, target: Path) -> None:
        original(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle.shutil, "copyfile", stopped)
    assert main([*exported, "--quantization=float"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert files(exported) == before
