"""`train`, `export` and `data label` in real processes that end by signals at several moments.

Nothing is half-written, nothing finished is lost, the same command goes on, and the next run leaves no temporary files.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from explore.data import open_dataset
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.dataset import render_dataset
from quantize import bundle
from quantize.checkpoint import load_network, load_tensors
from tests.helpers.kills import FINISHED, INTERRUPTED, leftovers, run_to_its_end, run_until
from tests.helpers.networks import QUICK_EXPORT, small_arch

MAIN = "; import sys; from explore.cli import main; sys.exit(main(sys.argv[1:]))"
SLOW_TRAINING = (  # a state after every step, and time to send a signal
    "import time; from explore.train import loop, state; loop.CHECKPOINT_SECONDS = 0.0; State = state.TrainingState; "
    "save = State.save; State.save = lambda *given: (save(*given), time.sleep(0.1))"
)
SLOW_TEACHER = (
    "import time; from explore.data.label.config import TEACHERS; TEACHERS['fake'] = 'tests.helpers.fake_teacher'; "
    "from tests.helpers.fake_teacher import FakeTeacher; see = FakeTeacher.label; "
    "FakeTeacher.label = lambda *given: (time.sleep(0.1), see(*given))[1]"
)


def command(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code + MAIN, *arguments]


def interrupt(call: list[str], folder: Path, number: int, is_time: Callable[[Path], bool], to_all: bool = True) -> bool:
    """Send the signal at the time; return whether the command was still running."""
    error = run_until(call, folder, number, lambda _: is_time(folder), to_all)
    if error == [FINISHED]:
        return False
    if number != signal.SIGKILL:
        assert error[-1] == INTERRUPTED and leftovers(folder) == []
    return True


def lines(path: Path) -> list[str]:
    """Return the complete lines of a file, or none without a file."""
    return path.read_text().splitlines()[: path.read_text().count("\n")] if path.exists() else []


QUICK = (signal.SIGTERM, signal.SIGKILL)
ALL = (signal.SIGINT, signal.SIGHUP, signal.SIGKILL, signal.SIGTERM)
each_length = pytest.mark.parametrize(
    "signals", [QUICK, pytest.param(ALL, marks=pytest.mark.slow)], ids=["quick", "slow"]
)


# ---- train ----


def steps_of(state: Path) -> int:
    """Return the completed steps of a training state, which must be whole whenever it exists; 0 without one."""
    return int(str(load_tensors(state)[1]["step"])) if state.exists() else 0


@each_length
@pytest.mark.timeout(1800)
def test_train(signals: tuple[int, ...], tmp_path: Path) -> None:
    network = tmp_path / "arch.yaml"
    network.write_text(json.dumps(small_arch().model_dump(mode="json")))
    options = ["--samples=160", "--evaluations=2", "--dataset.train-frames=24", "--dataset.test-frames=6"]
    call = command(
        SLOW_TRAINING, "train", f"--arch={network}", *options, "--dataset.frame=64", "--out=out/a.safetensors"
    )
    state, out, before = tmp_path / "out" / "a.state", tmp_path / "out" / "a.safetensors", 0
    for index, number in enumerate(signals):
        first = steps_of(state)
        while_rendering, in_training = (
            lambda folder: len(list(folder.rglob("*.jpg"))) > 3,
            lambda _, least=first + 3: steps_of(state) >= least,  # type: ignore[misc]
        )
        interrupt(call, tmp_path, number, in_training if index else while_rendering)
        assert not out.exists() and steps_of(state) >= before
        before = steps_of(state)
    assert before > 0
    run_to_its_end(call, tmp_path)
    assert load_network(out)[0].arch == small_arch().replace(num_joints=18) and leftovers(tmp_path) == []
    left = {path.name for path in out.parent.iterdir()}
    assert left == {"a.safetensors", "a.json", "a-sheets"} and json.loads((out.parent / "a.json").read_text())


# ---- export ----


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "arch.yaml").write_text(json.dumps(small_arch().model_dump(mode="json")))
    options = ["--samples=16", "--evaluations=0", "--out=net.safetensors", *QUICK_EXPORT[:3]]
    run_to_its_end(command("pass", "train", "--arch=arch.yaml", *options), folder)
    with safe_open(folder / "net.safetensors", "pt") as file:
        assert file.metadata()["facts"]
    return folder


def bundles(out: Path) -> list[str]:
    """Return the runtimes with a bundle; each must be whole."""
    found = [path.parent.name for path in out.glob("*/manifest.json") if not path.parent.name.startswith(".")]
    assert all(bundle.load(out / name).manifest.runtime == name for name in found)
    return sorted(found)


def is_between(folder: Path) -> bool:
    """Return whether this run has written the first bundle."""
    log, first = folder / "out" / "converter.log", folder / "out" / "onnxruntime" / "manifest.json"
    return log.exists() and first.exists() and first.stat().st_mtime > log.stat().st_mtime


EXPORT_MOMENTS: list[Callable[[Path], bool]] = [
    lambda folder: (folder / "out" / "converter.log").exists(),  # converting
    is_between,
    lambda folder: any((folder / "out").glob(".onnxruntime.*")),  # writing the first bundle
    lambda folder: any((folder / "out").glob(".openvino.*")),
]


@each_length
@pytest.mark.timeout(1800)
def test_export(signals: tuple[int, ...], checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    options = ["--runtimes=onnxruntime,openvino", "--quantization=float", "--force", "--out=out", *QUICK_EXPORT]
    call, before = command("pass", "export", "net.safetensors", *options), list[str]()
    for index, number in enumerate(signals):
        (tmp_path / "out" / "converter.log").unlink(missing_ok=True)
        was_running = interrupt(call, tmp_path, number, EXPORT_MOMENTS[index], to_all=index % 2 == 0)
        assert was_running or index > 0  # the later moments are short
        assert set(bundles(tmp_path / "out")) >= set(before)
        before = bundles(tmp_path / "out")
    run_to_its_end(call, tmp_path)
    assert bundles(tmp_path / "out") == ["onnxruntime", "openvino"] and leftovers(tmp_path) == []
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"onnxruntime", "openvino", "converter.log"}


# ---- data label ----


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    config = SyntheticConfig(level="easy", size=160, train_frames=8, test_frames=1)
    for number, path in enumerate(sorted(render_dataset(folder / "cache", config).rglob("*.jpg"))[:8]):
        shutil.copy(path, folder / f"{number}.jpg")
    shutil.rmtree(folder / "cache")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Return the files of a labelled set, without reports, which name the time."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(("report", ".lock")))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@each_length
@pytest.mark.timeout(1800)
def test_data_label(signals: tuple[int, ...], photos: Path, tmp_path: Path) -> None:
    call = command(SLOW_TEACHER, "data", "label", str(photos), "--teacher=fake", "--test-fraction=0.3", "--out")
    run_to_its_end([*call, "whole"], tmp_path)
    journal, annotations = (tmp_path / "set" / name for name in ("labels.jsonl", "annotations"))
    before: list[str] = []
    for index, number in enumerate(signals):
        least = len(before) + 2
        at_the_end = index == len(signals) - 1
        interrupt(
            [*call, "set"],
            tmp_path,
            number,
            (lambda _: annotations.exists()) if at_the_end else (lambda _, least=least: len(lines(journal)) >= least),  # type: ignore[misc]
        )
        assert lines(journal)[: len(before)] == before
        before = lines(journal)
        assert all(json.loads(path.read_text()) for path in annotations.glob("*.json"))
    run_to_its_end([*call, "set"], tmp_path)
    assert leftovers(tmp_path) == [] and content(tmp_path / "set") == content(tmp_path / "whole")
    keys = [json.loads(line)["key"] for line in lines(journal)[1:]]
    assert len(keys) == len(set(keys)) == 8 and len(open_dataset(f"custom:{tmp_path / 'set'}", "train")) > 0
