"""Commands in processes of their own that receive a signal at a moment, and what must hold afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from arch.files import LEFTOVER
from tests.helpers import ROOT
from tests.helpers.search import environment

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -9}  # with the exit status
FINISHED = "finished"
INTERRUPTED = "interrupted; run the same command again to continue"


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if LEFTOVER.fullmatch(path.name)]


def quiet_environment(folder: Path) -> dict[str, str]:
    """Return the environment of a command that accepts a busy machine, and finds the helpers of the tests."""
    quiet = {"EDGEPOSE_BACKGROUND_LOAD": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return environment(folder) | quiet


def run_until(
    call: list[str], folder: Path, number: int, is_time: Callable[[str], bool], to_all: bool = True, delay: float = 0
) -> list[str]:
    """Start a command, send it a signal at the time, and return its standard error, or [FINISHED].

    is_time: whether the time has come, by the standard error so far; to_all: signal all of its processes, as a terminal
    does; delay: seconds from the time to the signal
    """
    output = folder / "stderr"
    with output.open("w") as file:
        process = subprocess.Popen(
            call,
            cwd=folder,
            env=quiet_environment(folder),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=file,
        )
    deadline = time.monotonic() + 600
    while not is_time(output.read_text()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    if process.poll() is None:
        (os.killpg if to_all else os.kill)(process.pid, number)
    process.wait(300)
    if to_all and number == signal.SIGKILL:
        time.sleep(1.0)  # its other processes end, too, and are no longer taken for running
    error = output.read_text()
    assert "Traceback" not in error, error
    assert process.returncode in (0, SIGNALS[signal.Signals(number)]), error
    return [FINISHED] if process.returncode == 0 else error.splitlines()


def run_to_its_end(call: list[str], folder: Path, timeout: float = 600) -> str:
    """Run a command and return its standard output."""
    done = subprocess.run(
        call, cwd=folder, env=quiet_environment(folder), capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
