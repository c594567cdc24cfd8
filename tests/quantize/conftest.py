"""Networks and model files that are made once for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from explore.host import locked
from quantize import runtimes
from quantize.checkpoint import save_network
from quantize.convert import Converter
from quantize.recipes import recipe
from tests.__main__ import MODELS
from tests.helpers.networks import Case, settled_net, small_arch, smooth_images


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Return the case of a head."""

    @cache
    def make(head: str) -> Case:
        arch = small_arch(head)
        images, unseen = smooth_images(24, arch.input_size, 0), smooth_images(4, arch.input_size, 1)
        net = settled_net(arch, images)
        weights = tmp_path_factory.mktemp("weights") / f"{head}.safetensors"
        save_network(weights, net)
        with torch.no_grad():
            raw = net.forward_heatmaps(torch.from_numpy(unseen)).numpy()
        return Case(arch, weights, images, unseen, raw)

    return make


@pytest.fixture(scope="session")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converter]:
    with Converter(tmp_path_factory.mktemp("log") / "convert.log") as made:
        yield made


@pytest.fixture(scope="session")
def exported(
    case: Callable[[str], Case], converter: Converter, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Return the model file of (runtime, head, recipe), and possibly an option of the quantizer as KEY=VALUE.

    The processes of a run of `python -m tests` share the files.
    """
    root = Path(os.environ.get(MODELS) or tmp_path_factory.mktemp("models"))

    @cache
    def make(runtime: str, head: str, name: str, option: str = "") -> Path:
        given, chosen = case(head), recipe(name)
        if option:
            key, value = option.split("=")
            chosen = chosen.model_copy(update={key: value, "name": f"{name}-{value}"})
        images = given.images if chosen.calibrated else None
        folder = root / f"{runtime}-{head}-{chosen.name}"
        with locked(root / f"{folder.name}.lock"):
            if folder.exists():
                return folder / runtimes.get(runtime).FILES[0]
            return converter.export(given.arch, given.weights, runtime, chosen, images, folder)

    return make
