"""Who has a device: one process at a time, agreed on through the storage; and devices that go away."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from arch.space import preset
from explore import host
from explore.measure.devices import DeviceError, Model
from explore.progress import Display
from explore.search.config import SearchConfig
from explore.search.costs import remote_devices
from explore.search.costs.remote_devices import away_devices, exclusive_device, measure_remote
from explore.search.progress import SearchProgress
from explore.search.storage.backends import DEVICES, is_search, open_storage, storage_url

PHONE = "web://127.0.0.1:8000?token=a-word-of-mine"
SPAWN = multiprocessing.get_context("spawn")


def _config(folder: Path) -> SearchConfig:
    return SearchConfig(results=str(folder), study="s", lease=3.0, storage=f"sqlite:///{folder}/all.db")


def _use(folder: Path, machine: str) -> None:
    """Write down when the device is had and when it is let go, as of another machine: without its lock file."""
    os.environ["TMPDIR"] = machine
    for _ in range(3):
        with exclusive_device(_config(folder), PHONE), open(folder / "log", "a") as log:
            log.write(f"{os.getpid()}\n")
            log.flush()
            time.sleep(0.1)
            log.write(f"{os.getpid()}\n")


def _keep(folder: Path, machine: str, has: Event) -> None:
    os.environ["TMPDIR"] = machine
    with exclusive_device(_config(folder), PHONE):
        has.set()
        time.sleep(60)


@pytest.fixture
def machines(tmp_path: Path) -> list[str]:
    """Two places for the locks of a machine."""
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    return [str(place) for place in places]


def test_machines_take_turns(tmp_path: Path, machines: list[str]) -> None:
    users = [SPAWN.Process(target=_use, args=(tmp_path, machine)) for machine in machines]
    for user in users:
        user.start()
    for user in users:
        user.join(60)
        assert user.exitcode == 0
    lines = (tmp_path / "log").read_text().split()
    assert len(lines) == 12 and len(set(lines)) == 2
    assert lines[::2] == lines[1::2]  # nobody began before the other had ended


def test_a_dead_user_lets_go(tmp_path: Path, machines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    has = SPAWN.Event()
    user = SPAWN.Process(target=_keep, args=(tmp_path, machines[0], has))
    user.start()
    assert has.wait(60) and user.pid
    os.kill(user.pid, signal.SIGKILL)
    user.join()
    monkeypatch.setattr(host.tempfile, "gettempdir", lambda: machines[1])
    began = time.monotonic()
    with exclusive_device(_config(tmp_path), PHONE.replace("mine", "yours")):  # the same device
        assert time.monotonic() - began < 30
    study = optuna.load_study(study_name=DEVICES, storage=open_storage(storage_url(_config(tmp_path))))
    assert not study.trials and set(study.user_attrs.values()) == {None}
    assert not is_search(DEVICES) and is_search("s")


class Board:
    """A device that may be away, and may fail with files other than the reference network."""

    def __init__(self) -> None:
        self.calls, self.is_away, self.fails = 0, False, False

    def __call__(self, config: SearchConfig, address: str, models: list[Model], attempts: int) -> list[Any]:
        self.calls += attempts
        if self.is_away or (self.fails and len(models) > 1):
            raise DeviceError(f"{address}: no route to host")
        return [SimpleNamespace(ratio=2.0, model_dump=lambda **options: {"ratio": 2.0})] * 2


def test_latencies_on_a_device_that_goes_away_are_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board, address = Board(), "ssh://pi@board"
    config = SearchConfig(results=str(tmp_path), study="s", objectives=("mpjpe", f"latency@{address}"))
    monkeypatch.setattr(remote_devices, "_measure", board)
    monkeypatch.setattr(remote_devices, "reference_ms", lambda config, address: 10.0)
    progress = SearchProgress(config, Display())

    def measured() -> str:
        arch = preset("paper-XS-relu@64")
        found = measure_remote(config, arch, "int8-static", tmp_path / "model.tflite", lambda *stage: None)[address]
        progress.candidate(1, "net", 1, [100.0, found.latency_ms], found.source == "measured")
        return found.source

    assert measured() == "measured"
    board.is_away = True
    assert measured() == measured() == "MACs" and board.calls == 3 + 3 + 1 + 1, "later files are tried once"
    said = [line for line in capsys.readouterr().err.splitlines() if "no route to host" in line]
    assert len(said) == 1 and "predicted and marked with ~ until it responds" in said[0]
    board.is_away = False
    assert measured() == "measured" and not away_devices(config)
    board.fails = True
    with pytest.raises(DeviceError):  # it measures the reference network, so that the file is at fault
        measured()


def test_an_error_lets_go(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="nonsense"), exclusive_device(_config(tmp_path), "ssh://pi@board"):
            raise RuntimeError("nonsense")
