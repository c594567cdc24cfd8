"""Search spaces: sampling, conditions, size, and the messages for faulty files."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from arch.errors import InputError
from arch.search_space import Space, builtin_spaces, make_space
from arch.space import Arch, make_arch, preset

MOBILE_NAMES = ["paper-L-relu", "paper-S-relu", "paper-XS-relu"]


def brute_force(space: Space) -> int:
    """Count the different networks of all combinations of values."""
    ids = set()
    for chosen in product(*(made.values for made in space.dimensions.values())):
        values = dict(zip(space.dimensions, chosen, strict=True))
        try:
            ids.add(space.suggest(lambda key, _, values=values: values[key]).id)
        except InputError:
            continue
    return len(ids)


@pytest.mark.parametrize("name", builtin_spaces())
def test_builtin_spaces_contain_their_samples(name: str) -> None:
    space, rng = Space.named(name), random.Random(0)
    for _ in range(50):
        arch = space.sample(rng)
        chosen = space.parameters(arch)
        assert space.suggest(lambda field, values, chosen=chosen: chosen[field]) == arch
        assert space.contains(arch)


@pytest.mark.parametrize("input_size", [64, 128, 256, 512])
@pytest.mark.parametrize("name", MOBILE_NAMES)
def test_mobile_contains_the_papers_networks_at_every_input_size(name: str, input_size: int) -> None:
    arch = preset(f"{name}@{input_size}")
    space = Space.named("mobile").at(input_size)
    assert space.contains(arch)
    assert not space.contains(preset(f"{name}@{input_size * 2}"))
    assert arch.input_size == input_size


@pytest.mark.parametrize("name", ["paper-L", "paper-S", "paper-XS", "paper-L-relu"])
def test_paper_contains_the_papers_networks(name: str) -> None:
    assert Space.named("paper").contains(preset(name))


def test_sampling_is_reproducible() -> None:
    space = Space.named("full")
    first, second = random.Random(3), random.Random(3)
    assert [space.sample(first).id for _ in range(5)] == [space.sample(second).id for _ in range(5)]


def test_size_of_the_papers_grid() -> None:
    assert Space.named("paper").size() == 2 * 3 * 3 * 2 * 3 * 2 == brute_force(Space.named("paper"))


SMALL: dict[str, dict[str, Any]] = {
    "heads collapse depth bins": {
        "dimensions": {
            "heatmap_size": [32, 64],
            "head": ["volumetric", "heatmap-2.5d", "simcc"],
            "depth_bins": [-1, 32, 64],
        },
    },
    "derived and written stages": {
        "dimensions": {
            "encoder": ["mobilehumanpose", "mobilenet_v2"],
            "stem_stride": [1, 2],
            "input_size": [128, 192, 256],
            "heatmap_size": [8, 16, 24, 32, 64],
            "decoder_stages": [-1, 0, 1, 2, 3],
            "concat": ["none", "skip", "residual"],
            "decoder_conv": ["dense", "separable"],
            "upsample": ["half_pixel", "nearest"],
        },
    },
    "rows at the family's own values": {
        "base": {"encoder": "mobilenet_v2"},
        "dimensions": {"depths.2": [2, 3], "depths.3": [0, 4, 2], "kernels.2": [3, 5], "squeeze_excite": [False, True]},
    },
    "rows whose values make the same blocks": {
        "dimensions": {
            "encoder": ["mobilenext", "ghostnet", "mobilenet_v3", "resnet18", "mobilenet_v4"],
            "concat": ["none", "residual"],
            "width": [0.1, 0.11, 1.0],
            "squeeze_excite": [False, True],
            "depths.1": [1, 2],
            "expansions.1": [3, 6, 0],
            "expansions.3": [2.5, 6],
            "kernels.0": [3, 5],
        },
    },
    "strides taken back": {
        "base": {"encoder": "ghostnet"},
        "dimensions": {"decoder_stages": [-1, 2, 1], "kernels.5": [3, 5], "expansions.5": [3, 6], "width": [0.5, 1.0]},
    },
    "conditions on the encoder's own fields": {
        "base": {"encoder": "mobilenet_v2"},
        "dimensions": {
            "width": [0.5, 1.0],
            "depths.2": {"values": [2, 3, 4], "when": {"width": [1.0]}},
            "kernels.2": [3, 5],
            "kernels.3": {"values": [3, 5], "when": {"width": [0.5]}},
        },
    },
    "two dimensions of a field": {
        "dimensions": {
            "encoder": ["mobilenet_v2", "mobilenet_v3"],
            "input_size": [128, 192],
            "heatmap_size#192": {"values": [24, 48], "when": {"input_size": [192]}},
            "heatmap_size": [16, 32],
            "depths.2#v3": {"values": [3, 4], "when": {"encoder": ["mobilenet_v3"]}},
            "depths.2": [1, 2, 3],
            "activation#small": {"values": ["relu"], "when": {"heatmap_size": [16, 24]}},
            "activation": ["prelu", "relu6"],
        },
    },
    "both decoders": {
        "dimensions": {
            "encoder": ["mobilehumanpose", "mobilenet_v2"],
            "decoder": ["upsample", "parts"],
            "heatmap_size": [32, 64],
            "concat": ["none", "skip"],
            "decoder_width": [64, 256],
            "head": ["volumetric", "heatmap-2.5d"],
            "depth_bins": [32, 64],
        },
    },
    "conditions": {
        "dimensions": {
            "encoder": ["mobilehumanpose", "mobilenet_v2"],
            "intermediate_channels": {"values": [0, 128], "when": {"encoder": ["mobilenet_v2"]}},
            "activation": {"values": ["relu", "relu6", "prelu"], "when": {"intermediate_channels": [128]}},
            "width": [0.1, 0.11, 0.5],
        },
    },
}


@pytest.mark.parametrize("case", SMALL)
def test_size_is_exact(case: str) -> None:
    space = make_space({"name": "small", **SMALL[case]}, "small.yaml")
    assert space.size() == brute_force(space)


def test_only_dimensions_that_apply_are_suggested() -> None:
    space = make_space({"name": "small", **SMALL["heads collapse depth bins"]}, "small.yaml")
    suggested: list[str] = []

    def choose(field: str, values: list[Any]) -> Any:
        suggested.append(field)
        return "heatmap-2.5d" if field == "head" else values[0]

    space.suggest(choose)
    assert suggested == ["heatmap_size", "head"]
    assert space.parameters(make_arch({"heatmap_size": 64, "head": "volumetric"})) == {
        "heatmap_size": 64,
        "head": "volumetric",
        "depth_bins": 64,
    }


def test_impossible_choices_are_rejected_with_the_reason() -> None:
    space = make_space({"name": "s", "dimensions": {"input_size": [128, 192], "heatmap_size": [32, 48]}}, "s.yaml")
    with pytest.raises(InputError, match=r"heatmap_size: 48 cells are not a power of two"):
        space.suggest(lambda field, values: {"input_size": 128, "heatmap_size": 48}[field])


def test_parameters_names_the_field_outside_the_space() -> None:
    space = Space.named("mobile")
    with pytest.raises(InputError, match=r"space mobile: intermediate_channels 300 is outside; the space has 128, 256"):
        space.parameters(preset("paper-L-relu").replace(intermediate_channels=300))
    with pytest.raises(InputError, match=r"space mobile: num_joints 17 is outside; the space has 18"):
        space.parameters(preset("paper-L-relu").replace(num_joints=17))
    with pytest.raises(InputError, match="activation prelu is outside"):
        space.parameters(preset("paper-L"))


BAD_FILES = {
    "name: x\ndimensions: {width: [1.0]}\nfoo: 1": r"foo: unknown key; the keys are name, about, base, dimensions",
    "dimensions: {widht: [1.0]}": r"dimensions\.widht: unknown key; did you mean 'width'\?; the keys are encoder, width",
    "dimensions: {width: []}": r"dimensions\.width.*: is empty; list at least one value",
    "dimensions: {}": r"dimensions: is empty",
    "dimensions: {width: {values: [1.0], float: 1}}": r"dimensions\.width\.float: unknown key",
    "base: {encoder: [mobilenet_v2]}\ndimensions: {width: [1.0]}": r"base\.encoder: .*is not one of",
    "dimensions: {width: {values: [1.0], wenn: {}}}": r"dimensions\.width\.wenn: unknown key; did you mean 'when'\?; the keys are values",
    "dimensions: {width: [0.0, 1.0]}": r"dimensions\.width: 0\.0 is not possible: input should be greater than 0",
    "dimensions: {head: [volumetric, volume]}": r"dimensions\.head: 'volume' is not one of volumetric, .*; did you mean 'volumetric'\?",
    "dimensions: {encoder: [vgg]}": r"dimensions\.encoder: 'vgg' is not one of",
    "dimensions: {heatmap_size: [64, 63]}": r"dimensions\.heatmap_size: no possible network has 63 \(.*power of two.*\); remove it",
    "dimensions: {width: [1, 1]}": r"dimensions\.width.values: contains a value twice; keep one of them",
    "dimensions: {depths: [[1, 2]]}": r"dimensions\.depths.*: ",
    "dimensions: {depths.9: [1, 2]}": r"dimensions\.depths\.9: no possible network has 1",
    "base: {width: 1.0}\ndimensions: {width: [1.0]}": r"base\.width: is also a dimension; keep one of the two",
    "base: {wide: 1.0}\ndimensions: {width: [1.0]}": r"base\.wide: unknown key",
    "base: {heatmap_size: 33}\ndimensions: {width: [1.0]}": r"33 cells are not a power of two",
    "dimensions: {width#a: [0.5], intermediate_channels: {values: [0], when: {width: [0.5]}}, width: [1.0]}": r"intermediate_channels: depends on width; write width above it",
    "dimensions: {width#a: [0.5], width: [1.0]}": r"width: no possible network has 1.0 \(width never applies\)",
    "dimensions: {depth_bins: [32, 64], head: [volumetric, simcc]}": r"depth_bins: depends on head; write head above",
    "dimensions: {width: {values: [1.0, 2.0], when: {concat: [nothing]}}}": r"width\.when\.concat: 'nothing' is not",
    "dimensions: {width: {values: [1.0, 2.0], when: {concat: [residual]}}}": r"width never applies",
    "- a list": r"not a mapping",
    "a: [1": r"not YAML",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_faulty_file_is_reported_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=BAD_FILES[text]) as caught:
        Space.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_file_and_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: No such file"):
        Space.named(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(InputError, match=r"space: 'moblie' is not one of elastic, .*; did you mean 'mobile'\?"):
        Space.named("moblie")


def test_an_input_size_that_scales_a_heatmap_to_a_fraction() -> None:
    with pytest.raises(InputError, match=r"input_size: 100 px"):
        Space.named("mobile").at(100)


@pytest.mark.parametrize("input_size", [64, 256])
def test_at_fixes_a_searched_input_size(input_size: int) -> None:
    space = Space.named("full").at(input_size)
    assert {"input_size", "heatmap_size#192"}.isdisjoint(space.dimensions)
    assert space.dimensions["heatmap_size"].values == (input_size // 16, input_size // 8, input_size // 4)
    assert {space.sample(random.Random(seed)).input_size for seed in range(5)} == {input_size}


def test_a_field_with_two_dimensions() -> None:
    space = Space.named("full")
    suggested: list[str] = []

    def choose(key: str, values: list[Any]) -> Any:
        suggested.append(key)
        return 192 if key == "input_size" else values[0]

    assert space.suggest(choose).heatmap_size == 24
    assert "heatmap_size#192" in suggested and "heatmap_size" not in suggested
    assert "heatmap_size" in space.parameters(preset("paper-L"))


def test_most_choices_of_full_are_possible() -> None:
    space, rng, possible = Space.named("full"), random.Random(0), 0
    for _ in range(300):
        try:
            space.suggest(lambda _, values: rng.choice(values))
        except InputError:
            continue
        possible += 1
    assert possible > 240


def test_two_ways_to_write_the_same_network() -> None:
    original = Arch(encoder="mobilenet_v2")
    assert Arch(encoder="mobilenet_v2", stem_stride=2, decoder_stages=3, depth_bins=64) == original
    assert Arch(encoder="mobilenet_v2", depths=(1, 2, 3, 4, 3, 3, 1)) == original
    assert Arch(encoder="mobilenet_v2", depths=(0,) * 7, squeeze_excite=False).id == original.id
    assert Arch(head="heatmap-2.5d", depth_bins=7) == Arch(head="heatmap-2.5d")
    assert original.replace(encoder="mobilehumanpose") == Arch()
    flat = {"heatmap_size": 8, "decoder_stages": 0}
    assert make_arch(flat | {"concat": "skip", "decoder_width": 64}) == make_arch(flat | {"concat": "none"})
