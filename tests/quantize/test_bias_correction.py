"""Contract of the bias correction of depths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from arch.heads import HEADS as REGISTRY
from quantize import bias_correction, runtimes
from quantize.bias_correction import correct_depths
from quantize.checkpoint import load_network
from quantize.graph import depth_rows, inference_module
from quantize.recipes import recipe
from tests.helpers.networks import HEADS, Case
from tests.helpers.runtimes import ALL

Cases = Callable[[str], Case]
OPTIONS = {"weight_range": "minmax", "weight_granularity": "channel"}
INT8 = recipe("int8-static")


def depths(raw: np.ndarray, joints: int) -> np.ndarray:
    """Return the depths (N, J) of raw outputs of a 2.5D head."""
    scores, values = (raw.reshape(len(raw), 2, joints, -1)[:, part].astype(np.float64) for part in (0, 1))
    weights = np.exp(scores - scores.max(2, keepdims=True))
    found: np.ndarray = (weights * values).sum(2) / weights.sum(2)
    return found


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("runtime", ALL)
def test_files_have_the_mean_depths_of_the_network(
    runtime: str, granularity: str, case: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, module = case("heatmap-2.5d"), runtimes.get(runtime)
    if granularity not in module.quantizer_options(INT8)["weight_granularity"]:
        pytest.skip(f"{runtime} quantizes per channel only")
    chosen = INT8.model_copy(update={"weight_granularity": granularity})
    net, _ = load_network(given.weights)
    with torch.no_grad():
        for conv, rows, _ in depth_rows(
            net
        ):  # all but the first weight of a joint are rounded down, at every number of levels
            largest = conv.weight[rows].abs().amax()
            conv.weight[rows] = largest * 10.4 / 127
            conv.weight[rows, 0] = largest
        expected = depths(net.forward_heatmaps(torch.from_numpy(given.images)).numpy(), given.arch.num_joints)

    def shift(name: str) -> float:
        folder = tmp_path / name
        folder.mkdir()
        session = module.load(module.export(net, folder, chosen, given.images), 1)
        found = depths(session.run(given.images), given.arch.num_joints) / runtimes.depth_scale(runtime, given.arch)
        return float(np.abs((found - expected).mean(0)).mean())

    corrected = shift("corrected")
    monkeypatch.setattr(bias_correction, "correct_depths", lambda *_: None)
    assert 0 < corrected < 0.5 * shift("uncorrected")


def test_only_biases_of_depths_change(case: Cases) -> None:
    for head in HEADS:
        given = case(head)
        before, after = (inference_module(load_network(given.weights)[0]) for _ in range(2))
        correct_depths(after, INT8, OPTIONS, given.images, 127, 127)
        for old, new in zip(before.parameters(), after.parameters(), strict=True):
            if REGISTRY[head].DEPTH_VALUES and old.shape == (2 * given.arch.num_joints,):
                ((conv, rows, joints),) = depth_rows(after.net)
                assert conv.bias is new and joints.tolist() == list(range(given.arch.num_joints))
                changed = (old != new).nonzero()[:, 0]
                assert torch.equal(changed, rows)
            else:
                assert torch.equal(old, new)


def test_what_is_not_rounded_needs_no_correction(case: Cases) -> None:
    given = case("heatmap-2.5d")
    steps = tuple(node.name for node in given.arch.plan.nodes)
    for chosen, options, images in (
        (INT8.with_float_layers(steps), OPTIONS, given.images),
        (INT8, OPTIONS | {"weight_range": "octav"}, given.images),
        (recipe("int8-qat"), OPTIONS, given.images),
        (recipe("int8-weights"), OPTIONS, None),
    ):
        before, after = (inference_module(load_network(given.weights)[0]) for _ in range(2))
        correct_depths(after, chosen, options, images, 127, 127)
        assert all(map(torch.equal, before.parameters(), after.parameters()))
