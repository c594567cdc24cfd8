"""Fixtures: one bundle per runtime."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from explore.measure.rows import Model, from_bundle
from quantize import bundle
from quantize.checkpoint import save_network
from quantize.convert import Converter
from quantize.recipes import recipe
from tests.helpers.networks import settled_net, small_arch, smooth_images, write_bundle

RECIPES = {"litert": "int8-static", "openvino": "float", "onnxruntime": "float", "executorch": "int8-static"}


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the bundle of a runtime."""
    root = tmp_path_factory.mktemp("bundles")
    arch = small_arch()
    pictures = smooth_images(24, arch.input_size, 0)

    @cache
    def make(runtime: str) -> Path:
        weights = root / "weights.safetensors"
        if not weights.exists():
            save_network(weights, settled_net(arch, pictures[:4]))
        chosen = recipe(RECIPES[runtime])
        with Converter(root / "convert.log") as converter:
            given = pictures if chosen.int8 else None
            model = converter.export(arch, weights, runtime, chosen, given, root / "files" / runtime)
        return write_bundle(root / runtime, model, runtime, recipe=chosen).path

    return make


@pytest.fixture(scope="session")
def model_of(bundle_of: Callable[[str], Path]) -> Callable[[str], Model]:
    """A function that returns the model of a runtime's bundle."""
    return lambda runtime: from_bundle(bundle.load(bundle_of(runtime)))
