"""Interrupted and killed commands: nothing lost, nothing left over, no deaths counted; studies that could not start."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from optuna.trial import TrialState

from arch.errors import InputError
from arch.files import atomic_dir, remove_leftovers, temporary_prefix, write_atomic
from explore.cli import report_errors
from explore.host import host_folder, temporary_files
from explore.progress import Display
from explore.search import run
from explore.search.config import SearchConfig
from explore.search.finalists import Validation
from explore.search.storage import fingerprint, unstarted
from explore.search.storage.optuna_private import new_trial
from explore.search.study import open_study, prepare_study
from explore.search.workers.leases import LEASE, Lease, TrialLease, release_leases
from quantize.environment import cpu_quota
from tests.helpers import ROOT, mostly_slow
from tests.helpers.kills import FINISHED, INTERRUPTED, SIGNALS, leftovers, run_to_its_end, run_until
from tests.helpers.search import RENDERED, command, environment, trials
from tests.robustness.test_storages import tiny

# ---- one process ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_command_like_an_exception(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    cleaned = []

    def work() -> int:
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        finally:
            if number != signal.SIGINT:
                os.kill(os.getpid(), number)  # does not interrupt the cleaning up
            cleaned.append(True)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert report_errors(work) == SIGNALS[number] and cleaned == [True]
    assert capsys.readouterr().err == "interrupted; run the same command again to continue\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert report_errors(lambda: os.kill(os.getpid(), signal.SIGHUP) or 0) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


KILLED = """
import os, signal, sys
from pathlib import Path
from arch.files import atomic_dir, write_atomic
folder = Path(sys.argv[1])
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "file":
    write_atomic(folder / "a", "new")
elif sys.argv[2] == "aside":  # between the two renames of a folder
    rename = Path.rename
    def first(self, target):
        rename(self, target)
        os.kill(os.getpid(), signal.SIGKILL)
    Path.rename = first
with atomic_dir(folder / "d") as made:
    (made / "x").write_text("new")
    if sys.argv[2] == "folder":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["file", "folder", "aside"])
def test_what_a_killed_process_leaves_is_removed(moment: str, tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "old")
    with atomic_dir(tmp_path / "d") as made:
        (made / "x").write_text("old")
    own = tmp_path / f"{temporary_prefix('mine')}x.part"
    own.write_text("of a running process")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], cwd=ROOT, timeout=120)
    assert done.returncode == -signal.SIGKILL and len(leftovers(tmp_path)) >= 2
    remove_leftovers(tmp_path)
    assert leftovers(tmp_path) == [own]
    assert (tmp_path / "a").read_text() == "old" and (tmp_path / "d" / "x").read_text() == "old"


def test_an_interrupted_replacement_of_a_folder_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_dir(tmp_path / "d") as made:
        (made / "x").write_text("old")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if target == tmp_path / "d" and "-old" not in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_dir(tmp_path / "d") as made:
        (made / "x").write_text("new")
    assert (tmp_path / "d" / "x").read_text() == "old" and not leftovers(tmp_path)


def test_temporary_files_lie_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = host_folder()
    with temporary_files():
        assert Path(tempfile.mkdtemp()).parent.parent == folder == host_folder()
        with temporary_files():
            assert len(leftovers(folder)) == 1
    assert leftovers(folder) == [] and tempfile.gettempdir() == str(tmp_path)


# ---- studies ----


def fail(config: SearchConfig) -> Validation:
    raise InputError("no such data")


def test_a_study_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    config = tiny(tmp_path).model_copy(update={"results": str(tmp_path / "new" / "results")})
    with pytest.raises(InputError, match="no such data"):
        run.lead(config, Display(quiet=True), prepare=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]
    (tmp_path / "new" / "results" / "other").mkdir(parents=True)
    with pytest.raises(InputError, match="no such data"):
        run.lead(config, Display(quiet=True), prepare=fail)
    assert [path.name for path in (tmp_path / "new" / "results").iterdir()] == ["other"]


def test_results_without_their_trials_are_not_overwritten(tmp_path: Path) -> None:
    """As of a finished study in a clone: its storage and its candidates are not committed."""
    config = tiny(tmp_path)
    fingerprint.leave(config)
    (config.folder / "trials.csv").write_text("number,state\n")
    (config.folder / "front.csv").write_text("kept")
    other = config.model_copy(update={"seed": 7})
    for given in (config, other):
        (config.folder / "trials.csv").write_text("number,state\n0,complete\n")
        with pytest.raises(InputError, match=r"has the results of a study, but not the trials .* give --study another"):
            run.lead(given, Display(quiet=True), prepare=fail)
        assert (config.folder / "front.csv").read_text() == "kept"
    (config.folder / "trials.csv").write_text("number,state\n")  # of a search that ended before its first candidate
    with pytest.raises(InputError, match="no such data"):
        run.lead(other, Display(quiet=True), prepare=fail)


@pytest.mark.parametrize("name", ["net.safetensors", ".git", "config.yaml"])
def test_files_of_others_are_never_replaced(name: str, tmp_path: Path) -> None:
    config = tiny(tmp_path)
    if name != "config.yaml":
        fingerprint.leave(config)
    config.folder.mkdir(parents=True, exist_ok=True)
    (config.folder / name).write_text("lr: 1")
    with pytest.raises(InputError, match=f"{name}: not a file of a search; move it away, or give --study another name"):
        unstarted.replace_configuration(config.model_copy(update={"seed": 7}))
    assert (config.folder / name).read_text() == "lr: 1"


@pytest.mark.parametrize("storage", ["", "journal:///FOLDER/journal"])
def test_another_configuration_replaces_that_of_a_study_without_candidates(storage: str, tmp_path: Path) -> None:
    config = tiny(tmp_path, storage=storage.replace("FOLDER", str(tmp_path)))
    space = fingerprint.space_of(config)
    fingerprint.leave(config)
    fingerprint.carry(config, prepare_study(config, space))
    (config.folder / "reference").mkdir()
    other = config.model_copy(update={"seed": 7, "data": "synthetic:full"})
    assert not unstarted.has_candidates(other) and not unstarted.replace_configuration(config)
    assert unstarted.replace_configuration(other) and not (config.folder / "reference").exists()
    fingerprint.leave(other)
    study = prepare_study(other, space)
    fingerprint.carry(other, study)
    study.set_user_attr("kept", True)
    new_trial(study).set_user_attr("arch", "0123456789")
    assert unstarted.has_candidates(config)
    assert open_study(config).user_attrs["kept"]


# ---- leases ----


@pytest.mark.parametrize("with_pool", [True, False])
def test_deaths_together_with_the_pool_of_workers_do_not_count(with_pool: bool) -> None:
    values: list[dict[str, Any] | None] = []
    before = None
    ended = {"pid": 2**22 + 1}
    for count in range(4):
        lease = Lease("work", lambda: None, values.append, before, 60.0)
        lease.at("train")
        lease.stop()
        assert lease.died["times"] == (0 if with_pool else count)
        assert bool(lease.give_up_reason()) == (not with_pool and count >= 3)
        left = values[-1]
        assert left is not None
        before = left | {"process": left["process"] | ended}
        if with_pool:  # the search was killed as a whole
            before |= {"pool": left["pool"] | ended}


def test_leases_of_stopped_workers_are_released(tmp_path: Path) -> None:
    study = open_study(tiny(tmp_path))
    lease = TrialLease(study, new_trial(study), 60.0)
    value = study.get_trials()[0].user_attrs[LEASE]
    study.set_user_attr("finalist x", value)
    lease.stop()
    release_leases(study, {2**22 + 1})
    assert study.get_trials()[0].state == TrialState.RUNNING
    release_leases(study, {os.getpid()})
    (trial,) = study.get_trials()
    assert trial.state == TrialState.WAITING and trial.user_attrs[LEASE] is None
    assert study.user_attrs["finalist x"] is None


# ---- limits of containers ----


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/a/b", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        ("0::/", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/outside", {"cpu.max": "max 100000"}, float("inf")),
        (
            "3:cpu,cpuacct:/x",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "400000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("3:cpu:/docker/1", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, float("inf")),
        ("2:memory:/x", {"x/cpu.max": "100000 100000"}, float("inf")),
        ("0::/", {"cpu.max": "nonsense"}, float("inf")),
    ],
)
def test_cpu_quota_of_a_container(groups: str, files: dict[str, str], expected: float, tmp_path: Path) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups + "\n")
    for name, text in files.items():
        path = tmp_path / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert cpu_quota(tmp_path) == expected


# ---- the kill series ----


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", mostly_slow(SIGNALS, signal.SIGTERM, signal.SIGKILL))
def test_rendering_continues_after_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    call = [sys.executable, str(ROOT / "explore.py"), "data", "synth", "--train-frames=24", "--test-frames=4"]
    call += ["--val-frames=4", f"--cache={tmp_path / 'cache'}", "--workers=2", "--frame=64"]
    error = run_until(call, tmp_path, number, lambda _: len(list(tmp_path.rglob("*.jpg"))) > 4)
    assert error == [FINISHED] or number == signal.SIGKILL or error[-1].startswith("interrupted; ")
    run_to_its_end(call, tmp_path)
    assert leftovers(tmp_path) == [] and len(list(tmp_path.rglob("dataset.json"))) == 2


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "number", mostly_slow([signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], signal.SIGTERM, signal.SIGKILL)
)
def test_a_video_keeps_its_frames_after_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    encoder = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64))
    for shade in range(600):
        encoder.write(np.full((64, 64, 3), shade % 256, np.uint8))
    encoder.release()
    call = [sys.executable, str(ROOT / "explore.py"), "predict", "v.avi", "--full-image", "--out=out"]

    def has_frames() -> bool:
        return any(path.stat().st_size > 20_000 for path in tmp_path.glob("out/.v-pose.jsonl*"))

    env = environment(tmp_path) | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        call, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not has_frames():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    error = process.communicate(timeout=300)[1]
    lines = tmp_path / "out" / "v-pose.jsonl"
    if number == signal.SIGKILL:
        assert process.returncode == -number and not lines.exists() and leftovers(tmp_path)
        remove_leftovers(tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []
        return
    assert process.returncode == 1 and "results so far are kept" in error and "Traceback" not in error
    assert all(json.loads(line) for line in lines.read_text().splitlines()) and leftovers(tmp_path) == []
    assert (tmp_path / "out" / "v-pose.mp4").stat().st_size > 0


OPENVINO = ("--runtime=openvino", "--runtimes=openvino", "--timeout=1500")  # one conversion of a network, not four
KILLS = {  # of a search: its stage, and the signals that it receives there, each in a run of its own
    "data": (signal.SIGTERM,),
    "reference network": (signal.SIGINT,),
    "candidates": (signal.SIGHUP, signal.SIGKILL),
    "finalists": (signal.SIGKILL, signal.SIGINT),
}


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_search_survives_signals_in_every_stage(tmp_path: Path) -> None:
    rng, call = random.Random(0), command(tmp_path, *OPENVINO, "--trials=3", "--budget=none", *RENDERED)
    for index, (stage, number) in enumerate((stage, number) for stage, numbers in KILLS.items() for number in numbers):
        to_all = index % 3 > 0  # else to the first process only
        error = run_until(call, tmp_path, number, lambda text, at=stage: at in text, to_all, rng.uniform(0, 2))  # type: ignore[misc]
        assert error != [FINISHED], (stage, number)
        if number != signal.SIGKILL:
            assert error[-1] == INTERRUPTED and leftovers(tmp_path) == []
    out = run_to_its_end([*call, "--json"], tmp_path, 1500)
    assert leftovers(tmp_path) == [] and json.loads(out)["exported"]
    found = trials(tmp_path)
    assert sum(trial.state == TrialState.COMPLETE for trial in found) == 3
    assert not [trial for trial in found if trial.state in (TrialState.FAIL, TrialState.RUNNING)]
