"""Contract of the rounding of weights that compensates its errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from quantize.checkpoint import load_network
from quantize.graph import inference_module
from quantize.recipes import recipe
from quantize.rounding import round_weights
from tests.helpers.networks import HEADS, Case

Cases = Callable[[str], Case]
OPTIONS = {"weight_rounding": "compensated", "weight_granularity": "channel"}


def nearest(conv: nn.Conv2d, levels: int) -> torch.Tensor:
    """Return the weights of a convolution, rounded to the nearest level of their channel."""
    steps = conv.weight.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12) / levels
    return (conv.weight / steps).round() * steps


@pytest.mark.parametrize("levels", [63, 127])
@pytest.mark.parametrize("head", HEADS)
def test_outputs_are_closer_than_with_the_nearest_levels(head: str, levels: int, case: Cases) -> None:
    given = case(head)
    modules = [inference_module(load_network(given.weights)[0]) for _ in range(3)]
    _, ours, theirs = modules
    round_weights(ours, recipe("int8-static"), OPTIONS, levels, given.images)
    for conv in [part for part in theirs.modules() if isinstance(part, nn.Conv2d)]:
        conv.weight.copy_(nearest(conv, levels))
    with torch.no_grad():
        target, *outputs = (module(torch.from_numpy(given.unseen)) for module in modules)
    near, far = (float((output - target).square().mean()) for output in outputs)
    assert 0 < near < 0.7 * far


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_the_quantizer_finds_the_same_scales(granularity: str, case: Cases) -> None:
    given = case("heatmap-2.5d")
    before, after = (inference_module(load_network(given.weights)[0]) for _ in range(2))
    round_weights(after, recipe("int8-static"), OPTIONS | {"weight_granularity": granularity}, 127, given.images)
    pairs = [
        (a.weight, b.weight)
        for a, b in zip(before.modules(), after.modules(), strict=True)
        if isinstance(a, nn.Conv2d) and isinstance(b, nn.Conv2d)
    ]
    assert len(pairs) > 20
    for old, new in pairs:
        over = (1, 2, 3) if granularity == "channel" else (0, 1, 2, 3)
        largest = new.abs().amax(over, keepdim=True)
        assert torch.equal(largest, old.abs().amax(over, keepdim=True))
        steps = (new / largest.clamp_min(1e-12) * 127).numpy()
        small = np.abs(steps) < 126.5  # the others keep their values and are rounded to the last level
        np.testing.assert_allclose(steps[small], steps[small].round(), atol=1e-3)


def test_float_layers_and_other_recipes_keep_their_weights(case: Cases) -> None:
    given = case("heatmap-2.5d")
    before, after = (inference_module(load_network(given.weights)[0]) for _ in range(2))
    round_weights(after, recipe("int8-static"), OPTIONS | {"weight_rounding": "nearest"}, 127, None)
    round_weights(after, recipe("int8-static").with_float_layers(("head",)), OPTIONS, 127, given.images)
    kept = {
        name
        for name, step in after.net.steps.items()
        if all(map(torch.equal, step.state_dict().values(), before.net.steps[name].state_dict().values()))
    }
    assert kept == {"inter", "head"}  # the weights of `inter` are zero
