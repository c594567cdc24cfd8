"""A search whose latency counts on a second device, a real host over ssh, which goes away for a while."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from explore.report.tables import read_table
from explore.search.costs.objectives import latency_key
from tests.helpers.measure import Sshd
from tests.helpers.search import RENDERED, run_command, trials

pytestmark = pytest.mark.timeout(3000)  # busy machines disturb and delay measurements


@pytest.mark.slow
def test_two_devices_and_one_that_goes_away(sshd: Sshd, tmp_path: Path) -> None:
    address = sshd.address()
    column = latency_key(address)
    options = (
        *RENDERED, f"--objectives=mpjpe,latency,latency@{address}", "--workers=1", "--runtimes=litert",
        "--sampler=random", "--finalists=1",
    )  # fmt: skip
    limited = (*options, f"--limit=latency@{address}=1s", "--limit=latency=1000ms")
    done = run_command(tmp_path, *options, "--trials=2", timeout=1500)
    assert done.returncode == 0, done.stderr
    for trial in trials(tmp_path):
        if trial.state == TrialState.COMPLETE:
            assert len(trial.values) == 3 and trial.values[2] > 0

    known = sshd.known_hosts.read_text()
    sshd.known_hosts.write_text("")
    back = threading.Thread(target=_come_back, args=(sshd, known, tmp_path))
    back.start()
    done = run_command(tmp_path, *options, "--trials=3", timeout=1500)
    back.join()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Host key verification failed") == 1 and "predicted and marked with ~" in done.stderr
    assert all(t.state == TrialState.COMPLETE for t in trials(tmp_path)) and len(trials(tmp_path)) == 3

    rows = read_table(tmp_path / "s" / "trials.csv")
    finished = [row for row in rows if row["state"] == "complete"]
    assert all(0.2 < float(row[column]) / float(row["latency_ms"]) < 5 for row in finished)  # the same processor
    assert any(row["on_front"] == "True" for row in finished)
    front = read_table(tmp_path / "s" / "front.csv")
    assert all(float(row[column]) > 0 for row in front)
    assert "latency on ssh://" in (tmp_path / "s" / "README.md").read_text()

    other = run_command(tmp_path, *limited, "--trials=3", timeout=1500)
    assert other.returncode == 2 and "limits" in other.stderr


@pytest.mark.slow
def test_a_search_for_one_device_that_is_not_this_machine(sshd: Sshd, tmp_path: Path) -> None:
    address = sshd.address()
    done = run_command(
        tmp_path,
        *RENDERED,
        f"--objectives=mpjpe,latency@{address}",
        "--workers=1",
        "--runtimes=litert",
        "--finalists=1",
        "--trials=2",
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr
    rows = read_table(tmp_path / "s" / "trials.csv")
    values = [t.values for t in trials(tmp_path) if t.state == TrialState.COMPLETE]
    assert values == [[float(row["mpjpe_mm"]), float(row[latency_key(address)])] for row in rows]
    front = read_table(tmp_path / "s" / "front.csv")
    assert len(front) == 1 and float(front[0][latency_key(address)]) > 0


def _come_back(sshd: Sshd, known: str, folder: Path) -> None:
    for _ in range(400):
        if any((folder / "s" / "locks").glob("away-*")):
            break
        time.sleep(0.5)
    sshd.known_hosts.write_text(known)
