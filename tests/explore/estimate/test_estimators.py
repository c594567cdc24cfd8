"""Estimators: the contract of all, and the decisions of each."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from arch.cost import cost
from arch.elastic import SuperNet, inherit
from arch.errors import InputError
from arch.network import build
from arch.search_space import Space
from explore.estimate import ESTIMATORS, EstimatorContext, TrainedNetwork, make
from explore.estimate.config import EstimateConfig
from explore.estimate.predictor import fit, may_improve_front
from explore.estimate.short import in_better_half
from explore.evaluation.evaluator import Evaluator
from explore.train.config import TrainConfig
from explore.train.loop import predict
from explore.train.supernet import save_supernet
from quantize.checkpoint import load_network, save_network
from tests.helpers.supernets import distinct_networks, small_space, space_file
from tests.helpers.training import rendered_evaluator

FULL = TrainConfig(samples=64, augment="none")


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    torch.set_num_threads(1)
    return rendered_evaluator(tmp_path_factory.mktemp("cache"), train=48)


@pytest.fixture(scope="module")
def space() -> Space:
    return small_space()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_returns_error_noise_cost_and_weights(
    name: str, evaluator: Evaluator, space: Space, tmp_path: Path
) -> None:
    *others, arch = distinct_networks(space, 9)
    finished = []
    for index, other in enumerate(others):
        path = tmp_path / f"{other.id}.safetensors"
        save_network(path, build(other, 0), {})
        finished.append(TrainedNetwork(other, 150.0 - index, path))
    supernet = tmp_path / "super.safetensors"
    save_supernet(supernet, SuperNet(space, 0).net, space, {})
    options = EstimateConfig(samples=16, supernet=str(supernet), space=str(space_file(tmp_path)))
    totals: set[int] = set()
    context = EstimatorContext(
        evaluator, FULL, options, 0, lambda: finished, progress=lambda done, total: totals.add(total)
    )
    found = make(name, context).estimate(arch, tmp_path / "study" / arch.id)
    assert math.isfinite(found.mpjpe_mm) and found.noise_mm > 0 and found.cpu_seconds > 0
    if found.weights is not None:
        net, _ = load_network(found.weights, arch)
        error = evaluator.evaluate(predict(net, evaluator.evaluation.images)).mpjpe
        assert error == pytest.approx(found.mpjpe_mm, abs=0.01)
    assert found.in_full == (totals == {64})
    expected = {"full": {64}, "short": {16}, "inherit": {16}, "supernet": set()}
    assert totals == expected.get(name, totals)


def test_a_supernet_for_other_joints_is_rejected(evaluator: Evaluator, tmp_path: Path) -> None:
    space = small_space(base={"num_joints": 17})
    save_supernet(tmp_path / "super.safetensors", SuperNet(space, 0).net, space, {})
    options = EstimateConfig(supernet=str(tmp_path / "super.safetensors"), space=str(space_file(tmp_path)))
    with pytest.raises(InputError, match=r"super\.safetensors: num_joints: 17, but data .* has 18 joints"):
        make("supernet", EstimatorContext(evaluator, FULL, options, 0))
    with pytest.raises(InputError, match=r"estimate\.supernet: none given"):
        make("supernet", EstimatorContext(evaluator, FULL, options.model_copy(update={"supernet": ""}), 0))


def test_short_runs_continue_in_the_better_half_by_non_dominated_rank() -> None:
    peers = [(100.0, 4.0), (110.0, 3.0), (120.0, 4.0), (130.0, 5.0), (140.0, 6.0)]
    assert [in_better_half(peers, own) for own in peers] == [True, True, True, False, False]
    assert not in_better_half(peers[:3], peers[0])


def test_inheritance_copies_the_weights_that_two_networks_share(space: Space) -> None:
    small, large = SuperNet(space, 0).smallest, SuperNet(space, 0).largest
    donor = build(large, 5).eval()
    child = inherit(donor, small, 0)
    same = inherit(donor, large, 1).state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in donor.state_dict().items())
    weight, donated = (net.steps["inter"][0][0].conv.weight for net in (child, donor))
    assert torch.equal(weight, donated[: weight.shape[0], : weight.shape[1]])
    grown = inherit(child, large, 0)
    back = inherit(grown, small, 1)
    assert all(torch.equal(a, b) for a, b in zip(back.state_dict().values(), child.state_dict().values(), strict=True))


def test_the_predictor_ranks_networks_and_is_less_certain_far_from_its_data(space: Space) -> None:
    archs = distinct_networks(space, 14)
    truth = np.array(
        [200 - 12 * math.log2(cost(arch).macs / 1e5) + 3 * (arch.intermediate_channels == 16) for arch in archs]
    )
    left_out = []
    for index, arch in enumerate(archs):
        model = fit([*archs[:index], *archs[index + 1 :]], list(np.delete(truth, index)))
        left_out.append(model.predict([arch])[0][0])
    assert kendalltau(left_out, truth).statistic > 0.7
    model = fit(archs[:13], list(truth[:13]))
    near = model.predict([archs[0]])[1][0]
    far = model.predict([archs[0].replace(width=2.0, intermediate_channels=1024)])[1][0]
    assert near < far


def test_the_predictor_trains_networks_that_may_improve_the_front(space: Space, tmp_path: Path) -> None:
    cheap, expensive = sorted((SuperNet(space, 0).smallest, SuperNet(space, 0).largest), key=lambda a: cost(a).macs)
    finished = [TrainedNetwork(cheap, 100.0, tmp_path)]
    assert not may_improve_front(expensive, 110.0, 5.0, 1.0, finished)
    assert may_improve_front(expensive, 104.0, 5.0, 1.0, finished)
    assert may_improve_front(cheap, 110.0, 5.0, 1.0, [TrainedNetwork(expensive, 100.0, tmp_path)])
