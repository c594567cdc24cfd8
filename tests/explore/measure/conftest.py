"""Fixtures: one bundle per runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from explore.host import locked
from explore.measure.rows import Model, from_bundle
from quantize import bundle
from quantize.checkpoint import save_network
from quantize.convert import Converter
from quantize.recipes import recipe
from tests.__main__ import MODELS
from tests.helpers.networks import settled_net, small_arch, smooth_images, write_bundle

RECIPES = {"litert": "int8-static", "openvino": "float", "onnxruntime": "float", "executorch": "int8-static"}


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the bundle of a runtime. The processes of a run of `python -m tests` share the bundles."""
    root = Path(os.environ.get(MODELS) or tmp_path_factory.mktemp("models"))
    arch = small_arch()
    pictures = smooth_images(24, arch.input_size, 0)

    @cache
    def make(runtime: str) -> Path:
        chosen, folder = recipe(RECIPES[runtime]), root / f"{runtime}-bundle"
        with locked(root / f"{folder.name}.lock"):
            if folder.exists():
                return folder
            weights = root / f"{folder.name}.safetensors"
            save_network(weights, settled_net(arch, pictures[:4]))
            with Converter(root / f"{folder.name}.log") as converter:
                given = pictures if chosen.int8 else None
                model = converter.export(arch, weights, runtime, chosen, given, root / f"{folder.name}-files")
            return write_bundle(folder, model, runtime, recipe=chosen).path

    return make


@pytest.fixture(scope="session")
def model_of(bundle_of: Callable[[str], Path]) -> Callable[[str], Model]:
    """A function that returns the model of a runtime's bundle."""
    return lambda runtime: from_bundle(bundle.load(bundle_of(runtime)))
