"""Other counters agree with the closed form, up to the differences that are listed."""

from __future__ import annotations

import random

import pytest
import torch
from fvcore.nn import FlopCountAnalysis

from arch.cost import cost
from arch.counters import count_operations
from arch.errors import InputError
from arch.network import build
from arch.search_space import Space
from arch.space import Arch, preset

NETWORKS = [preset("paper-S"), preset("paper-XS").replace(concat="residual"), preset("paper-XS").replace(head="simcc")]
NETWORKS += [Space.named("full").sample(random.Random(seed)) for seed in range(3)]
KNOWN = {
    "fvcore": {
        "batch_norm", "upsample_bilinear2d", "upsample_nearest2d", "avg_pool2d", "adaptive_avg_pool2d", "mean", "mul",
    },
    "ptflops": {"bias", "BatchNorm", "activation", "pooling"},
    "torch": {"additions"},
}  # fmt: skip


@pytest.mark.parametrize("engine", KNOWN)
@pytest.mark.parametrize("arch", NETWORKS, ids=lambda arch: arch.id)
def test_every_difference_is_explained(arch: Arch, engine: str) -> None:
    count = count_operations(arch, engine)
    assert count.params == cost(arch).params
    assert count.macs == cost(arch).macs
    assert count.differences and {difference.operation for difference in count.differences} <= KNOWN[engine]


def test_torch_counts_multiplications_and_additions() -> None:
    """torch counts two operations per MAC and nothing else."""
    arch = preset("paper-XS-relu@64")
    count = count_operations(arch, "torch")
    assert count.operations == 2 * cost(arch).macs
    assert [(difference.operation, difference.amount) for difference in count.differences] == [
        ("additions", count.macs)
    ]


@pytest.mark.parametrize("name", ["paper-L", "paper-S", "paper-XS"])
def test_paper_gflops_equals_ptflops(name: str) -> None:
    assert count_operations(preset(name), "ptflops").operations == cost(preset(name)).paper_gflops * 1e9


@pytest.mark.parametrize("name", ["paper-XS@64", "paper-S-relu@64", "moon-resnet50@64"])
def test_fvcore_counts_through_forward(name: str) -> None:
    analysis = FlopCountAnalysis(build(preset(name)).eval(), torch.zeros(1, 3, 64, 64))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    assert analysis.total() > 1e6


def test_unknown_engine() -> None:
    with pytest.raises(InputError, match=r"engine: 'ptflop' is not one of fvcore, .*; did you mean 'ptflops'\?"):
        count_operations(preset("paper-XS"), "ptflop")
