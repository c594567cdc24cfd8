"""Search for the fewest float fallback layers, with simulated files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from explore.evaluation.evaluator import Accuracy
from explore.export.exporter import ExportedModel
from explore.export.mixed_precision import fewest_float_layers
from quantize.convert import ConversionError
from quantize.recipes import recipe
from quantize.runtimes import ModelSummary

STEPS = [f"s{i}" for i in range(20)]


class SimulatedExport:
    """Exports files whose MPJPE is 100 mm plus the costs of the steps that are not in float."""

    def __init__(self, costs: list[float]) -> None:
        self.costs, self.counts = costs, list[int]()

    def __call__(self, steps: tuple[str, ...]) -> ExportedModel:
        assert steps == tuple(STEPS[: len(steps)])
        self.counts.append(len(steps))
        error = 100 + sum(self.costs[len(steps) :])
        chosen = recipe("int8-static").with_float_layers(steps)
        return ExportedModel(np.zeros(0), Accuracy(error, 0), "litert", chosen, Path(), ModelSummary(), 0)


@pytest.mark.parametrize(("limit", "needed"), [(200, 0), (119, 1), (115, 5), (111.5, 9), (101, 19)])
def test_fewest_layers(limit: float, needed: int) -> None:
    export = SimulatedExport([1.0] * 20)
    made = fewest_float_layers(STEPS, export, limit, limit - 100)
    assert made.recipe.float_fallback_layers == tuple(STEPS[:needed]) and made.accuracy.mpjpe <= limit
    assert len(export.counts) == len(set(export.counts)) <= 10


def test_impossible_budget() -> None:
    with pytest.raises(
        ConversionError, match=r"float budget 0.5 mm: exceeded by 0.50 mm with 19 of 20 layers in float"
    ):
        fewest_float_layers(STEPS, SimulatedExport([1.0] * 20), 100.5, 0.5)
