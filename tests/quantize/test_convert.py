"""Faults of converters: a crash, a hang, long output or an exception fails one export only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from arch.errors import InputError
from arch.network import build
from quantize.checkpoint import save_network
from quantize.child_process import environment
from quantize.convert import ConversionError, Converter
from quantize.recipes import Recipe, recipe
from quantize.runtimes import RUNTIMES
from tests.helpers.networks import small_arch


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converter]:
    """Return a converter with the faulty runtime; its child survives from test to test, if it can."""
    with pytest.MonkeyPatch.context() as patch:
        notes = tmp_path_factory.mktemp("notes")
        patch.setitem(RUNTIMES, "faults", "tests.helpers.faulty_runtime")
        patch.setenv("FAULTS_NOTES", str(notes))
        with Converter(notes / "convert.log") as made:
            yield made


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_network(path, build(small_arch(), seed=0))
    return path


def attempt(child: Converter, weights: Path, how: str, folder: Path, timeout_s: float = 60) -> Path:
    return child.export(small_arch(), weights, "faults", Recipe(name=how), None, folder, timeout_s)


def pid_of(model: Path) -> int:
    return int(model.read_text())


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_for_death(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_child_is_kept_warm(child: Converter, weights: Path, tmp_path: Path) -> None:
    pids, seconds = [], []
    for name in ("cold", "warm"):
        started = time.monotonic()
        pids.append(pid_of(attempt(child, weights, "fine", tmp_path / name)))
        seconds.append(time.monotonic() - started)
    assert pids[0] == pids[1] != os.getpid() and seconds[1] < seconds[0] / 2


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("abort", "crashed with SIGABRT"),
        ("exit", "ended with status 7"),
        ("raise", "ValueError: operator aten::nonsense is not supported"),
        ("nothing", "wrote no model.fault"),
    ],
)
def test_failure_has_a_reason_and_the_next_export_works(
    child: Converter, weights: Path, tmp_path: Path, how: str, message: str
) -> None:
    with pytest.raises(ConversionError, match=message):
        attempt(child, weights, how, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [], "an incomplete folder was left"
    attempt(child, weights, "fine", tmp_path / "out")


def test_failure_leaves_the_old_export(child: Converter, weights: Path, tmp_path: Path) -> None:
    before = attempt(child, weights, "fine", tmp_path / "out").read_bytes()
    with pytest.raises(ConversionError):
        attempt(child, weights, "abort", tmp_path / "out")
    assert (tmp_path / "out" / "model.fault").read_bytes() == before


def test_last_lines_are_reported(child: Converter, weights: Path, tmp_path: Path) -> None:
    message = r"(?s)^faults abort of \w+: [^\n]+ SIGABRT; full log: [^\n]+convert.log\n.*about to abort"
    with pytest.raises(ConversionError, match=message):
        attempt(child, weights, "abort", tmp_path / "out")
    with pytest.raises(ConversionError, match=r"(?s)faulty_runtime.py.*nonsense"):
        attempt(child, weights, "raise", tmp_path / "out")


def test_hang_is_stopped_with_its_children(child: Converter, weights: Path, tmp_path: Path) -> None:
    warm = pid_of(attempt(child, weights, "fine", tmp_path / "out"))
    with pytest.raises(ConversionError, match=r"(?s)longer than 2 s and was stopped.*about to hang"):
        attempt(child, weights, "hang", tmp_path / "hung", timeout_s=2)
    helper = int((Path(os.environ["FAULTS_NOTES"]) / "helper").read_text())
    assert wait_for_death(warm) and wait_for_death(helper)
    assert not (tmp_path / "hung").exists()
    assert pid_of(attempt(child, weights, "fine", tmp_path / "out")) != warm


def test_child_killed_between_exports_is_replaced(child: Converter, weights: Path, tmp_path: Path) -> None:
    warm = pid_of(attempt(child, weights, "fine", tmp_path / "out"))
    os.kill(warm, signal.SIGKILL)
    wait_for_death(warm)
    assert pid_of(attempt(child, weights, "fine", tmp_path / "out")) != warm


def test_long_output_goes_to_the_log(
    child: Converter, weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    attempt(child, weights, "verbose", tmp_path / "out")
    text = child.log.read_text()
    assert text.count("long output") == 20_000 and "a program it started" in text and "standard error" in text
    assert capfd.readouterr() == ("", "")


def test_converter_cannot_read_requests(child: Converter, weights: Path, tmp_path: Path) -> None:
    assert attempt(child, weights, "reads-input", tmp_path / "out").read_text() == "read: "


def test_unsupported_network_is_rejected_before_conversion(child: Converter, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rejected before conversion"):
        attempt(child, weights, "unsupported", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_wrong_weights(child: Converter, weights: Path, tmp_path: Path) -> None:
    other = small_arch().replace(width=0.5)
    with pytest.raises(InputError, match=r"net.safetensors: arch: weights of .*, not of "):
        child.export(other, weights, "faults", recipe("float"), None, tmp_path / "out")
    with pytest.raises(InputError, match=r"none.safetensors: no such checkpoint"):
        attempt(child, tmp_path / "none.safetensors", "fine", tmp_path / "out")
    (tmp_path / "half.safetensors").write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"half.safetensors: not a readable checkpoint"):
        attempt(child, tmp_path / "half.safetensors", "fine", tmp_path / "out")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "0 images, but int8-static needs 24"),
        (np.ones((1, 3, 64, 64), np.float32), "1 images, but int8-static needs 24"),
        (np.ones((24, 3, 64, 64), np.float32), "a single colour"),
        (np.ones((24, 3, 32, 32), np.float32), r"give float32 \(3, 64, 64\)"),
        (np.ones((24, 3, 64, 64), np.float64), "give float32"),
        (np.full((24, 3, 64, 64), np.nan, np.float32), "image 0 has NaN"),
        (np.arange(24 * 3 * 64 * 64, dtype=np.float32).reshape(24, 3, 64, 64), "outside normalised RGB"),
    ],
)
def test_invalid_calibration_images_are_rejected(
    child: Converter, weights: Path, tmp_path: Path, images: np.ndarray | None, message: str
) -> None:
    with pytest.raises(InputError, match=f"^calibration: .*{message}"):
        child.export(small_arch(), weights, "faults", recipe("int8-static"), images, tmp_path / "out")


ORPHAN = """
import sys
from pathlib import Path
from quantize.convert import Converter
from quantize.recipes import Recipe
from quantize.runtimes import RUNTIMES
from tests.helpers.networks import small_arch
RUNTIMES["faults"] = "tests.helpers.faulty_runtime"
converter = Converter(sys.argv[1] + "/log")
model = converter.export(small_arch(), sys.argv[2], "faults", Recipe(name="fine"), None, sys.argv[1] + "/out")
print(model.read_text(), flush=True)
converter.export(small_arch(), sys.argv[2], "faults", Recipe(name="hang"), None, sys.argv[1] + "/hung")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl of Linux")
def test_busy_child_dies_with_its_parent(weights: Path, tmp_path: Path) -> None:
    variables = environment() | {"FAULTS_NOTES": str(tmp_path)}
    command = [sys.executable, "-c", ORPHAN, str(tmp_path), str(weights)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        helper = tmp_path / "helper"
        while not helper.exists():
            time.sleep(0.05)
        assert alive(pid)
        parent.kill()
    assert wait_for_death(pid)
    if alive(int(helper.read_text() or 0)):
        os.kill(int(helper.read_text()), signal.SIGKILL)
