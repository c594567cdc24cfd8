"""The training loop: the loss falls, a stopped run goes on to the same weights, other networks' files are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from arch.errors import InputError
from arch.network import build
from arch.space import Arch, preset
from explore.cli import main
from explore.config import TrainConfig
from explore.data import Human36MOptions, open_dataset
from explore.data.crop import AUGMENTS, batch_at
from explore.data.sample import Dataset
from explore.data.synthetic.dataset import SyntheticConfig
from explore.judge import Judge
from explore.train import loop
from explore.train.average import Average
from explore.train.checkpoint import load_network, save_network
from explore.train.loader import load_batches
from explore.train.loop import TrainResult, learning_rate, predict, train
from explore.train.loss import pose_loss
from explore.train.recipes import RECIPES, augment_for
from tests.explore import layouts


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


def test_a_stopped_run_goes_on_to_the_same_losses_and_weights(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(samples=96)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 48:
            raise Stop

    def run(
        state: str, progress: Callable[[int, int], None]
    ) -> tuple[TrainResult, list[tuple[int, float]], list[float]]:
        rows: list[tuple[int, float]] = []
        losses: list[float] = []
        result = train(
            small(), judge.train, config, 3, tmp_path / state, progress=progress, evaluations=4, evaluated=rows,
            told_loss=lambda step, loss: losses.append(loss),
            evaluate=lambda net, step: rows.append((step, judge.score(predict(net, judge.evaluation.images)).mpjpe)),
        )  # fmt: skip
        return result, rows, losses

    whole, evaluated, losses = run("whole", lambda done, total: None)
    with pytest.raises(Stop):
        run("part", stop)
    seen: list[int] = []
    resumed, rows, again = run("part", lambda done, total: seen.append(done))
    assert 0 < len(seen) < 12
    assert [step for step, _ in rows] == [3, 6, 9] and rows == evaluated
    assert again == losses[-len(again) :] and resumed.loss == whole.loss
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


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_workers_load_the_same_batches(judge: Judge, tmp_path: Path) -> None:
    arguments = (range(3, 9), 8, 64, AUGMENTS["paper"], 5)
    alone = list(load_batches(judge.train, *arguments))
    for together, one in zip(load_batches(judge.train, *arguments, 2), alone, strict=True):
        assert (together.images == one.images).all() and (together.target == one.target).all()
        assert (together.vis == one.vis).all() and (together.has_depth == one.has_depth).all()
    config = TrainConfig(samples=32)
    nets = [train(small(), judge.train, config, 0, tmp_path / f"{n}", workers=n).net for n in (0, 2)]
    assert same_weights(*nets)


@pytest.mark.parametrize("workers", [0, 1])
def test_faulty_pictures_are_passed_over_or_refused(tmp_path: Path, workers: int) -> None:
    layouts.human36m(tmp_path / "set", 200)
    data = open_dataset(f"human36m:{tmp_path / 'set'}", "train", Human36MOptions(train_subjects=(1,)))
    for index in (3, 7):
        data.path(index).write_bytes(b"")
    config = TrainConfig(samples=200, batch=40)
    result = train(small(), data, config, 0, tmp_path / "state", workers=workers)
    assert len(result.faults) == 2 and all("cut off" in line for line in result.faults)
    for index in range(20, 40):
        data.path(index).write_bytes(b"")
    with pytest.raises(InputError, match=r"cut off.*more of 200 samples so far\); data check") as caught:
        train(small(), data, config, 0, tmp_path / "state", workers=workers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["data", "rate", "seed"])
def test_a_changed_run_does_not_go_on(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    train(small(), judge.train, TrainConfig(samples=16), 0, tmp_path / "state")
    data = replace(judge.train, hash="other") if change == "data" else judge.train
    config = TrainConfig(samples=16, rate=1e-3) if change == "rate" else TrainConfig(samples=16)
    with pytest.raises(InputError, match="of another run: its data, configuration or seed differ"):
        train(small(), data, config, int(change == "seed"), tmp_path / "state")


def test_the_papers_schedule() -> None:
    config = TrainConfig.model_validate(RECIPES["paper"])
    rates = [learning_rate(config, epoch / 25) for epoch in range(25)]
    assert rates == pytest.approx([1e-3] * 17 + [1e-4] * 4 + [1e-5] * 4)
    assert (config.batch, config.optimizer, config.augment, config.heatmap_loss) == (24, "adam", "paper", 0)


def test_only_long_runs_of_ours_are_augmented() -> None:
    assert [augment_for(epochs) for epochs in (0.6, 16.0, 25.0, 100.0)] == ["none", "none", "light", "light"]


def test_the_papers_recipe_is_adam_with_nothing_else(judge: Judge, tmp_path: Path) -> None:
    config = TrainConfig.model_validate(RECIPES["paper"] | {"samples": 72, "augment": "none"})
    got = train(small(), judge.train, config, 1, tmp_path / "state").net
    net = build(small(), 1).to(memory_format=torch.channels_last).train()
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    for step, rate in enumerate((1e-3, 1e-3, 1e-3)):
        adam.param_groups[0]["lr"] = rate
        batch = batch_at(judge.train, step, 24, 64, AUGMENTS["none"], 1)
        raw = net.forward_heatmaps(loop.to_input(batch.images))
        loss = pose_loss(raw, torch.from_numpy(batch.target), torch.from_numpy(batch.vis), net.arch, 0.0)
        adam.zero_grad()
        loss.backward()
        adam.step()
    for (name, a), b in zip(got.state_dict().items(), net.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_averaged_weights_by_hand_and_through_a_stop(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    values, mean = [1.0, 2.0, 5.0], 1.0
    torch.nn.init.constant_(net.weight, values[0])
    average = Average(net, 0.9)
    for step, value in enumerate(values):
        torch.nn.init.constant_(net.weight, value)
        average.update(net, step)
        decay = min(0.9, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * value
    average.copy_to(net)
    assert float(net.weight.detach()) == pytest.approx(mean)

    config = TrainConfig(samples=64, ema=0.9)
    whole = train(small(), judge.train, config, 3, tmp_path / "whole").net
    assert not same_weights(whole, train(small(), judge.train, TrainConfig(samples=64), 3, tmp_path / "plain").net)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    def stop(done: int, total: int) -> None:
        if done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small(), judge.train, config, 3, tmp_path / "part", progress=stop)
    assert same_weights(whole, train(small(), judge.train, config, 3, tmp_path / "part").net)


def test_the_flip_test_answers_a_mirrored_picture_alike(judge: Judge) -> None:
    net, order = build(small(), 0), judge.test.skeleton.flip_order
    crops = judge.evaluation.images[:4]
    plain = predict(net, crops, flip_order=order)
    mirrored = predict(net, np.ascontiguousarray(crops[:, :, ::-1]), flip_order=order)[:, order]
    mirrored[..., 0] = 1 - mirrored[..., 0]
    np.testing.assert_allclose(mirrored, plain, atol=1e-5)
    assert np.abs(plain - predict(net, crops)).max() > 1e-3


def test_a_mix_of_2d_and_3d_trains(tmp_path: Path) -> None:
    layouts.human36m(tmp_path / "a", 4)
    layouts.mpii(tmp_path / "b", 4)
    data = open_dataset(
        f"human36m:{tmp_path / 'a'}+mpii:{tmp_path / 'b'}", "train", Human36MOptions(train_subjects=(1,))
    )
    result = train(small(), data, TrainConfig(samples=32), 0, tmp_path / "state")
    assert np.isfinite(result.loss) and result.skipped_steps == 0


def test_the_command_writes_its_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.human36m(tmp_path / "set", 6)
    layouts.mpii(tmp_path / "mpii", 6)
    (tmp_path / "arch.yaml").write_text(yaml.safe_dump(small().model_dump(mode="json")))
    out = tmp_path / "net.safetensors"
    arguments = ["train", "--arch", str(tmp_path / "arch.yaml"), "--recipe", "paper", "--batch", "4", "--epochs", "1",
                 "--data", f"human36m:{tmp_path / 'set'}+mpii:{tmp_path / 'mpii'}", "--dataset.train_subjects", "1",
                 "--dataset.test_subjects", "9", "--dataset.protocol", "1", "--flip-test", "--out", str(out),
                 "--json"]  # fmt: skip
    assert main(arguments) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["samples"] == 12
    written = json.loads(out.with_suffix(".json").read_text())
    assert (
        written["test"] == "human36m" and written["protocol"] == 1 and set(written["per_action_mm"]) == {"Directions"}
    )
    assert written["config"]["optimizer"] == "adam" and written["flip_test"] and written["params"] > 1000
    assert out.is_file() and not out.with_suffix(".state").exists()
