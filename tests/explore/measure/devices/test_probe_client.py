"""Programs that reply with invalid data, too much, too late or not at all fail with one line, in time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from explore.measure.devices import probe_client
from explore.measure.latency import Disturbed
from explore.measure.probe import program
from explore.measure.rows import DeviceError, Model
from tests.helpers.measure import ignore_progress, quick

READ = "import sys, json, os, time; sys.stdin.buffer.readline(); "


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_client, "GRACE_S", 0.2)
    monkeypatch.setattr(probe_client, "_time_limit_s", lambda models, settings: 2.0)


def send(program: str, models: list[Model], timeout_s: float = 60.0) -> dict[str, object]:
    command = [sys.executable, "-c", READ + program]
    return probe_client.request("it", command, b"", models, quick(timeout_s=timeout_s), False, ignore_progress)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("print('Welcome to Debian')", "invalid reply: 'Welcome to Debian'"),
        ("print('[1, 2]')", "invalid reply"),
        ("print('{}')", "invalid reply"),
        ("print('{\"result\": 3}')", "invalid reply"),
        ('print(\'{"progress": "half"}\')', "invalid reply"),
        ("print('{\"need\": 3}')", "invalid reply"),
        ('print(\'{"need": ["0"]}\')', "requests a file that is not among the models"),
        ("print('x' * (17 << 20))", "more than 16 MiB"),
        ("sys.exit('No module named numpy')", "exited with status 1, no result: No module named numpy"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("print(json.dumps({'error': 'no space left'}))", "it: no space left"),
    ],
)
def test_invalid_replies(program: str, words: str) -> None:
    with pytest.raises(DeviceError) as caught:
        send(program, [])
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("program", "timeout_s", "words"),
    [
        ("time.sleep(300)", 1.0, "no reply for 1.2 s"),
        ("print('{\"progress\": 0.5}', flush=True); time.sleep(300)", 1.0, "no reply for 1.2 s"),
        (
            "[print('{\"progress\": 0.5}', flush=True) or time.sleep(0.1) for _ in iter(int, 1)]",
            60.0,
            "not done after 2 s",
        ),
        ("os.close(1); time.sleep(300)", 60.0, "closed its output without a result"),
    ],
)
def test_late_replies(impatient: None, program: str, timeout_s: float, words: str) -> None:
    began = time.monotonic()
    with pytest.raises(DeviceError) as caught:
        send(program, [], timeout_s)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert time.monotonic() - began < 50


def test_busy_device_raises_disturbed() -> None:
    with pytest.raises(Disturbed, match="3 of 4 rounds"):
        send("print(json.dumps({'error': '3 of 4 rounds', 'kind': 'disturbed'}))", [])


def test_program_that_reads_no_data(impatient: None, model_of: Callable[[str], Model]) -> None:
    model = model_of("litert")
    digest = model.for_probe()["files"][0]["sha256"]
    answer = json.dumps({"need": [digest]})
    with pytest.raises(DeviceError, match=r"accepted no data|no reply"):
        send(f"print({answer!r}, flush=True); time.sleep(300)", [model], 1.0)


def test_full_device(model_of: Callable[[str], Model], tmp_path: Path) -> None:
    model = model_of("litert")
    (tmp_path / "probe.py").write_bytes(program())
    cache = tmp_path / "cache"
    command = ["bash", "-c", f"ulimit -f 8; exec {sys.executable} {tmp_path}/probe.py serve {cache}"]
    with pytest.raises(DeviceError, match=r"model.tflite: cannot store \d+ bytes: .*File too large"):
        probe_client.request("it", command, b"", [model], quick(), False, ignore_progress)
    assert not [path for path in cache.rglob("*") if path.is_file()]  # no incomplete file


def test_invalid_rows(model_of: Callable[[str], Model]) -> None:
    machine = {"system": "Linux", "processor": "x"}
    for rows in (None, [3], [{}], [{"threads": "two"}], [{"model": "x", "median_ms": float("nan")}]):
        result = {"machine": machine, "before": {}, "after": {}, "rows": rows}
        with pytest.raises(DeviceError, match="invalid reply"):
            probe_client.parse_rows("it", result, [model_of("litert")])
    with pytest.raises(DeviceError, match="invalid reply"):
        probe_client.parse_rows("it", {"machine": "?"}, [])
