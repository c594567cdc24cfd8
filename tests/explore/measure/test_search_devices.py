"""A search whose latency counts on a second device, a real host over ssh, which goes away for a while."""

from __future__ import annotations

import csv
import subprocess
import threading
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from explore.search import devices
from tests.explore.measure.conftest import Sshd
from tests.explore.test_search import RENDERED, command, environment, trials


@pytest.mark.slow
def test_two_devices_and_one_that_goes_away(sshd: Sshd, tmp_path: Path) -> None:
    address = sshd.address()
    column = devices.column(address)
    options = (
        *RENDERED,
        f"--devices=local,{address}",
        "--workers=1",
        "--runtimes=litert",
        "--sampler=random",
        "--finalists=1",
    )
    limited = (*options, f"--max-ms={address}=1000,local=1000")
    done = _run(tmp_path, *options, "--trials=2")
    assert done.returncode == 0, done.stderr
    for trial in trials(tmp_path):
        if trial.state == TrialState.COMPLETE:
            assert len(trial.values) == 3 and trial.values[2] > 0

    known = sshd.known_hosts.read_text()
    sshd.known_hosts.write_text("")
    back = threading.Thread(target=_come_back, args=(sshd, known, tmp_path))
    back.start()
    done = _run(tmp_path, *options, "--trials=3")
    back.join()
    assert done.returncode == 0, done.stderr
    failed = [t for t in trials(tmp_path) if t.state == TrialState.FAIL]
    assert failed and all("Host key verification failed" in t.user_attrs["reason"] for t in failed)
    assert sum(t.state == TrialState.COMPLETE for t in trials(tmp_path)) == 3

    rows = list(csv.DictReader((tmp_path / "s" / "trials.csv").open()))
    finished = [row for row in rows if row["state"] == "complete"]
    assert all(0.2 < float(row[column]) / float(row["latency_ms"]) < 5 for row in finished)  # the same processor
    assert any(row["on_front"] == "True" for row in finished)
    front = list(csv.DictReader((tmp_path / "s" / "front.csv").open()))
    assert all(float(row[column]) > 0 for row in front)
    assert "ms on ssh://" in (tmp_path / "s" / "README.md").read_text()

    other = _run(tmp_path, *limited, "--trials=3")
    assert other.returncode == 2 and "max_ms" in other.stderr


@pytest.mark.slow
def test_a_search_for_one_device_that_is_not_this_machine(sshd: Sshd, tmp_path: Path) -> None:
    address = sshd.address()
    done = _run(
        tmp_path, *RENDERED, f"--devices={address}", "--workers=1", "--runtimes=litert", "--finalists=1", "--trials=2"
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "s" / "trials.csv").open()))
    values = [t.values for t in trials(tmp_path) if t.state == TrialState.COMPLETE]
    assert values == [[float(row["mpjpe_mm"]), float(row[devices.column(address)])] for row in rows]
    front = list(csv.DictReader((tmp_path / "s" / "front.csv").open()))
    assert len(front) == 1 and float(front[0][devices.column(address)]) > 0


def _run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    call = command(folder, *options)
    return subprocess.run(call, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=500)


def _come_back(sshd: Sshd, known: str, folder: Path) -> None:
    for _ in range(400):
        if any(t.state == TrialState.FAIL for t in trials(folder)):
            break
        time.sleep(0.5)
    sshd.known_hosts.write_text(known)
