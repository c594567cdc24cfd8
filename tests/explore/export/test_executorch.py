"""The command `export` for ExecuTorch, from a checkpoint to a measured bundle that run.py checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from explore.cli import main
from quantize.certificate import Certificate
from tests.helpers.networks import QUICK_EXPORT
from tests.helpers.runtimes import needs_executorch, run_py


@needs_executorch
def test_bundle_with_certificate(
    checkpoint: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--runtimes=executorch", f"--out={tmp_path / 'out'}", *QUICK_EXPORT, "--json"]
    assert main(["export", str(checkpoint("relu")), *options]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    certificate = Certificate.model_validate(row["certificate"])
    assert certificate.passed and certificate.int8_share == 1 and certificate.weight_bits == 8
    assert row["latency_ms"] > 0 and row["bytes"] < row["float_bytes"]
    done = run_py(Path(row["bundle"]), "--check")
    assert done.returncode == 0 and "FAIL" not in done.stdout, done.stdout + done.stderr
