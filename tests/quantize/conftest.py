"""A small network a head, its weights and pictures, and model files made once for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from arch.network import PoseNet, build
from arch.space import Arch, preset
from quantize.convert import Converter
from quantize.graph import widen_depths
from quantize.recipes import recipe
from quantize.runtimes import Array
from quantize.weights import save_weights

HEADS = ("volumetric", "depthmap", "simcc")


@dataclass(frozen=True)
class Case:
    """A network, the file of its weights, pictures to calibrate on, unseen ones, and torch's raw output of those."""

    arch: Arch
    weights: Path
    pictures: Array
    unseen: Array
    raw: Array


def small_arch(head: str = "depthmap", activation: str = "relu") -> Arch:
    """XS at 64 px, one block a stage, a quarter of the width: seconds to convert."""
    changes = {"width": 0.25, "inter": 64, "decoder_width": 32, "depths": (1,) * 7, "joints": 17}
    return preset("paper-XS-relu@64").replace(head=head, activation=activation, **changes)


def smooth_pictures(count: int, size: int, seed: int) -> Array:
    """Normalised pictures with the spectrum of real ones rather than of noise."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(count, 3, 6, 6)).astype(np.float32))
    fine = torch.from_numpy(rng.normal(size=(count, 3, size, size)).astype(np.float32))
    mixed = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear") * 1.5 + fine * 0.2
    return mixed.clamp(-2.1, 2.6).numpy()


def settled_net(arch: Arch, pictures: Array) -> PoseNet:
    """A network whose BatchNorm statistics are those of the pictures, so that signals neither fade nor explode.

    As in trained networks some channels are dead: no weights left, but a bias; one layer says nothing at all; and the
    depths of a depthmap are small beside its scores.
    """
    net = build(arch, seed=1).train()
    with torch.no_grad():
        for _ in range(40):
            net.forward_heatmaps(torch.from_numpy(pictures))
        norms = [part for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        for norm in norms[1::3]:
            norm.weight[:2] = 0
            norm.bias[:2] = torch.tensor([0.3, -0.3])
        silent = next(part for part in net.steps["inter"].modules() if isinstance(part, torch.nn.BatchNorm2d))
        silent.weight.zero_()
        silent.bias.zero_()
        widen_depths(net, 1 / 16)
    return net.eval()


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """The case of a head."""

    @cache
    def make(head: str) -> Case:
        arch = small_arch(head)
        pictures, unseen = smooth_pictures(24, arch.input, 0), smooth_pictures(4, arch.input, 1)
        net = settled_net(arch, pictures)
        weights = tmp_path_factory.mktemp("weights") / f"{head}.safetensors"
        save_weights(net, weights)
        with torch.no_grad():
            raw = net.forward_heatmaps(torch.from_numpy(unseen)).numpy()
        return Case(arch, weights, pictures, unseen, raw)

    return make


@pytest.fixture(scope="session")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converter]:
    with Converter(tmp_path_factory.mktemp("log") / "convert.log") as made:
        yield made


@pytest.fixture(scope="session")
def exported(
    case: Callable[[str], Case], converter: Converter, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str, str], Path]:
    """The model file of (runtime, head, recipe)."""
    root = tmp_path_factory.mktemp("models")

    @cache
    def make(runtime: str, head: str, name: str) -> Path:
        given, chosen = case(head), recipe(name)
        pictures = given.pictures if chosen.int8 else None
        folder = root / f"{runtime}-{head}-{name}"
        return converter.export(given.arch, given.weights, runtime, chosen, pictures, folder)

    return make
