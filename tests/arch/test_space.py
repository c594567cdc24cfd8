"""Spaces: what they hold, how they are asked, how many networks they are, and what a bad file is told."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from arch.errors import InputError
from arch.search_space import Space, make_space, shipped
from arch.space import Arch, make_arch, preset

MOBILE_NAMES = ["paper-L-relu", "paper-S-relu", "paper-XS-relu"]


def brute_force(space: Space) -> int:
    """Every combination of every value, as many different networks as come out."""
    ids = set()
    for chosen in product(*(made.values for made in space.dimensions.values())):
        values = dict(zip(space.dimensions, chosen, strict=True))
        try:
            ids.add(space.suggest(lambda key, _, values=values: values[key]).id)
        except InputError:
            continue
    return len(ids)


@pytest.mark.parametrize("name", shipped())
def test_shipped_spaces_give_back_what_they_sample(name: str) -> None:
    space, rng = Space.named(name), random.Random(0)
    for _ in range(50):
        arch = space.sample(rng)
        chosen = space.parameters(arch)
        assert space.suggest(lambda field, values, chosen=chosen: chosen[field]) == arch
        assert space.contains(arch)


@pytest.mark.parametrize("scale", [64, 128, 256, 512])
@pytest.mark.parametrize("name", MOBILE_NAMES)
def test_mobile_holds_the_papers_networks_at_every_scale(name: str, scale: int) -> None:
    arch = preset(f"{name}@{scale}")
    space = Space.named("mobile").at(scale)
    assert space.contains(arch)
    assert not space.contains(preset(f"{name}@{scale * 2}"))
    assert arch.input == scale


@pytest.mark.parametrize("name", ["paper-L", "paper-S", "paper-XS", "paper-L-relu"])
def test_paper_holds_the_papers_networks(name: str) -> None:
    assert Space.named("paper").contains(preset(name))


def test_sampling_follows_the_generator() -> None:
    space = Space.named("full")
    first, second = random.Random(3), random.Random(3)
    assert [space.sample(first).id for _ in range(5)] == [space.sample(second).id for _ in range(5)]


def test_size_of_the_papers_grid() -> None:
    assert Space.named("paper").size() == 2 * 3 * 3 * 2 * 3 * 2 == brute_force(Space.named("paper"))


SMALL: dict[str, dict[str, Any]] = {
    "heads collapse depth bins": {
        "dimensions": {"heatmap": [32, 64], "head": ["volumetric", "depthmap", "simcc"], "depth_bins": [-1, 32, 64]},
    },
    "derived and written stages": {
        "dimensions": {
            "encoder": ["mobilehumanpose", "mobilenet_v2"],
            "early_stride": [1, 2],
            "input": [128, 192, 256],
            "heatmap": [8, 16, 24, 32, 64],
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
            "input": [128, 192],
            "heatmap#192": {"values": [24, 48], "when": {"input": [192]}},
            "heatmap": [16, 32],
            "depths.2#v3": {"values": [3, 4], "when": {"encoder": ["mobilenet_v3"]}},
            "depths.2": [1, 2, 3],
            "activation#small": {"values": ["relu"], "when": {"heatmap": [16, 24]}},
            "activation": ["prelu", "relu6"],
        },
    },
    "parts and deconv": {
        "dimensions": {
            "encoder": ["mobilehumanpose", "mobilenet_v2"],
            "decoder": ["deconv", "parts"],
            "heatmap": [32, 64],
            "concat": ["none", "skip"],
            "decoder_width": [64, 256],
            "head": ["volumetric", "depthmap"],
            "depth_bins": [32, 64],
        },
    },
    "conditions": {
        "dimensions": {
            "encoder": ["mobilehumanpose", "mobilenet_v2"],
            "inter": {"values": [0, 128], "when": {"encoder": ["mobilenet_v2"]}},
            "activation": {"values": ["relu", "relu6", "prelu"], "when": {"inter": [128]}},
            "width": [0.1, 0.11, 0.5],
        },
    },
}


@pytest.mark.parametrize("case", SMALL)
def test_size_is_exact(case: str) -> None:
    space = make_space({"name": "small", **SMALL[case]}, "small.yaml")
    assert space.size() == brute_force(space)


def test_only_what_is_meaningful_is_asked() -> None:
    space = make_space({"name": "small", **SMALL["heads collapse depth bins"]}, "small.yaml")
    asked: list[str] = []

    def choose(field: str, values: list[Any]) -> Any:
        asked.append(field)
        return "depthmap" if field == "head" else values[0]

    space.suggest(choose)
    assert asked == ["heatmap", "head"]
    assert space.parameters(make_arch({"heatmap": 64, "head": "volumetric"})) == {
        "heatmap": 64,
        "head": "volumetric",
        "depth_bins": 64,
    }


def test_an_impossible_choice_is_refused_with_the_reason() -> None:
    space = make_space({"name": "s", "dimensions": {"input": [128, 192], "heatmap": [32, 48]}}, "s.yaml")
    with pytest.raises(InputError, match=r"heatmap: 48 cells are not a power of two"):
        space.suggest(lambda field, values: {"input": 128, "heatmap": 48}[field])


def test_what_lies_outside_is_named() -> None:
    space = Space.named("mobile")
    with pytest.raises(InputError, match=r"space mobile: inter 300 is outside; the space has 128, 256"):
        space.parameters(preset("paper-L-relu").replace(inter=300))
    with pytest.raises(InputError, match=r"space mobile: joints 17 is outside; the space has 18"):
        space.parameters(preset("paper-L-relu").replace(joints=17))
    with pytest.raises(InputError, match="activation prelu is outside"):
        space.parameters(preset("paper-L"))


BAD_FILES = {
    "name: x\ndimensions: {width: [1.0]}\nfoo: 1": r"foo: unknown key; the keys are name, about, base, dimensions",
    "dimensions: {widht: [1.0]}": r"dimensions\.widht: unknown key; the keys are encoder, width",
    "dimensions: {width: []}": r"dimensions\.width.*: is empty; list at least one value",
    "dimensions: {}": r"dimensions: is empty",
    "dimensions: {width: {values: [1.0], wenn: {}}}": r"dimensions\.width\.wenn: unknown key; the keys are values",
    "dimensions: {width: [0.0, 1.0]}": r"dimensions\.width: 0\.0 is not possible: input should be greater than 0",
    "dimensions: {head: [volumetric, volume]}": r"dimensions\.head: 'volume' is not one of volumetric",
    "dimensions: {encoder: [vgg]}": r"dimensions\.encoder: 'vgg' is not one of",
    "dimensions: {heatmap: [64, 63]}": r"dimensions\.heatmap: no network here takes 63 \(.*power of two.*\); remove it",
    "dimensions: {width: [1, 1]}": r"dimensions\.width.values: a value is there twice; keep one of them",
    "dimensions: {depths: [[1, 2]]}": r"dimensions\.depths.*: ",
    "dimensions: {depths.9: [1, 2]}": r"dimensions\.depths\.9: no network here takes 1",
    "base: {width: 1.0}\ndimensions: {width: [1.0]}": r"base\.width: is a dimension too; leave it in one place",
    "base: {wide: 1.0}\ndimensions: {width: [1.0]}": r"base\.wide: unknown key",
    "base: {heatmap: 33}\ndimensions: {width: [1.0]}": r"33 cells are not a power of two",
    "dimensions: {width#a: [0.5], inter: {values: [0], when: {width: [0.5]}}, width: [1.0]}": r"inter: depends on width; write width above it",
    "dimensions: {width#a: [0.5], width: [1.0]}": r"width: no network here takes 1.0 \(width is never asked for\)",
    "dimensions: {depth_bins: [32, 64], head: [volumetric, simcc]}": r"depth_bins: depends on head; write head above",
    "dimensions: {width: {values: [1.0, 2.0], when: {concat: [nothing]}}}": r"width\.when\.concat: 'nothing' is not",
    "dimensions: {width: {values: [1.0, 2.0], when: {concat: [residual]}}}": r"width is never asked for",
    "- a list": r"not a mapping",
    "a: [1": r"not YAML",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_bad_file_is_told_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=BAD_FILES[text]) as caught:
        Space.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: No such file"):
        Space.named(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(InputError, match=r"space: 'moblie' is not one of elastic, full, mobile, narrow, paper"):
        Space.named("moblie")


def test_a_scale_that_divides_nothing() -> None:
    with pytest.raises(InputError, match=r"scale: 100 px"):
        Space.named("mobile").at(100)


@pytest.mark.parametrize("scale", [64, 256])
def test_a_scale_fixes_an_input_that_is_searched(scale: int) -> None:
    space = Space.named("full").at(scale)
    assert {"input", "heatmap#192"}.isdisjoint(space.dimensions)
    assert space.dimensions["heatmap"].values == (scale // 16, scale // 8, scale // 4)
    assert {space.sample(random.Random(seed)).input for seed in range(5)} == {scale}


def test_a_field_with_two_dimensions() -> None:
    space = Space.named("full")
    asked: list[str] = []

    def choose(key: str, values: list[Any]) -> Any:
        asked.append(key)
        return 192 if key == "input" else values[0]

    assert space.suggest(choose).heatmap == 24
    assert "heatmap#192" in asked and "heatmap" not in asked
    assert "heatmap" in space.parameters(preset("paper-L"))


def test_full_is_mostly_possible() -> None:
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
    assert Arch(encoder="mobilenet_v2", early_stride=2, decoder_stages=3, depth_bins=64) == original
    assert Arch(encoder="mobilenet_v2", depths=(1, 2, 3, 4, 3, 3, 1)) == original
    assert Arch(encoder="mobilenet_v2", depths=(0,) * 7, squeeze_excite=False).id == original.id
    assert Arch(head="depthmap", depth_bins=7) == Arch(head="depthmap")
    assert original.replace(encoder="mobilehumanpose") == Arch()
    flat = {"heatmap": 8, "decoder_stages": 0}
    assert make_arch(flat | {"concat": "skip", "decoder_width": 64}) == make_arch(flat | {"concat": "none"})
