"""`export --check gpu,npu`: delegate reports in the certificate and in the terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from explore.cli import main
from quantize import bundle
from quantize.certificate import Certificate
from quantize.delegates import DelegateReport
from tests.helpers.networks import QUICK_EXPORT

Checkpoint = Callable[[str], Path]


def test_certificate_and_terminal_have_the_reports(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["export", str(checkpoint("relu")), f"--out={tmp_path}", "--check=gpu,npu", "--force", *QUICK_EXPORT]
    assert main([*given, "--runtimes=litert"]) == 0
    text = capsys.readouterr().out
    found = Certificate.model_validate(bundle.load(tmp_path / "litert").manifest.certificate)
    reports = [DelegateReport.model_validate(one) for one in found.delegates]
    assert [one.delegate for one in reports] == ["gpu", "webgl", "qualcomm", "mediatek"]
    assert all(one.operators == sum(found.operators.values()) and not one.fallbacks for one in reports)
    assert found.fallbacks == {}
    assert "nothing was run on a GPU or an NPU" in text and "CPU fallbacks        none" in text
    assert f"qualcomm           all {reports[0].operators} operators" in text
