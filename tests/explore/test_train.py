"""The training loop: the loss falls, a stopped run goes on to the same weights, other networks' files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from arch.errors import InputError
from arch.network import build
from arch.space import Arch, preset
from explore.config import TrainConfig
from explore.data import open_dataset
from explore.data.sample import Dataset
from explore.data.synthetic.dataset import SyntheticConfig
from explore.judge import Judge
from explore.train import loop
from explore.train.checkpoint import load_network, save_network
from explore.train.loop import predict, train
from explore.train.loss import pose_loss


def small(**changes: object) -> Arch:
    return preset("paper-XS-relu@64").replace(
        **{"width": 0.25, "inter": 64, "decoder_width": 32, "depths": (1,) * 7} | changes
    )


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    torch.set_num_threads(1)
    config = SyntheticConfig(level="easy", size=96, train=64, test=16)
    cache = tmp_path_factory.mktemp("cache")
    parts: list[Dataset] = [open_dataset("synthetic:easy", split, config, cache=cache) for split in ("train", "test")]
    return Judge(parts[0], parts[1], 64)


@pytest.mark.parametrize("head", ["volumetric", "depthmap", "simcc"])
def test_loss_falls_and_error_beats_the_untrained_network(judge: Judge, head: str, tmp_path: Path) -> None:
    arch = small(head=head)
    config = TrainConfig(samples=480, rate=5e-3, augment="none")
    start = judge.score(predict(build(arch, 0), judge.evaluation.images)).mpjpe
    result = train(arch, judge.train, config, 0, tmp_path / "state")
    end = judge.score(predict(result.net, judge.evaluation.images)).mpjpe
    assert end < 0.8 * start


def test_a_stopped_run_goes_on_to_the_same_weights(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(samples=96)
    whole = train(small(), judge.train, config, 3, tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 48:
            raise Stop

    with pytest.raises(Stop):
        train(small(), judge.train, config, 3, tmp_path / "part", progress=stop)
    seen: list[int] = []
    resumed = train(small(), judge.train, config, 3, tmp_path / "part", progress=lambda done, total: seen.append(done))
    assert 0 < len(seen) < 12
    for (name, a), b in zip(whole.net.state_dict().items(), resumed.net.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_checkpoints_of_other_networks_and_broken_files_are_refused(tmp_path: Path) -> None:
    net = build(small(), 0)
    save_network(tmp_path / "net.safetensors", net, {})
    loaded, _ = load_network(tmp_path / "net.safetensors", net.arch)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded(x), net.eval()(x))
    with pytest.raises(InputError, match="arch"):
        load_network(tmp_path / "net.safetensors", small(inter=128))
    whole = (tmp_path / "net.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"half\.safetensors"):
        load_network(tmp_path / "half.safetensors")
    with pytest.raises(InputError, match="no such checkpoint"):
        load_network(tmp_path / "none.safetensors")


def test_a_right_answer_costs_less_than_a_wrong_one() -> None:
    arch = small()
    target = torch.full((1, arch.joints, 3), 0.5)
    seen = torch.ones(1, arch.joints)
    right = torch.full((1, arch.joints, arch.depth_bins, arch.heatmap, arch.heatmap), -10.0)
    middle = arch.heatmap // 2
    right[:, :, middle - 1 : middle + 1, middle - 1 : middle + 1, middle - 1 : middle + 1] = 10.0
    wrong = right.roll(3, dims=4)
    shape = (1, -1, arch.heatmap, arch.heatmap)
    good = pose_loss(right.reshape(shape), target, seen, arch, 0.1)
    bad = pose_loss(wrong.reshape(shape), target, seen, arch, 0.1)
    assert good < bad
    assert np.isclose(float(pose_loss(right.reshape(shape), target, seen, arch, 0.0)), 0.0, atol=1e-4)
    hidden = pose_loss(wrong.reshape(shape), target, torch.zeros_like(seen), arch, 0.1)
    assert float(hidden) == 0.0
