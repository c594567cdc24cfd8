"""Steps without a finite gradient are undone, the first step learns, and weight decay leaves biases and BatchNorm alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from arch.errors import InputError
from arch.network import PoseNet, build
from explore.evaluation.evaluator import Evaluator
from explore.train import loop
from explore.train.config import PRESETS, CandidateConfig, FinalConfig, TrainConfig
from explore.train.loop import CPU, Diverged, Engine, learning_rate, train
from explore.train.state import parameter_groups
from quantize.checkpoint import load_network, load_tensors, save_network
from tests.helpers.training import FaultyObjective, rendered_evaluator, same_weights, tiny_arch


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    torch.set_num_threads(1)
    return rendered_evaluator(tmp_path_factory.mktemp("cache"), 32, 4)


def all_finite(tensors: dict[str, torch.Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        ({}, CPU),
        ({"grad_clip": 0.0}, CPU),
        ({"grad_clip": 0.0, "optimizer": "adam"}, CPU),
        ({"ema_decay": 0.9}, CPU),
        ({}, Engine(precision="bf16")),
    ],
)
def test_a_step_without_a_finite_gradient_changes_nothing(
    evaluator: Evaluator, tmp_path: Path, settings: dict[str, object], engine: Engine
) -> None:
    config = TrainConfig(samples=80, augment="none", **settings)
    faulty = FaultyObjective(config, bad_loss={7}, bad_gradient={3}, huge_gradient={5})
    nets: dict[int, PoseNet] = {}
    result = train(
        tiny_arch(), evaluator.train, config, 0, tmp_path / "state", engine=engine, objective=faulty, evaluations=10,
        evaluate=lambda net, step: nets.update({step: net}),
    )  # fmt: skip
    assert result.skipped_steps == 3 and math.isfinite(result.loss)
    assert all_finite(result.net.state_dict())
    for step in range(2, 10):  # nets[step] is the network after that number of steps
        assert same_weights(nets[step - 1], nets[step]) == (step - 1 in (3, 5, 7)), step


def test_training_stops_after_a_bounded_number_of_bad_steps_with_finite_weights(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(samples=400, batch_size=2, augment="none", ema_decay=0.9)  # a tenth of the steps is 20
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", math.inf)
    state = tmp_path / "state"
    with pytest.raises(Diverged, match=r"state: .*10 of them in a row; lower the learning rate"):
        objective = FaultyObjective(config, bad_gradient=range(2, 400))
        train(tiny_arch(), evaluator.train, config, 0, state, objective=objective)
    tensors, facts = load_tensors(state)
    assert all_finite(tensors) and facts["step"] == 11
    with pytest.raises(Diverged, match="not finite in 2 of 2 steps"):
        config = TrainConfig(samples=4, batch_size=2)
        objective = FaultyObjective(config, bad_gradient=range(2))
        train(tiny_arch(), evaluator.train, config, 0, tmp_path / "short", objective=objective)


def test_weights_that_are_not_finite_are_rejected_wherever_they_are_read(evaluator: Evaluator, tmp_path: Path) -> None:
    net = build(tiny_arch(), 0)
    with torch.no_grad():
        next(net.parameters()).view(-1)[0] = math.nan
    path = tmp_path / "nan.safetensors"
    save_network(path, net)
    for name, call in {"init_from": {"init_from": path}, "backbone": {"backbone": path}}.items():
        with pytest.raises(InputError, match=r"nan\.safetensors: .*: not finite"):
            train(tiny_arch(), evaluator.train, TrainConfig(samples=8), 0, tmp_path / f"{name}.state", **call)
    with pytest.raises(InputError, match=r"nan\.safetensors: .*: not finite"):
        load_network(path)


@pytest.mark.parametrize("steps", [1, 2, 7, 500])
@pytest.mark.parametrize("preset", [{}, PRESETS["paper"], {"warmup": 0.9}, {"schedule": "steps"}])
@pytest.mark.parametrize("model", [TrainConfig, CandidateConfig, FinalConfig])
def test_no_step_has_a_learning_rate_of_0(model: type[TrainConfig], preset: dict[str, object], steps: int) -> None:
    config = model.model_validate(preset)
    rates = [learning_rate(config, step, steps) for step in range(steps)]
    assert min(rates) > 0 and max(rates) <= config.learning_rate
    rising = rates[: max(1, int(config.warmup * steps / 4))]
    assert rising == sorted(rising)


def test_weight_decay_applies_to_weights_of_convolutions_only(evaluator: Evaluator, tmp_path: Path) -> None:
    net = build(tiny_arch(activation="prelu"), 0)
    decayed, others = parameter_groups(net, 0.1)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(others["params"]) == len(names)
    convolutions = {
        id(module.weight) for module in net.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    }
    assert {id(parameter) for parameter in decayed["params"]} == convolutions
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms and all(id(norm.weight) in {id(p) for p in others["params"]} for norm in norms)

    strong = TrainConfig(samples=8, weight_decay=100.0, learning_rate=1e-6, warmup=0.0)  # Adam moves by 1e-6 at most
    trained = train(tiny_arch(), evaluator.train, strong, 0, tmp_path / "state").net
    for (name, before), after in zip(build(tiny_arch(), 0).named_parameters(), trained.parameters(), strict=True):
        old, new = before.detach(), after.detach()
        moved = float((new - old).abs().max())
        assert moved < 2e-6 if old.ndim <= 1 else float(new.norm()) < 0.99995 * float(old.norm()), name
