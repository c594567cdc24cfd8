"""A real SSH server: host keys, the cache, and connections that break."""

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
from tests.helpers.measure import Sshd, ignore_progress, quick


def test_unknown_host_key_is_rejected_unless_accept_new(sshd: Sshd) -> None:
    sshd.known_hosts.write_text("")
    with pytest.raises(DeviceError, match="Host key verification failed"):
        open_device(sshd.address()).describe()
    assert open_device(sshd.address("hostkeys=accept-new")).describe().processor
    assert open_device(sshd.address()).describe().processor  # known after accept-new


def test_changed_host_key_is_rejected(sshd: Sshd) -> None:
    kind, key, *_ = (sshd.folder / "user_key.pub").read_text().split()
    sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {kind} {key}\n")
    for option in ("hostkeys=yes", "hostkeys=accept-new"):
        with pytest.raises(DeviceError, match="Host key verification failed"):
            open_device(sshd.address(option)).describe()


def test_models_are_sent_once_and_again_when_damaged(sshd: Sshd, model_of: Callable[[str], Model]) -> None:
    device = open_device(sshd.address())
    sent: list[str] = []

    def progress(share: float, text: str) -> None:
        if text.startswith("sending"):
            sent.append(text)

    models = [model_of("litert"), model_of("onnxruntime")]
    device.measure(models, quick(), progress)
    assert sorted(sent) == ["sending model.onnx", "sending model.tflite"]
    device.measure(models, quick(), progress)
    assert len(sent) == 2
    stored = next(sshd.cache.rglob("model.tflite"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    device.measure(models, quick(), progress)
    assert sent[2:] == ["sending model.tflite"]


def test_missing_python_and_packages(sshd: Sshd, model_of: Callable[[str], Model]) -> None:
    with pytest.raises(DeviceError, match=r"not found|No such file"):
        open_device(sshd.address(python="/no/python")).describe()
    with pytest.raises(DeviceError, match=r"No module named|pip install"):
        device = open_device(sshd.address(python="/usr/bin/python3"))
        device.measure([model_of("openvino")], quick(), ignore_progress)


def test_host_without_a_server() -> None:
    with socket.socket() as unused, pytest.raises(DeviceError, match=r"Connection refused"):
        unused.bind(("127.0.0.1", 0))  # without listening
        open_device(f"ssh://127.0.0.1:{unused.getsockname()[1]}").describe()


def test_broken_connection_fails_and_leaves_no_process(sshd: Sshd, model_of: Callable[[str], Model]) -> None:
    before = _probes(sshd)
    killed = threading.Event()

    def cut(share: float, text: str) -> None:
        if "rounds" in text and not killed.is_set():
            killed.set()
            for pid in _children(sshd.process.pid):
                os.kill(pid, signal.SIGKILL)

    protocol = quick().protocol.model_copy(update={"rounds": 1000, "calls": 200, "max_seconds": 300.0})
    long, model = quick(protocol=protocol), model_of("litert")
    began = time.monotonic()
    with pytest.raises(DeviceError):
        open_device(sshd.address()).measure([model], long, cut)
    assert killed.is_set() and time.monotonic() - began < 150
    for _ in range(300):
        if _probes(sshd) <= before:
            return
        time.sleep(0.1)
    pytest.fail("the measuring program continues without its client")


def _children(parent: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def _probes(sshd: Sshd) -> set[int]:
    found = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True).stdout
    return {int(line.split()[0]) for line in found.splitlines() if str(sshd.cache) in line}
