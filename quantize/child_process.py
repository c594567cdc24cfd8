"""Child processes that run modules of this project: their environment, time limit and end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from arch.errors import shortened

ROOT = Path(__file__).resolve().parent.parent  # the folder that holds the packages
PR_SET_PDEATHSIG = 1


def environment() -> dict[str, str]:
    """Return this process's environment, with the project on the module path."""
    path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), "TF_CPP_MIN_LOG_LEVEL": "3"}


def run_module(module: str, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run `python -m module` in a session of its own and capture its output.

    Raises:
        subprocess.TimeoutExpired: the child took longer than `timeout_s` and was killed.
    """
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        env=environment(),
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """Return why a child failed: the signal that ended it, or the last line of its messages."""
    lines = done.stderr.strip().splitlines()
    return shortened(lines[-1], 300) if lines and done.returncode > 0 else exit_reason(done.returncode)


def exit_reason(status: int) -> str:
    """Describe the exit status of a child that failed."""
    if status >= 0:
        return f"ended with status {status}"
    hint = " (out of memory?)" if -status == signal.SIGKILL else ""
    return f"crashed with {signal.Signals(-status).name}{hint}"


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
