"""`train` resumes from the state of the same call only; layers without weights, initial weights and settings count."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from arch.network import build
from explore.cli import main
from explore.train import loop, monitor
from quantize.checkpoint import load_network, save_network
from tests.helpers.training import tiny_arch


class Stop(BaseException):  # the guard of `main` turns any Exception into a line
    pass


def arch_file(path: Path, **changes: object) -> str:
    path.write_text(yaml.safe_dump(tiny_arch(**changes).model_dump(mode="json")))
    return str(path)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the command of a run that was stopped after two of four steps; its state is in net.state."""
    torch.set_num_threads(1)
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    save_network(tmp_path / "first.safetensors", build(tiny_arch(), 1))
    command = [
        "train", "--arch", arch_file(tmp_path / "arch.yaml"), "--init-from", str(tmp_path / "first.safetensors"),
        "--dataset.train-frames", "16", "--dataset.test-frames", "4", "--dataset.frame", "64", "--samples", "32",
        "--evaluations", "2", "--out", str(tmp_path / "net.safetensors"),
    ]  # fmt: skip

    def on_loss(self: monitor.TrainingMonitor, step: int, loss: float) -> None:
        if step == 3:
            raise Stop

    with monkeypatch.context() as stopping:
        stopping.setattr(monitor.TrainingMonitor, "on_loss", on_loss)
        with pytest.raises(Stop):
            main(command)
    return command


def test_the_state_of_another_call_is_rejected_and_the_same_call_resumes(
    stopped: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "net.state"
    kept = state.read_bytes()
    for seed, activation in ((2, "relu"), (1, "hardswish")):
        save_network(tmp_path / f"{activation}.safetensors", build(tiny_arch(activation=activation), seed))
    save_network(tmp_path / "nearest.safetensors", build(tiny_arch(upsample="nearest"), 1))
    changes = {
        "arch.activation is relu there, hardswish here": [
            "--arch", arch_file(tmp_path / "b.yaml", activation="hardswish"),
            "--init-from", str(tmp_path / "hardswish.safetensors"),
        ],
        "arch.upsample is half_pixel there, nearest here": [
            "--arch", arch_file(tmp_path / "c.yaml", upsample="nearest"),
            "--init-from", str(tmp_path / "nearest.safetensors"),
        ],
        "init_from is ": ["--init-from", str(tmp_path / "relu.safetensors")],
        "settings.augment is none there, paper here": ["--augment", "paper"],
        "settings.samples is 32 there, 40 here": ["--samples", "40"],
        "seed is 0 there, 3 here": ["--seed", "3"],
        "precision is f32 there, bf16 here": ["--precision", "bf16"],
        "preset is ours there, paper here": ["--preset", "paper"],
        "data.annotations is ": ["--dataset.train-frames", "17"],
        "test_data.annotations is ": ["--dataset.test-frames", "5"],
    }  # fmt: skip
    capsys.readouterr()
    for expected, options in changes.items():
        assert main([*stopped, *options]) == 2, expected
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{state}: state of another run: " in line and "delete the file to start again" in line
        if not expected.startswith("preset"):  # it changes many settings
            assert expected in line, line
        assert state.read_bytes() == kept
    assert main(stopped) == 0 and not state.exists()
    resumed = load_network(tmp_path / "net.safetensors")[0]
    assert main(stopped) == 0
    whole = load_network(tmp_path / "net.safetensors")[0]
    assert all(
        torch.equal(a, b) for a, b in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True)
    )


def test_outputs_that_the_state_or_the_result_would_overwrite_are_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("net.state", "net.json"):
        assert main(["train", "--arch", "paper-XS@64", "--out", name]) == 2
        assert f"--out {name}: " in capsys.readouterr().err
