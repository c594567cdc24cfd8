"""Programs that answer nonsense, too much, too late or not at all: one line that says so, in time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from explore.measure import probe
from explore.measure.devices import dialogue
from explore.measure.probe import Disturbed
from explore.measure.rows import DeviceError, Model
from tests.explore.measure.conftest import quick

READ = "import sys, json, os, time; sys.stdin.buffer.readline(); "


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "GRACE_S", 0.2)
    monkeypatch.setattr(dialogue, "_longest_s", lambda models, settings: 2.0)


def ask(program: str, models: list[Model], limit_s: float = 60.0) -> dict[str, object]:
    command = [sys.executable, "-c", READ + program]
    return dialogue.converse("it", command, b"", models, quick(limit_s=limit_s), False, lambda share, text: None)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("print('Welcome to Debian')", "answered nonsense: 'Welcome to Debian'"),
        ("print('[1, 2]')", "answered nonsense"),
        ("print('{}')", "answered nonsense"),
        ("print('{\"result\": 3}')", "answered nonsense"),
        ('print(\'{"need": ["0"]}\')', "asks for a file that is not in the job"),
        ("print('x' * (17 << 20))", "more than 16 MiB"),
        ("sys.exit('No module named numpy')", "ended with status 1 and no answer: No module named numpy"),
        ("os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("print(json.dumps({'error': 'no space left'}))", "it: no space left"),
    ],
)
def test_bad_answers(program: str, words: str) -> None:
    with pytest.raises(DeviceError) as caught:
        ask(program, [])
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("program", "limit_s", "words"),
    [
        ("time.sleep(300)", 1.0, "silent for 1.2 s"),
        ("print('{\"progress\": 0.5}', flush=True); time.sleep(300)", 1.0, "silent for 1.2 s"),
        (
            "[print('{\"progress\": 0.5}', flush=True) or time.sleep(0.1) for _ in iter(int, 1)]",
            60.0,
            "not done after 2 s",
        ),
        ("os.close(1); time.sleep(300)", 60.0, "stopped answering"),
    ],
)
def test_late_answers(impatient: None, program: str, limit_s: float, words: str) -> None:
    began = time.monotonic()
    with pytest.raises(DeviceError) as caught:
        ask(program, [], limit_s)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert time.monotonic() - began < 50


def test_a_busy_device_is_told_apart() -> None:
    with pytest.raises(Disturbed, match="3 of 4 rounds"):
        ask("print(json.dumps({'error': '3 of 4 rounds', 'kind': 'disturbed'}))", [])


def test_a_program_that_takes_no_data(impatient: None, model_of: Callable[[str], Model]) -> None:
    model = model_of("litert")
    digest = model.for_probe()["files"][0]["sha256"]
    answer = json.dumps({"need": [digest]})
    with pytest.raises(DeviceError, match=r"took no data|silent"):
        ask(f"print({answer!r}, flush=True); time.sleep(300)", [model], 1.0)


def test_a_full_device_says_so(model_of: Callable[[str], Model], tmp_path: Path) -> None:
    model = model_of("litert")
    command = ["bash", "-c", f"ulimit -f 8; exec {sys.executable} {probe.__file__} serve {tmp_path}"]
    with pytest.raises(DeviceError, match=r"cannot store model.tflite of \d+ bytes: .*File too large"):
        dialogue.converse("it", command, b"", [model], quick(), False, lambda share, text: None)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # nothing half stored


def test_rows_that_make_no_sense(model_of: Callable[[str], Model]) -> None:
    machine = {"system": "Linux", "processor": "x"}
    for rows in (None, [3], [{}], [{"model": "x", "median_ms": float("nan")}]):
        result = {"machine": machine, "before": {}, "after": {}, "rows": rows}
        with pytest.raises(DeviceError, match="answered nonsense"):
            dialogue.rows("it", result, [model_of("litert")])
    with pytest.raises(DeviceError, match="answered nonsense"):
        dialogue.rows("it", {"machine": "?"}, [])
