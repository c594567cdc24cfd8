"""Weight sharing: an extracted network equals its slice of the supernet; fields that share no weights are rejected."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from arch.elastic import SuperNet, extract, recalibrate, share_weights, smallest_and_largest, union
from arch.encoders import ENCODERS
from arch.errors import InputError
from arch.network import build
from arch.search_space import Space, make_space
from arch.space import Arch
from tests.helpers import mostly_slow

torch.set_num_threads(1)
CONCATS = ("none", "skip", "residual")
HEADS = ("volumetric", "heatmap-2.5d", "simcc")
ACTIVATIONS = ("relu", "prelu", "prelu_shared")
BASE = {"encoder": "mobilenet_v2", "stem_stride": 2, "input_size": 64, "num_joints": 3, "decoder_conv": "separable"}
ELASTIC = {
    "heatmap_size": [8, 16],
    "width": [0.125, 0.25, 0.375],
    "intermediate_channels": [16, 40],
    "decoder_width": [8, 24],
    "depths.2": [1, 2],
    "depths.5": [1, 3],
    "expansions.1": [1, 3],
    "expansions.3": [2, 6],
    "kernels.2": [3, 7],
}


def space(dimensions: dict[str, Any] | None = None, **base: Any) -> Space:
    return make_space({"name": "small", "base": BASE | base, "dimensions": dimensions or ELASTIC}, "small")


def randomised(supernet: SuperNet) -> SuperNet:
    """Give norms, slopes and biases random values, so that channels differ."""
    generator = torch.Generator().manual_seed(1)
    for parameter in supernet.net.parameters():
        if parameter.dim() == 1:
            parameter.data = torch.rand(parameter.shape, generator=generator) + 0.5
    return supernet


def images(seed: int, count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def subnets(made: Space, supernet: SuperNet, count: int = 2) -> list[Arch]:
    rng = random.Random(0)
    return [supernet.smallest, *(made.sample(rng) for _ in range(count)), supernet.largest]


def assert_extracted_is_slice(made: Space, supernet: SuperNet, arch: Arch) -> None:
    """Compare with the statistics of the batch."""
    x = images(2)
    with torch.no_grad():
        sliced = supernet.forward_heatmaps(x, arch)
        copy = extract(supernet.net, arch).train()
        extracted = copy.forward_heatmaps(x)
    assert copy.arch == arch and made.contains(arch)
    assert (extracted - sliced).abs().max() <= 1e-5 * sliced.abs().max()


@pytest.mark.parametrize("activation", mostly_slow(ACTIVATIONS, "relu"))
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("concat", CONCATS)
def test_extracted_network_equals_the_slice(concat: str, head: str, activation: str) -> None:
    dimensions = ELASTIC if head != "simcc" else {k: v for k, v in ELASTIC.items() if k != "heatmap_size"}
    made = space(
        dimensions, concat=concat, head=head, activation=activation, **{"heatmap_size": 16} if head == "simcc" else {}
    )
    supernet = randomised(SuperNet(made, 0))
    for arch in subnets(made, supernet):
        assert_extracted_is_slice(made, supernet, arch)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_widths_of_every_encoder_share_weights(encoder: str) -> None:
    dimensions = {key: ELASTIC[key] for key in ("width", "intermediate_channels", "decoder_width")}
    made = space(dimensions, encoder=encoder, concat="skip", heatmap_size=8)
    supernet = randomised(SuperNet(made, 0))
    for arch in subnets(made, supernet, 1):
        assert_extracted_is_slice(made, supernet, arch)


def test_extracted_network_is_independent_of_the_supernet() -> None:
    made = space(concat="skip")
    supernet = randomised(SuperNet(made, 0))
    copy = extract(supernet.net, supernet.smallest)
    before = copy(images(2))
    for tensor in supernet.net.state_dict().values():
        tensor.zero_()
    assert torch.equal(copy(images(2)), before)


def test_union_with_rows_whose_blocks_have_several_expansions() -> None:
    one = Arch(encoder="mobilenet_v3", activation="relu")
    other = one.replace(expansions=(0, 0, 4, 0, 0, 0))
    assert union(one, other) == union(other, one) == other


def test_networks_that_share_weights() -> None:
    maps = Arch(**BASE, activation="relu", heatmap_size=16)
    axes = maps.replace(head="simcc")
    assert share_weights(maps, maps.replace(heatmap_size=8, width=0.5)) and share_weights(axes, axes.replace(width=0.5))
    assert not share_weights(axes, axes.replace(heatmap_size=8)) and not share_weights(maps, axes)


def test_gradients_reach_only_the_slice() -> None:
    made = space(concat="skip", head="volumetric")
    supernet = randomised(SuperNet(made, 0))
    supernet.forward_heatmaps(images(2), supernet.smallest).square().mean().backward()
    weight = supernet.net.steps["inter"][0][0].conv.weight
    assert weight.grad is not None
    small = supernet.smallest.intermediate_channels
    assert (weight.grad[:small, :1] != 0).any() and (weight.grad[small:] == 0).all()


def test_depth_bins_of_a_smaller_volume_are_spread_evenly() -> None:
    made = space(concat="none", head="volumetric")
    supernet = SuperNet(made, 0)
    bias = supernet.net.steps["head"][0][0].conv.bias
    bias.data = torch.arange(len(bias)).float()
    copied = extract(supernet.net, supernet.smallest).steps["head"][0][0].conv.bias
    assert copied is not None
    assert copied.reshape(3, 8).tolist() == [[16 * joint + 2 * place for place in range(8)] for joint in range(3)]


def test_recalibration_averages_the_batches_and_ignores_earlier_statistics() -> None:
    made = space(concat="skip")
    net = extract(randomised(SuperNet(made, 0)).net, made.sample(random.Random(1)))
    batches = [images(seed) for seed in (3, 4, 5)]
    first = recalibrate(net, batches)
    mean = first.steps["stem"][0][0].norm.running_mean.clone()
    stem = first.steps["stem"][0][0].conv
    expected = torch.stack([stem(batch).mean((0, 2, 3)) for batch in batches]).mean(0)
    assert torch.allclose(mean, expected, atol=1e-5)
    for norm in (module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.fill_(7.0)
    again = recalibrate(net, batches)
    assert torch.equal(again.steps["stem"][0][0].norm.running_mean, mean)
    assert not again.training and again.steps["stem"][0][0].norm.momentum == 0.1


@pytest.mark.parametrize(
    ("dimension", "values", "base"),
    [
        ("concat", ["none", "skip"], {}),
        ("head", ["volumetric", "heatmap-2.5d"], {}),
        ("activation", ["relu", "relu6"], {}),
        ("encoder", ["mobilenet_v2", "mnasnet"], {}),
        ("heatmap_size", [8, 16], {"head": "simcc"}),
    ],
)
def test_a_space_that_varies_a_fixed_field_is_rejected(dimension: str, values: list[str], base: dict[str, Any]) -> None:
    fixed = {"heatmap_size": 16} | BASE
    kept = {key: value for key, value in fixed.items() if key not in (dimension, "stem_stride")}
    made = make_space(
        {"name": "mixed", "base": kept | base, "dimensions": {dimension: values, "width": [0.25, 0.5]}}, "mixed"
    )
    with pytest.raises(InputError, match=rf"mixed: dimensions\.{dimension}: varies") as caught:
        smallest_and_largest(made)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("dimension", "values"), [("depths.3", [0, 2]), ("depth_bins", [-1, 4])])
def test_a_space_with_values_that_are_no_sizes_is_rejected(dimension: str, values: list[int]) -> None:
    base = BASE | {"heatmap_size": 16}
    made = make_space({"name": "mixed", "base": base, "dimensions": {dimension: values}}, "mixed")
    with pytest.raises(InputError, match=rf"mixed: dimensions\.{dimension}: {values[0]} is not a size"):
        smallest_and_largest(made)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"width": 0.5}, "no more than"),
        ({"concat": "none"}, "concat"),
        ({"depths": (1, 2, 4, 4, 3, 3, 1)}, "operation"),
    ],
)
def test_a_network_that_is_no_subnet_is_rejected(changes: dict[str, Any], word: str) -> None:
    made = space(concat="skip")
    net = build(smallest_and_largest(made)[1])
    with pytest.raises(InputError, match=word):
        extract(net, net.arch.replace(**changes))
