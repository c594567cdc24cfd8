"""A converter that crashes, hangs, prints pages or raises fails one export: nothing else, and leaves nothing."""

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
from quantize.convert import PROJECT, ConversionError, Converter
from quantize.recipes import Recipe, recipe
from quantize.runtimes import RUNTIMES
from quantize.weights import save_weights
from tests.quantize.conftest import small_arch


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converter]:
    """A converter whose only runtime is the faulty one; its child survives from test to test, where it can."""
    with pytest.MonkeyPatch.context() as patch:
        notes = tmp_path_factory.mktemp("notes")
        patch.setitem(RUNTIMES, "faults", "tests.quantize.faults")
        patch.setenv("FAULTS_NOTES", str(notes))
        with Converter(notes / "convert.log") as made:
            yield made


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_weights(build(small_arch(), seed=0), path)
    return path


def attempt(child: Converter, weights: Path, how: str, folder: Path, timeout_s: float = 60) -> Path:
    return child.export(small_arch(), weights, "faults", Recipe(name=how), None, folder, timeout_s)


def pid_of(model: Path) -> int:
    return int(model.read_text())


def alive(pid: int) -> bool:
    """Running; a zombie that nobody has collected is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def until_dead(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_child_is_kept_warm(child: Converter, weights: Path, tmp_path: Path) -> None:
    first = pid_of(attempt(child, weights, "fine", tmp_path / "a"))
    assert first != os.getpid()
    cold = child.seconds["total"]
    assert pid_of(attempt(child, weights, "fine", tmp_path / "b")) == first
    assert child.seconds["total"] < cold / 2


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("abort", "crashed with SIGABRT"),
        ("exit", "ended with status 7"),
        ("raise", "ValueError: operator aten::nonsense is not supported"),
        ("nothing", "left no model.fault"),
    ],
)
def test_failure_says_why_and_the_next_export_works(
    child: Converter, weights: Path, tmp_path: Path, how: str, said: str
) -> None:
    with pytest.raises(ConversionError, match=said):
        attempt(child, weights, how, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [], "a half-made folder was left"
    attempt(child, weights, "fine", tmp_path / "out")


def test_failure_leaves_the_old_export(child: Converter, weights: Path, tmp_path: Path) -> None:
    before = attempt(child, weights, "fine", tmp_path / "out").read_bytes()
    with pytest.raises(ConversionError):
        attempt(child, weights, "abort", tmp_path / "out")
    assert (tmp_path / "out" / "model.fault").read_bytes() == before


def test_last_lines_are_reported(child: Converter, weights: Path, tmp_path: Path) -> None:
    said = r"(?s)^faults abort of \w+: .*about to abort.*the whole log: .*convert.log"
    with pytest.raises(ConversionError, match=said):
        attempt(child, weights, "abort", tmp_path / "out")
    with pytest.raises(ConversionError, match=r"(?s)faults.py.*nonsense"):
        attempt(child, weights, "raise", tmp_path / "out")


def test_hang_is_stopped_with_all_it_started(child: Converter, weights: Path, tmp_path: Path) -> None:
    warm = pid_of(attempt(child, weights, "fine", tmp_path / "out"))
    started = time.monotonic()
    with pytest.raises(ConversionError, match=r"(?s)longer than 2 s and was stopped.*about to hang"):
        attempt(child, weights, "hang", tmp_path / "hung", timeout_s=2)
    assert time.monotonic() - started < 60
    helper = int((Path(os.environ["FAULTS_NOTES"]) / "helper").read_text())
    assert until_dead(warm) and until_dead(helper)
    assert not (tmp_path / "hung").exists()
    assert pid_of(attempt(child, weights, "fine", tmp_path / "out")) != warm


def test_killed_between_exports(child: Converter, weights: Path, tmp_path: Path) -> None:
    warm = pid_of(attempt(child, weights, "fine", tmp_path / "out"))
    os.kill(warm, signal.SIGKILL)
    until_dead(warm)
    assert pid_of(attempt(child, weights, "fine", tmp_path / "out")) != warm


def test_pages_of_chatter_go_to_the_log(
    child: Converter, weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    attempt(child, weights, "chatter", tmp_path / "out")
    text = child.log.read_text()
    assert text.count("in many words") == 20_000 and "and a program it started" in text and "and more" in text
    assert capfd.readouterr() == ("", "")


def test_nothing_can_be_read_from_the_child_s_input(child: Converter, weights: Path, tmp_path: Path) -> None:
    assert attempt(child, weights, "reads-input", tmp_path / "out").read_text() == "read: "


def test_refused_before_conversion(child: Converter, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="refused before conversion"):
        attempt(child, weights, "refused", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_wrong_weights(child: Converter, weights: Path, tmp_path: Path) -> None:
    other = small_arch().replace(width=0.5)
    with pytest.raises(InputError, match=r"net.safetensors: .* weights of another architecture"):
        child.export(other, weights, "faults", recipe("float"), None, tmp_path / "out")
    with pytest.raises(InputError, match=r"none.safetensors: cannot be read as safetensors"):
        attempt(child, tmp_path / "none.safetensors", "fine", tmp_path / "out")
    (tmp_path / "half.safetensors").write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"half.safetensors: cannot be read as safetensors"):
        attempt(child, tmp_path / "half.safetensors", "fine", tmp_path / "out")


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        (None, "takes 24 pictures, 0 given"),
        (np.ones((1, 3, 64, 64), np.float32), "takes 24 pictures, 1 given"),
        (np.ones((24, 3, 64, 64), np.float32), "of one colour"),
        (np.ones((24, 3, 32, 32), np.float32), r"give float32 \(3, 64, 64\)"),
        (np.ones((24, 3, 64, 64), np.float64), "give float32"),
        (np.full((24, 3, 64, 64), np.nan, np.float32), "picture 0 holds NaN"),
        (np.arange(24 * 3 * 64 * 64, dtype=np.float32).reshape(24, 3, 64, 64), "outside normalised RGB"),
    ],
)
def test_useless_calibration_is_refused(
    child: Converter, weights: Path, tmp_path: Path, pictures: np.ndarray | None, said: str
) -> None:
    with pytest.raises(InputError, match=f"^calibration: .*{said}"):
        child.export(small_arch(), weights, "faults", recipe("int8-static"), pictures, tmp_path / "out")


ORPHAN = """
import sys
from pathlib import Path
from quantize.convert import Converter
from quantize.recipes import Recipe
from quantize.runtimes import RUNTIMES
from tests.quantize.conftest import small_arch
RUNTIMES["faults"] = "tests.quantize.faults"
converter = Converter(sys.argv[1] + "/log")
model = converter.export(small_arch(), sys.argv[2], "faults", Recipe(name="fine"), None, sys.argv[1] + "/out")
print(model.read_text(), flush=True)
converter.export(small_arch(), sys.argv[2], "faults", Recipe(name="hang"), None, sys.argv[1] + "/hung")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is told to the child on Linux only")
def test_child_dies_with_its_parent(weights: Path, tmp_path: Path) -> None:
    """Even when the parent is killed while the child is busy."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "FAULTS_NOTES": str(tmp_path)}
    command = [sys.executable, "-c", ORPHAN, str(tmp_path), str(weights)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        helper = tmp_path / "helper"
        while not helper.exists():
            time.sleep(0.05)
        assert alive(pid)
        parent.kill()
    assert until_dead(pid)
    if alive(int(helper.read_text() or 0)):
        os.kill(int(helper.read_text()), signal.SIGKILL)
