"""Finalists that learn from the most accurate candidate of their study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.search import RENDERED, run_command


@pytest.mark.slow
@pytest.mark.timeout(3000)  # busy machines disturb and delay measurements
def test_finalists_learn_from_the_most_accurate_candidate(tmp_path: Path) -> None:
    options = [
        "--runtime=onnxruntime", "--runtimes=onnxruntime", "--trials=5", "--finalists=3", "--references=", *RENDERED,
    ]  # fmt: skip
    done = run_command(tmp_path, "--teacher=study", *options, timeout=2500)
    assert done.returncode == 0, done.stderr
    candidates = [json.loads(path.read_text()) for path in (tmp_path / "s").glob("candidates/*/result.json")]
    best = min(candidates, key=lambda result: result["mpjpe_mm"])
    finalists = [json.loads(path.read_text()) for path in (tmp_path / "s").glob("finalists/*/result.json")]
    taught = {result["arch_id"]: result["teacher"] for result in finalists}
    assert taught.pop(best["arch_id"], None) is None  # it has nothing to learn from itself
    assert taught and all(teacher.split()[0] == best["name"] for teacher in taught.values())
