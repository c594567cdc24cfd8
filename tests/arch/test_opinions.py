"""Other counters agree with the closed form once what they count beside MACs is taken out."""

from __future__ import annotations

import random

import pytest

from arch.cost import cost
from arch.errors import InputError
from arch.opinions import opinion
from arch.search_space import Space
from arch.space import Arch, preset

SIX = [preset("paper-S"), preset("paper-XS").replace(concat="residual"), preset("paper-XS").replace(head="simcc")]
SIX += [Space.named("full").sample(random.Random(seed)) for seed in range(3)]


@pytest.mark.parametrize("engine", ["fvcore", "ptflops", "torch"])
@pytest.mark.parametrize("arch", SIX, ids=lambda arch: arch.id)
def test_every_difference_is_explained(arch: Arch, engine: str) -> None:
    said = opinion(arch, engine)
    assert said.params == cost(arch).params
    assert said.operations == said.macs + sum(difference.amount for difference in said.differences)
    assert "unexplained" not in {difference.what for difference in said.differences}
    assert said.differences


@pytest.mark.parametrize("name", ["paper-L", "paper-S", "paper-XS"])
def test_paper_gflops_is_what_ptflops_says(name: str) -> None:
    assert opinion(preset(name), "ptflops").operations == cost(preset(name)).paper_gflops * 1e9


def test_an_unknown_engine() -> None:
    with pytest.raises(InputError, match="engine: 'thop' is not one of fvcore, ptflops, torch"):
        opinion(preset("paper-XS"), "thop")
