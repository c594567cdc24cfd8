"""The test runner `python -m tests`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import __main__ as runner

ALONE = "import pytest\npytestmark = pytest.mark.alone\ndef test_a():\n    pass\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "DURATIONS", tmp_path / ".pytest_cache" / "durations.json")
    (tmp_path / "tests" / "part").mkdir(parents=True)
    (tmp_path / "tests" / "part" / "test_alone.py").write_text(ALONE)
    return tmp_path / "tests"


def test_counts_and_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main([]) == 0
    (folder / "test_b.py").write_text("def test_b():\n    assert 0\ndef test_c(missing):\n    pass\n")
    (folder / "test_d.py").write_text("import os\nos._exit(3)\n")
    assert runner.main([]) == 1
    shown = capsys.readouterr().out
    assert shown.endswith("\n1 passed, 3 failed, 0 skipped\n") and "test_d.py: pytest exited with status 3" in shown
    durations = json.loads(runner.DURATIONS.read_text())
    assert set(durations) == {"tests/part/test_alone.py", "tests/test_b.py", "tests/test_d.py"}
    assert runner.main(["-k", "nothing"]) == 1


def test_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"short": "", "long": "", "new": "", "large": "#" * 99}.items():
        (folder / f"test_{name}.py").write_text(text)
    runner.DURATIONS.parent.mkdir()
    runner.DURATIONS.write_text(json.dumps({"tests/test_short.py": 1, "tests/test_long.py": 9}))
    monkeypatch.setattr(runner.os, "sched_getaffinity", lambda pid: {0})
    order: list[str] = []
    monkeypatch.setattr(runner, "run", lambda file, options: order.append(file.stem) or runner.Result("", 0, 1, 0, 0))
    assert runner.main(["-m", "slow"]) == 0
    assert order == ["test_alone", "test_large", "test_new", "test_long", "test_short"]
