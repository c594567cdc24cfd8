"""The search for float steps, on files that are numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from explore.judge import Accuracy
from explore.ship.files import MadeFile
from explore.ship.islands import fit
from quantize.convert import ConversionError
from quantize.recipes import recipe
from quantize.runtimes import FileAudit

STEPS = [f"s{i}" for i in range(20)]


class Factory:
    """Each step in float takes away its cost."""

    def __init__(self, costs: list[float]) -> None:
        self.costs, self.asked = costs, list[int]()

    def __call__(self, steps: tuple[str, ...]) -> MadeFile:
        assert steps == tuple(STEPS[: len(steps)])
        self.asked.append(len(steps))
        error = 100 + sum(self.costs[len(steps) :])
        chosen = recipe("int8-static").with_islands(steps)
        return MadeFile(np.zeros(0), Accuracy(error, 0), "litert", chosen, Path(), FileAudit(), 0)


@pytest.mark.parametrize(("most", "needed"), [(200, 0), (119, 1), (115, 5), (111.5, 9), (101, 19)])
def test_fewest_steps(most: float, needed: int) -> None:
    factory = Factory([1.0] * 20)
    made, files = fit(STEPS, factory, most, most - 100)
    assert made.recipe.float_islands == tuple(STEPS[:needed]) and made.accuracy.mpjpe <= most
    assert files == len(factory.asked) == len(set(factory.asked)) <= 10


def test_budget_that_cannot_be_kept() -> None:
    with pytest.raises(ConversionError, match=r"max-drop 0.5 mm: with 19 of 20 steps in float .* 0.50 mm beyond"):
        fit(STEPS, Factory([1.0] * 20), 100.5, 0.5)
