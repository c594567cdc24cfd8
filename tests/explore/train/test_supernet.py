"""Supernets: training by the sandwich rule, resuming, checkpoints of other spaces, the bundled supernet."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from arch.elastic import SuperNet
from arch.errors import InputError
from arch.network import PoseNet, build
from arch.search_space import Space
from explore.evaluation.evaluator import Evaluator
from explore.search.config import SearchConfig
from explore.search.supernet import with_supernet
from explore.train import loop
from explore.train.config import TrainConfig
from explore.train.loop import predict, train
from explore.train.supernet import SandwichObjective, calibration_batches, load_supernet, recalibrated, save_supernet
from quantize.checkpoint import save_network
from tests.helpers.supernets import distinct_networks, small_space


@pytest.fixture(scope="module")
def space() -> Space:
    return small_space()


@pytest.fixture(scope="module")
def checkpoint(evaluator: Evaluator, space: Space, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A supernet trained for 320 samples."""
    path = tmp_path_factory.mktemp("supernet") / "super.safetensors"
    made = SuperNet(space, 0)
    config = TrainConfig(samples=320, learning_rate=5e-3, augment="none")
    objective = SandwichObjective(made, config, 0, 1)
    result = train(made.largest, evaluator.train, config, 0, path.with_suffix(".state"), objective=objective)
    save_supernet(path, result.net, space, {})
    return path


def error_mm(evaluator: Evaluator, net: PoseNet) -> float:
    return evaluator.evaluate(predict(net, evaluator.evaluation.images)).mpjpe


def test_subnets_of_a_trained_supernet_beat_untrained_ones(
    evaluator: Evaluator, space: Space, checkpoint: Path
) -> None:
    trained, _ = load_supernet(checkpoint, space)
    made = SuperNet(space, 0)
    batches = calibration_batches(evaluator, 64)
    for arch in (made.smallest, space.sample(random.Random(5)), made.largest):
        before, after = (error_mm(evaluator, recalibrated(net, arch, batches)) for net in (made.net, trained))
        assert after < 0.8 * before


def test_a_stopped_supernet_resumes_with_the_same_weights(
    evaluator: Evaluator, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(samples=64, augment="light")

    def run(state: str, stop_at: int = 0, subnets: int = 2) -> dict[str, torch.Tensor]:
        made = SuperNet(space, 0)

        def progress(done: int, total: int) -> None:
            if done == stop_at:
                raise KeyboardInterrupt

        objective = SandwichObjective(made, config, 3, subnets)
        state_file = tmp_path / state
        result = train(made.largest, evaluator.train, config, 3, state_file, progress=progress, objective=objective)
        return result.net.state_dict()

    full = run("full")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run("part", 40)
    assert (tmp_path / "part").exists()
    with pytest.raises(InputError, match="of another run"):
        run("part", subnets=1)
    for (name, a), b in zip(full.items(), run("part").values(), strict=True):
        assert torch.equal(a, b), name


def test_a_checkpoint_of_another_space_is_rejected_with_the_difference(
    space: Space, checkpoint: Path, tmp_path: Path
) -> None:
    wider = small_space(dimensions={"intermediate_channels": [16, 32, 128]})
    with pytest.raises(
        InputError, match=r"dimensions\.intermediate_channels is 16, 32, 64 there, 16, 32, 128 here"
    ) as caught:
        load_supernet(checkpoint, wider)
    assert "\n" not in str(caught.value) and str(checkpoint) in str(caught.value)
    with pytest.raises(InputError, match=r"base\.concat is skip there, none here"):
        load_supernet(checkpoint, small_space(base={"concat": "none"}))
    save_network(tmp_path / "one.safetensors", build(distinct_networks(space, 1)[0], 0), {})
    with pytest.raises(InputError, match="no supernet"):
        load_supernet(tmp_path / "one.safetensors", space)


def test_a_supernet_of_elastic_is_bundled() -> None:
    config = with_supernet(SearchConfig(space="elastic", estimator="supernet"), False)
    path, space = Path(config.estimate.supernet), Space.named("elastic").at(64)
    assert path.stat().st_size < 20e6
    _, facts = load_supernet(path, space)
    assert facts["samples"] >= 64000 and facts["skipped_steps"] == 0
