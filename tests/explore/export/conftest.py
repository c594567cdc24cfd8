"""A checkpoint of a small network, made once for all tests of the export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arch.network import build
from explore.evaluation.evaluator import open_evaluator
from explore.export.config import ExportConfig
from explore.train.loop import to_input
from explore.train.provenance import trained_on
from quantize.checkpoint import save_network
from tests.helpers.networks import adapt_batch_norm, small_arch

Checkpoint = Callable[[str], Path]


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpoint]:
    """Return a function of an activation that returns a checkpoint, with BatchNorm adapted to the rendered images."""
    root = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPOSE_CACHE", str(root / "cache"))
        settings = {"data": "synthetic:easy", "dataset": {"train_frames": 24, "test_frames": 8}}
        evaluator = open_evaluator(ExportConfig.model_validate(settings))
        images = to_input(evaluator.calibration(24, 0))

        def make(activation: str) -> Path:
            path = root / f"{activation}.safetensors"
            if not path.exists():
                arch = small_arch("heatmap-2.5d", activation).replace(num_joints=len(evaluator.train.skeleton.names))
                save_network(
                    path,
                    adapt_batch_norm(build(arch, 0), images),
                    {"data": evaluator.train.name} | trained_on(evaluator),
                )
            return path

        yield make
