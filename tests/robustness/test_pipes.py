"""Output into a closed pipe (`| head -1`), a closed stream (`>&-`) and a full disk (`> /dev/full`), for every command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from explore.cli import COMMANDS
from explore.predict import BUNDLED
from quantize import sdk
from tests.helpers import ROOT, mostly_slow
from tests.helpers.layouts import custom, pictures

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
EXPLORE = [sys.executable, str(ROOT / "explore.py")]
SINKS = {  # what output goes to: the exit status of a command that would end with 0, and lines on standard error
    "closed pipe": (1, 0),
    "closed stream": (0, 0),
    "full disk": (1, 1),
}
CALLS = {  # FOLDER has a data set `set` and a photo
    "overview": ["--help"],
    "version": ["--version"],
    **{f"help {name}": ["help", name] for name in COMMANDS},
    "config": ["config"],
    "config --markdown": ["config", "--markdown"],
    "profile": ["profile", "paper-S@64", "--format=csv"],
    "profile --space": ["profile", "--space=mobile", "--sample=2", "--json"],
    "data check": ["data", "check", "custom:FOLDER/set", "--sheet=FOLDER/sheet.png"],
    "predict": ["predict", "FOLDER/photo.png", "--full-image", "--out=FOLDER/out", "--json"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipes")
    custom(folder / "set", 8)
    pictures(folder, ["photo.png"])
    shutil.copytree(BUNDLED, folder / "bundle")
    (folder / "bundle" / "run.py").write_bytes(sdk.run_program())
    return folder


def run_into(sink: str, call: list[str], stream: str = "stdout") -> tuple[int, str]:
    """Run a command with one of its streams into a sink; return the exit status and what the other stream has."""
    other = "stderr" if stream == "stdout" else "stdout"
    shell = {"closed stream": "1>&-" if stream == "stdout" else "2>&-"}.get(sink, "")
    read, write = os.pipe()
    os.close(read)  # before the command writes
    with open("/dev/full", "w") as full:
        target = write if sink == "closed pipe" else full if sink == "full disk" else None
        streams = {stream: target, other: subprocess.PIPE}
        done = subprocess.run(["sh", "-c", f'"$@" {shell}', "sh", *call], text=True, timeout=300, **streams)  # type: ignore[call-overload]
    os.close(write)
    return done.returncode, getattr(done, other)


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("name", mostly_slow(CALLS, "version", "help search", "profile", "data check", "predict"))
def test_output_of_commands(name: str, sink: str, folder: Path) -> None:
    call = [part.replace("FOLDER", str(folder)) for part in CALLS[name]]
    status, error = run_into(sink, [*EXPLORE, *call])
    lines = [line for line in error.splitlines() if line.startswith(("failed:", "error:"))]
    assert (status, len(lines)) == SINKS[sink], error
    assert "Error" not in error and "Traceback" not in error and "Exception" not in error
    if lines:
        assert lines[0].startswith("failed: a file or standard output: No space left on device; ")


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("call", mostly_slow([["../photo.png"], ["--help"], ["--check"]], ["--check"]), ids=" ".join)
def test_output_of_run_py(call: list[str], sink: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "bundle")
    if call == ["--check"]:
        pytest.importorskip("ai_edge_litert")
    status, error = run_into(sink, [sys.executable, "run.py", *call])
    lines = [line for line in error.splitlines() if not line.startswith("INFO: ")]
    assert (status, len(lines)) == SINKS[sink], error
    assert not lines or lines[0].startswith("failed: OSError: [Errno 28] No space left on device")


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("call", [["profile", "/nowhere.yaml"], ["nosuch"], ["search", "--trials=0"]], ids=" ".join)
def test_errors_that_cannot_be_printed(call: list[str], sink: str) -> None:
    assert run_into(sink, [*EXPLORE, *call], stream="stderr") == (2, "")
