"""`export --check arm`: agreement on emulated ARM processors in the certificate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from explore.cli import main
from quantize import bundle
from quantize.agreement import Agreement
from quantize.certificate import Certificate
from tests.helpers.emulated import emulated
from tests.helpers.networks import QUICK_EXPORT

Checkpoint = Callable[[str], Path]
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def qemu() -> str:
    """Folder of the set-up, found before the fixture `checkpoint` moves the folder of caches."""
    return str(emulated().folder)


def test_certificate_has_the_code_paths(
    qemu: str,
    checkpoint: Checkpoint,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEPOSE_QEMU", qemu)
    given = ["export", str(checkpoint("relu")), "--runtimes=litert", f"--out={tmp_path}", "--check=arm", *QUICK_EXPORT]
    assert main([*given, "--json", "--force"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    found = Certificate.model_validate(bundle.load(row["bundle"]).manifest.certificate)
    agreements = [Agreement.model_validate(one) for one in found.arm]
    assert [one.kernels for one in agreements] == ["NEON", "DOTPROD", "I8MM", "SME"]
    assert all(one.is_identical for one in agreements)


def test_without_a_set_up_nothing_is_exported(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPOSE_QEMU", str(tmp_path / "nothing"))
    out = tmp_path / "out"
    assert main(["export", str(checkpoint("relu")), "--runtimes=litert", f"--out={out}", "--check=arm"]) == 2
    assert "measure --setup qemu" in capsys.readouterr().err and not out.exists()
