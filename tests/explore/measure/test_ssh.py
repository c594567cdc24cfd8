"""A real sshd: keys, caches, connections that end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from explore.measure.devices import open_device
from explore.measure.rows import DeviceError, Model
from tests.explore.measure.conftest import Sshd, quick


def silent(share: float, text: str) -> None:
    pass


def test_an_unknown_host_is_refused_unless_asked_for(sshd: Sshd) -> None:
    sshd.known_hosts.write_text("")
    with pytest.raises(DeviceError, match="Host key verification failed"):
        open_device(sshd.address()).describe()
    assert open_device(sshd.address("hostkeys=accept-new")).describe().processor
    assert open_device(sshd.address()).describe().processor  # known from now on


def test_a_changed_host_key_is_always_refused(sshd: Sshd) -> None:
    kind, key, *_ = (sshd.folder / "user_key.pub").read_text().split()
    sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {kind} {key}\n")
    for option in ("hostkeys=yes", "hostkeys=accept-new"):
        with pytest.raises(DeviceError, match="Host key verification failed"):
            open_device(sshd.address(option)).describe()


def test_models_are_sent_once_and_damaged_ones_again(sshd: Sshd, model_of: Callable[[str], Model]) -> None:
    device = open_device(sshd.address())
    sent: list[str] = []

    def report(share: float, text: str) -> None:
        if text.startswith("sending"):
            sent.append(text)

    models = [model_of("litert"), model_of("onnxruntime")]
    device.measure(models, quick(), report)
    assert sorted(sent) == ["sending model.onnx", "sending model.tflite"]
    device.measure(models, quick(), report)
    assert len(sent) == 2
    stored = next(sshd.cache.rglob("model.tflite"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    device.measure(models, quick(), report)
    assert sent[2:] == ["sending model.tflite"]


def test_what_is_missing_there_is_said(sshd: Sshd, model_of: Callable[[str], Model]) -> None:
    with pytest.raises(DeviceError, match=r"not found|No such file"):
        open_device(sshd.address(python="/no/python")).describe()
    with pytest.raises(DeviceError, match=r"No module named|pip install"):
        device = open_device(sshd.address(python="/usr/bin/python3"))
        device.measure([model_of("openvino")], quick(), silent)


def test_a_host_that_is_away() -> None:
    with socket.socket() as deaf, pytest.raises(DeviceError, match=r"Connection refused"):
        deaf.bind(("127.0.0.1", 0))  # and does not listen
        open_device(f"ssh://127.0.0.1:{deaf.getsockname()[1]}").describe()


def test_a_connection_that_ends_fails_and_leaves_nothing_running(sshd: Sshd, model_of: Callable[[str], Model]) -> None:
    before = _probes(sshd)
    killed = threading.Event()

    def cut(share: float, text: str) -> None:
        if "rounds" in text and not killed.is_set():
            killed.set()
            for pid in _children(sshd.process.pid):
                os.kill(pid, signal.SIGKILL)

    rules = quick().rules.model_copy(update={"rounds": 1000, "calls": 200, "budget": 300.0})
    long, model = quick(rules=rules), model_of("litert")
    began = time.monotonic()
    with pytest.raises(DeviceError):
        open_device(sshd.address()).measure([model], long, cut)
    assert killed.is_set() and time.monotonic() - began < 150
    for _ in range(300):
        if _probes(sshd) <= before:
            return
        time.sleep(0.1)
    pytest.fail("the measuring program goes on without its caller")


def _children(parent: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def _probes(sshd: Sshd) -> set[int]:
    found = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True).stdout
    return {int(line.split()[0]) for line in found.splitlines() if str(sshd.cache) in line}
