"""The main job, end to end as a user runs it: whole, killed and resumed, on real frames, with wrong input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import optuna
import pytest

from explore.cli import main
from explore.report.tables import read_table
from tests.helpers import ROOT, mostly_slow
from tests.helpers.search import RENDERED, command, environment, run_command, trials

REAL = ROOT.parent / "shared" / "data" / "human36m"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real frames at {REAL}")
pytestmark = pytest.mark.timeout(3000)


def test_killed_twice_it_finishes_every_trial_once(tmp_path: Path) -> None:
    call = command(tmp_path, "--trials=5", "--finalists=1", *RENDERED)
    before: dict[Path, int] = {}
    for finished in (1, 3):
        process = subprocess.Popen(
            call, cwd=tmp_path, env=environment(tmp_path), start_new_session=True, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 900
        while len(list(tmp_path.glob("s/candidates/*/result.json"))) < finished and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(1.0)  # the workers' converters end with them
        results = {path: path.stat().st_mtime_ns for path in tmp_path.glob("s/candidates/*/result.json")}
        assert before.items() <= results.items()
        before = results
    done = subprocess.run(call, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    assert "died" not in done.stderr, "a worker died"
    results = {path: path.stat().st_mtime_ns for path in tmp_path.glob("s/candidates/*/result.json")}
    assert before.items() <= results.items(), "a finished candidate was evaluated again"
    finished_trials = [t for t in trials(tmp_path) if t.state == optuna.trial.TrialState.COMPLETE]
    assert len(finished_trials) == 5
    assert len({t.user_attrs["arch"] for t in finished_trials}) == 5
    assert not [t for t in trials(tmp_path) if t.state == optuna.trial.TrialState.RUNNING]

    folder = tmp_path / "s"
    rows = read_table(folder / "trials.csv")
    assert sum(row["state"] == "complete" for row in rows) == 5
    front = read_table(folder / "front.csv")
    assert {row["runtime"] for row in front} == {"litert", "openvino"}
    for row in front:
        manifest = json.loads((folder / row["bundle"] / "manifest.json").read_text())
        assert manifest["metrics"]["mpjpe_mm"] == pytest.approx(float(row["mpjpe_mm"]))
        assert manifest["recipe"]["name"] == "int8-static"
        assert float(row["latency_ms"]) > 0
    for name in ("README.md", "front.png", "config.yaml", "index.html", "page/study.json", "page/people.json"):
        assert (folder / name).stat().st_size > 500

    again = subprocess.run(call, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=1500)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("s/candidates/*/result.json")} == results


@needs_real
@pytest.mark.slow
def test_real_frames_go_the_same_way(tmp_path: Path) -> None:
    options = (
        f"--data=human36m:{REAL}", "--dataset.train-subjects=1,5,7", "--dataset.test-subjects=8", "--trials=2",
        "--finalists=1", "--runtimes=litert", "--json",
    )  # fmt: skip
    done = run_command(tmp_path, *options, timeout=1500)
    assert done.returncode == 0, done.stderr
    assert "died" not in done.stderr, "a worker died"
    found = json.loads(done.stdout)
    assert found["mean_pose_mm"] > 0
    assert [row["recipe"] for row in found["exported"]] == ["int8-static"]


@needs_real
@pytest.mark.parametrize("fault", mostly_slow(["annotation", "jpeg"], "jpeg"))
def test_damaged_real_data_is_named_and_ends_the_search(fault: str, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(REAL, copy, copy_function=shutil.copyfile)
    pattern = "annotations/*subject5_data.json" if fault == "annotation" else "images/s_05*/*.jpg"
    damaged = next(copy.glob(pattern))
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    options = (
        f"--data=human36m:{copy}",
        "--dataset.train-subjects=1,5,7",
        "--dataset.test-subjects=8",
        "--trials=2",
        "--runtime=onnxruntime",
    )
    done = run_command(tmp_path, *options, timeout=1500)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and damaged.name in lines[0], done.stderr
    assert "Traceback" not in done.stderr


WRONG = {
    "unknown option": (["--trails=3"], "--trails"),
    "no number": (["--trials=many"], "trials"),
    "below the least": (["--trials=0"], "trials"),
    "unknown space": (["--space=nowhere"], "space"),
    "unknown runtime": (["--runtime=tensorrt"], "runtime"),
    "unknown recipe": (["--quantization=int3"], "quantization"),
    "unknown data": (["--data=imagenet:/x"], "data"),
    "unknown storage": (["--storage=mysql://x/y"], "storage"),
    "no such folder": (["--data=human36m:/nowhere"], "/nowhere"),
    "odd input size": (["--input-size=100"], "input"),
    "unknown key of a file": (
        ["--config=wrong.yaml"],
        "wrong.yaml: candidate.sample: unknown key; did you mean 'samples'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_leaves_nothing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options, word = WRONG[case]
    (tmp_path / "wrong.yaml").write_text("trials: 3\ncandidate: {sample: 10}\n")
    assert main(["search", "--results=results", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and word in line
    assert not (tmp_path / "results").exists()
