"""Sensitivity of steps to INT8, and removal of quantizers from a folded network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from arch.decode import to_crop_mm
from arch.network import PoseNet
from quantize.checkpoint import load_network
from quantize.graph import inference_module
from quantize.qat import strip_quantizers
from quantize.sensitivity import step_costs
from tests.helpers.networks import HEADS, Case


def loaded(case: Case) -> PoseNet:
    return load_network(case.weights, case.arch)[0]


def test_every_step_has_a_cost(case: Callable[[str], Case]) -> None:
    for head in HEADS:
        given = case(head)
        net = loaded(given)
        costs = step_costs(net, given.unseen)
        assert costs.keys() == {node.name for node in given.arch.plan.nodes}
        assert list(costs.values()) == sorted(costs.values(), reverse=True)
        assert all(np.isfinite(mm) for mm in costs.values()) and max(costs.values()) > 0
        with torch.no_grad():
            assert np.array_equal(net.forward_heatmaps(torch.from_numpy(given.unseen)).numpy(), given.raw)


def test_strip_quantizers_computes_the_same(case: Callable[[str], Case]) -> None:
    for head in HEADS:
        given = case(head)
        net = loaded(given)
        module = inference_module(net)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.01)
            expected = module(torch.from_numpy(given.unseen))
            ours = strip_quantizers(module, net).forward_heatmaps(torch.from_numpy(given.unseen))
        assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()
        assert (expected - torch.from_numpy(given.raw)).abs().max() > 1e-3


def test_to_crop_mm() -> None:
    assert np.array_equal(to_crop_mm(np.array([[[0.5, 1.0, 0.0]]])), [[[0, 1000, -1000]]])
