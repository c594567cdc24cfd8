"""The `train` command: results, resuming after a kill, monitoring, data options, deprecated options, supernets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import torch
import yaml
from safetensors.torch import load_file

from arch.errors import InputError
from explore.cli import main
from explore.train.monitor import open_tensorboard
from quantize.checkpoint import load_network
from tests.helpers import ROOT, layouts
from tests.helpers.supernets import space_file
from tests.helpers.training import tiny_arch

OPTIONS = [
    "--arch", "paper-XS-relu@64", "--dataset.train-frames", "32", "--dataset.test-frames", "6", "--dataset.frame", "64",
]  # fmt: skip


def arch_file(folder: Path) -> str:
    path = folder / "arch.yaml"
    path.write_text(yaml.safe_dump(tiny_arch().model_dump(mode="json")))
    return str(path)


def test_the_command_writes_checkpoint_and_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.human36m(tmp_path / "set", 6)
    layouts.mpii(tmp_path / "mpii", 6)
    out = tmp_path / "net.safetensors"
    arguments = ["train", "--arch", arch_file(tmp_path), "--preset", "paper", "--batch-size", "4", "--epochs", "1",
                 "--data", f"human36m:{tmp_path / 'set'}+mpii:{tmp_path / 'mpii'}", "--dataset.train-subjects", "1",
                 "--dataset.test-subjects", "9", "--dataset.protocol", "1", "--flip-test", "--out", str(out),
                 "--json"]  # fmt: skip
    assert main(arguments) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["samples"] == 12
    written = json.loads(out.with_suffix(".json").read_text())
    assert written["test"] == "human36m" and set(written["per_action_mm"]) == {"Directions"}
    assert written["protocol"] is None and written["test_note"].endswith(
        "tested on S9; annotated boxes and root depths"
    )
    assert written["config"]["optimizer"] == "adam" and written["flip_test"] and written["params"] > 1000
    assert out.is_file() and not out.with_suffix(".state").exists()


@pytest.mark.slow
def test_options_of_version_0_1_work_with_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    out, first = tmp_path / "net.safetensors", tmp_path / "first.safetensors"
    common = ["train", *OPTIONS, "--samples", "8", "--evaluations", "0", "--json"]
    assert main([*common, "--lr", "0.001", "--out", str(first)]) == 0
    printed = capsys.readouterr()
    assert "note:" not in printed.err and json.loads(printed.out)["config"]["learning_rate"] == 0.001
    old = ["--start", str(first), "--recipe", "paper", "--rate", "0.002", "--batch", "4", "--clip", "2", "--ema", "0.5"]
    assert main([*common, *old, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    facts = json.loads(printed.out)
    assert facts["preset"] == "paper" and facts["config"]["learning_rate"] == 0.002
    assert [facts["config"][key] for key in ("batch_size", "grad_clip", "ema_decay")] == [4, 2.0, 0.5]
    for name, new in (("--start", "--init-from"), ("--recipe", "--preset"), ("--rate", "--learning-rate")):
        assert f"note: {name} is now called {new}" in printed.err


@pytest.mark.slow
def test_a_killed_run_resumes_with_the_same_result(tmp_path: Path) -> None:
    environment = os.environ | {"EDGEPOSE_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    begin = (
        "import sys, time, torch; torch.set_num_threads(1); from explore.train import loop, state; "
        "loop.CHECKPOINT_SECONDS = 0.0; "
    )
    slow = (
        "State = state.TrainingState; save = State.save; State.save = lambda *given: (save(*given), time.sleep(0.3)); "
    )
    end = "from explore.cli import main; sys.exit(main(sys.argv[1:]))"

    def command(name: str, code: str = begin + end) -> list[str]:
        options = ["--samples", "96", "--ema-decay", "0.9", "--evaluations", "3", "--out", str(tmp_path / name)]
        return [sys.executable, "-c", code, "train", *OPTIONS, *options]

    assert subprocess.run(command("full.safetensors"), cwd=ROOT, env=environment, capture_output=True).returncode == 0
    slowed = command("cut.safetensors", begin + slow + end)  # so that the run cannot end before it is killed
    run = subprocess.Popen(slowed, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    state = tmp_path / "cut.state"
    while not state.exists():
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL and state.exists()
    done = subprocess.run(command("cut.safetensors"), cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0 and not state.exists()
    full, cut = (load_file(tmp_path / f"{name}.safetensors") for name in ("full", "cut"))
    assert all(torch.equal(full[name], cut[name]) for name in full)
    facts = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("full", "cut")]
    assert facts[0]["loss"] == facts[1]["loss"] and facts[0]["mpjpe_mm"] == facts[1]["mpjpe_mm"]
    assert [row["step"] for row in facts[1]["evaluations"]] == [4, 8, 12]
    assert facts[0]["evaluations"] == facts[1]["evaluations"]


def test_a_run_is_monitored_and_summarised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    pytest.importorskip("tensorboard", reason="logs need edgepose[logs]")
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    out = tmp_path / "net.safetensors"
    options = ["--samples", "32", "--evaluations", "2", "--precision", "bf16", "--logs", str(tmp_path / "logs")]
    assert main(["train", *OPTIONS, *options, "--device", "cpu", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "MPJPE" in printed.out and "worst" in printed.out and "step 2: test error" in printed.err
    facts = json.loads(out.with_suffix(".json").read_text())
    assert [row["step"] for row in facts["evaluations"]] == [2, 4]
    assert facts["config"]["augment"] == "none"  # one epoch
    assert facts["evaluations"][-1]["mpjpe_mm"] == pytest.approx(facts["mpjpe_mm"], abs=0.01)
    sheets = sorted((tmp_path / "net-sheets").iterdir())
    assert len(sheets) == 2 and all(cv2.imread(str(sheet)) is not None for sheet in sheets)

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]
    assert [event.value for event in events.Scalars("test/mpjpe_mm")][-1] == pytest.approx(facts["mpjpe_mm"], rel=1e-4)
    assert len(events.Images("test/predictions")) == 2


def test_initial_weights_are_evaluated_before_the_first_step(tmp_path: Path, capsys) -> None:
    layouts.custom(tmp_path / "set", 8)
    first, out = tmp_path / "first.safetensors", tmp_path / "net.safetensors"
    call = ["train", "--arch", arch_file(tmp_path), "--data", f"custom:{tmp_path / 'set'}", "--evaluations", "1"]
    assert main([*call, "--samples", "16", "--out", str(first)]) == 0
    assert "step 0:" not in capsys.readouterr().err
    assert main([*call, "--samples", "8", "--init-from", str(first), "--out", str(out)]) == 0
    start, trained = (json.loads(path.with_suffix(".json").read_text()) for path in (first, out))
    assert f"step 0: test error: MPJPE {start['mpjpe_mm']:.1f} mm" in capsys.readouterr().err
    assert [row["step"] for row in trained["evaluations"]] == [0, 1]
    assert trained["evaluations"][0]["mpjpe_mm"] == pytest.approx(start["mpjpe_mm"], abs=0.01)


def test_a_missing_tensorboard_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"edgepose\[logs\]"):
        open_tensorboard(tmp_path)


def test_2d_data_alone_is_rejected_and_the_number_of_joints_follows_the_data(tmp_path: Path, capsys) -> None:
    layouts.mpii(tmp_path / "flat", 8)
    layouts.human36m(tmp_path / "deep", 8)
    layouts.muco(tmp_path / "muco", 8)
    layouts.mupots(tmp_path / "mupots", 4)
    flat, deep = f"mpii:{tmp_path / 'flat'}", f"human36m:{tmp_path / 'deep'}"
    muco, mupots = f"muco:{tmp_path / 'muco'}", f"mupots:{tmp_path / 'mupots'}"
    common = ["train", "--arch", "paper-XS-relu@64", "--samples", "8", "--evaluations", "1"]
    common += ["--out", str(tmp_path / "net.safetensors"), "--json"]
    subjects = ["--dataset.train-subjects", "1", "--dataset.test-subjects", "9"]
    assert main([*common, "--data", flat]) == 2
    assert "annotates no depth; put a 3D set before it" in capsys.readouterr().err
    assert main([*common, "--data", f"{deep}+{flat}", *subjects]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == "human36m+mpii"
    assert main([*common, "--data", muco, "--dataset.test-on", mupots]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == "muco"
    assert load_network(tmp_path / "net.safetensors")[0].arch.num_joints == 21


def test_faulty_samples_and_useless_options_are_named(tmp_path: Path, capsys) -> None:
    layouts.custom(tmp_path, 200)
    path = tmp_path / "annotations" / "train.json"
    content = json.loads(path.read_text())
    content["annotations"][7]["bbox"][2] = 0
    path.write_text(json.dumps(content))
    image = tmp_path / "images" / "5.jpg"
    content = json.loads(path.with_name("test.json").read_text())
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 15][:4]
    path.with_name("test.json").write_text(json.dumps(content))
    image.write_bytes(image.read_bytes()[:-100])
    out = tmp_path / "net.safetensors"
    options = ["--samples", "200", "--evaluations", "0", "--dataset.val-subjects=1", "--out", str(out)]
    assert main(["train", "--arch", arch_file(tmp_path), "--data", f"custom:{tmp_path}", *options]) == 0
    assert "note: dataset.val_subjects: recorded for export --max-drop; " in capsys.readouterr().err
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["skipped"] == {"box": 1}
    assert len(facts["passed_over"]) == 1 and "5.jpg: the image is cut off" in facts["passed_over"][0]


def test_the_supernet_option_trains_a_supernet_that_a_search_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "super.safetensors"
    frames = ["--dataset.train-frames=24", "--dataset.val-frames=8", "--dataset.test-frames=8"]
    call = ["train", "--supernet", str(space_file(tmp_path)), "--samples=32", *frames]
    assert main([*call, "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["subnets"]) == 5 and found["samples"] == 32 and out.is_file()
    assert not out.with_suffix(".state").exists()
    search = ["search", "--estimator=supernet", f"--results={tmp_path}", "--study=s", f"--estimate.supernet={out}"]
    assert main([*search, "--space=elastic"]) == 2
    assert "another space" in capsys.readouterr().err and not (tmp_path / "s" / "candidates").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--supernet", "mobile", "--samples=32"], "dimensions.encoder"),
        (["--supernet", "elastic", "--epochs=2"], "--epochs: has no effect with --supernet"),
        (["--supernet", "elastic", "--preset=paper"], "--preset: has no effect with --supernet"),
        (["--supernet", "elastic", "--evaluations=2"], "--evaluations: has no effect with --supernet"),
        (["--supernet", "elastic", "--config=FILE"], "--teacher: has no effect with --supernet"),
        (["--arch", "paper-XS-relu", "--subnets=1"], "--subnets: has no effect with --arch"),
        (["--arch", "paper-XS-relu", "--init-from=a", "--backbone=b"], "--backbone: has no effect with --init-from"),
        (["--arch", "paper-XS-relu", "--epochs=2", "--samples=8"], "--samples: has no effect with --epochs"),
        (["--arch", "paper-XS-relu", "--input-size=64"], "--input-size: has no effect with --arch"),
    ],
)
def test_useless_combinations_are_rejected_in_one_line(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("teacher: net.safetensors\n")
    assert main(["train", *(text.replace("FILE", str(tmp_path / "config.yaml")) for text in arguments)]) == 2
    line = capsys.readouterr().err.strip()
    assert expected in line and "\n" not in line


def test_a_file_has_any_key_and_options_take_precedence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.human36m(tmp_path / "set", 8)
    out, file = tmp_path / "net.safetensors", tmp_path / "run.yaml"
    subjects = "dataset: {protocol: 1, train_subjects: [1], test_subjects: [9]}"
    text = f"preset: paper\ndata: human36m:{tmp_path / 'set'}\n{subjects}\nrate: 0.002\nsamples: 9999\nout: {out}\n"
    file.write_text(text)
    call = f"train --arch paper-XS-relu@64 --config {file} --evaluations 0 --samples 24 --json".split()
    assert main(call) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["checkpoint"] == str(out) and found["samples"] == 24
    assert (found["preset"], found["config"]["learning_rate"], found["config"]["augment"]) == ("paper", 0.002, "paper")
    file.write_text(f"{text}dataset.protocol: 1\n")
    assert main(call) == 2
    assert "run.yaml: dataset.protocol: unknown key" in capsys.readouterr().err
