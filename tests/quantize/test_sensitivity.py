"""Steps ranked by what 8 bits cost them, and the way back from a folded network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from arch.network import PoseNet, build
from quantize.graph import inference_module
from quantize.qat import folded_back
from quantize.sensitivity import step_costs
from quantize.weights import load_weights
from tests.quantize.conftest import HEADS, Case


def loaded(case: Case) -> PoseNet:
    net = build(case.arch).eval()
    load_weights(net, case.weights)
    return net


def test_every_step_costs_something(case: Callable[[str], Case]) -> None:
    for head in HEADS:
        given = case(head)
        net = loaded(given)
        costs = step_costs(net, given.unseen)
        assert costs.keys() == {node.name for node in given.arch.plan.nodes}
        assert list(costs.values()) == sorted(costs.values(), reverse=True)
        assert all(np.isfinite(mm) for mm in costs.values()) and max(costs.values()) > 0
        with torch.no_grad():
            assert np.array_equal(net.forward_heatmaps(torch.from_numpy(given.unseen)).numpy(), given.raw)


def test_folded_network_comes_back(case: Callable[[str], Case]) -> None:
    for head in HEADS:
        given = case(head)
        net = loaded(given)
        module = inference_module(net)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.01)
            expected = module(torch.from_numpy(given.unseen))
            ours = folded_back(module, net).forward_heatmaps(torch.from_numpy(given.unseen))
        assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()
        assert (expected - torch.from_numpy(given.raw)).abs().max() > 1e-3
