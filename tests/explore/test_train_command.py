"""`train` as a user runs it: killed and run again, from a backbone, watched."""

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
from safetensors.torch import load_file, save_file

from arch.errors import InputError
from arch.network import build
from explore.cli import main
from explore.train.backbone import load_backbone
from explore.train.logs import Logs
from tests.explore.test_train import small

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["--arch", "paper-XS-relu@64", "--dataset.train", "32", "--dataset.test", "6", "--dataset.frame", "64"]


def test_a_killed_run_goes_on_to_the_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = os.environ | {"EDGEPOSE_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    begin = (
        "import sys, torch; torch.set_num_threads(1); from explore.train import loop; loop.CHECKPOINT_SECONDS = 0.0; "
    )
    slow = "import time; save = loop._save; loop._save = lambda *given: (save(*given), time.sleep(0.3)); "
    end = "from explore.cli import main; sys.exit(main(sys.argv[1:]))"

    def command(name: str, code: str = begin + end) -> list[str]:
        options = [*OPTIONS, "--samples", "96", "--ema", "0.9", "--evaluations", "3", "--out", str(tmp_path / name)]
        return [sys.executable, "-c", code, "train", *options]

    assert subprocess.run(command("whole.safetensors"), cwd=ROOT, env=environment, capture_output=True).returncode == 0
    unhurried = command("cut.safetensors", begin + slow + end)  # so that it cannot be done before it is killed
    run = subprocess.Popen(unhurried, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    state = tmp_path / "cut.state"
    while not state.exists():
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL and state.exists()
    done = subprocess.run(command("cut.safetensors"), cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0 and not state.exists()
    whole, cut = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    facts = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "cut")]
    assert facts[0]["loss"] == facts[1]["loss"] and facts[0]["mpjpe_mm"] == facts[1]["mpjpe_mm"]
    assert [row["step"] for row in facts[1]["evaluations"]] == [4, 8, 12]
    assert facts[0]["evaluations"] == facts[1]["evaluations"]


def test_a_run_is_watched_and_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
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


def test_without_tensorboard_logs_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"edgepose\[logs\]"):
        Logs(tmp_path)


def encoder(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v for k, v in net.state_dict().items() if k.startswith(("steps.stem", "steps.stage"))}


@pytest.mark.parametrize("written", ["safetensors", "torch", "foreign names"])
def test_a_backbone_fills_the_encoder_alone(tmp_path: Path, written: str) -> None:
    source, net = build(small(), 1), build(small(), 2)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    weights, path = encoder(source), tmp_path / "backbone"
    if written == "safetensors":
        save_file(weights, path)
    elif written == "torch":
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, path)
    else:
        # counters have no foreign names of their own
        kept = [t for k, t in weights.items() if not k.endswith("num_batches_tracked")]
        torch.save({f"features.{i}": t for i, t in enumerate(kept)} | {"fc": torch.ones(3)}, path)
    assert load_backbone(net, path) > 20
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        wanted = weights[name] if name in weights else before[name]
        assert torch.equal(tensor, wanted), name


def test_backbones_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    net = build(small(), 0)
    path = tmp_path / "b"
    with pytest.raises(InputError, match="no such file"):
        load_backbone(net, path)
    path.write_bytes(b"garbage" * 20)
    with pytest.raises(InputError, match="neither safetensors nor a torch file") as caught:
        load_backbone(net, path)
    assert "\n" not in str(caught.value)
    torch.save(net, path)  # a pickled module, which is never run
    with pytest.raises(InputError, match="neither safetensors nor a torch file") as caught:
        load_backbone(net, path)
    assert "\n" not in str(caught.value)
    save_file(encoder(build(small(width=0.5), 0)), path)
    with pytest.raises(InputError, match=r"steps\.stem.* is \(.*needs \("):
        load_backbone(net, path)
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(InputError, match=r"holds 1 tensors and no steps\.stem"):
        load_backbone(net, path)
    torch.save({"epoch": 3, "optimizer": {}}, path)
    with pytest.raises(InputError, match="more than named tensors"):
        load_backbone(net, path)


def test_replaced_pictures_are_noticed_by_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from explore.config import TrainConfig
    from explore.data import Human36MOptions, open_dataset
    from explore.train import loop
    from tests.explore import layouts

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    layouts.human36m(tmp_path / "set", 8)
    data = open_dataset(f"human36m:{tmp_path / 'set'}", "train", Human36MOptions(train_subjects=(1,)))

    class Stop(Exception):
        pass

    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise Stop

    config = TrainConfig(samples=16, batch=4)
    with pytest.raises(Stop):
        loop.train(small(), data, config, 0, tmp_path / "state", told_loss=stop)
    picture = cv2.imread(str(data.path(0)))
    cv2.imwrite(str(data.path(0)), 255 - picture // 3)
    with pytest.raises(InputError, match="of another run: its data"):
        loop.train(small(), data, config, 0, tmp_path / "state")


def test_sets_of_pictures_alone_are_refused_and_other_joints_fitted(tmp_path: Path, capsys) -> None:
    from tests.explore import layouts

    layouts.mpii(tmp_path / "flat", 8)
    layouts.human36m(tmp_path / "deep", 8)
    layouts.muco(tmp_path / "muco", 8)
    layouts.mupots(tmp_path / "mupots", 4)
    flat, deep = f"mpii:{tmp_path / 'flat'}", f"human36m:{tmp_path / 'deep'}"
    common = ["train", "--arch", "paper-XS-relu@64", "--samples", "8", "--evaluations", "1"]
    common += ["--out", str(tmp_path / "net.safetensors"), "--json"]
    subjects = ["--dataset.train_subjects", "1", "--dataset.test_subjects", "1"]
    assert main([*common, "--data", flat, "--dataset.test_on", deep, *subjects]) == 2
    assert "annotates no depth" in capsys.readouterr().err
    assert main([*common, "--data", f"{deep}+{flat}", *subjects]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == "human36m+mpii"
    assert (
        main([*common, "--data", f"muco:{tmp_path / 'muco'}", "--dataset.test_on", f"mupots:{tmp_path / 'mupots'}"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["data"] == "muco"
    from explore.train.checkpoint import load_network

    assert load_network(tmp_path / "net.safetensors")[0].arch.joints == 21


def test_faulty_samples_are_counted_and_named_in_the_result(tmp_path: Path, capsys) -> None:
    from tests.explore import layouts

    layouts.custom(tmp_path, 200)
    path = tmp_path / "annotations" / "train.json"
    content = json.loads(path.read_text())
    content["annotations"][7]["bbox"][2] = 0
    path.write_text(json.dumps(content))
    picture = tmp_path / "images" / "5.jpg"
    content = json.loads(path.with_name("test.json").read_text())
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 15][:4]
    path.with_name("test.json").write_text(json.dumps(content))
    picture.write_bytes(picture.read_bytes()[:-100])
    (tmp_path / "arch.yaml").write_text(json.dumps(small().model_dump(mode="json")))
    out = tmp_path / "net.safetensors"
    options = ["--samples", "200", "--evaluations", "0", "--out", str(out), "--json"]
    assert main(["train", "--arch", str(tmp_path / "arch.yaml"), "--data", f"custom:{tmp_path}", *options]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["skipped"] == {"box": 1}
    assert len(facts["passed_over"]) == 1 and "5.jpg: the picture is cut off" in facts["passed_over"][0]
