"""The closed form against the built network: exactly the same params and MACs, and the paper's printed digits."""

from __future__ import annotations

import random
import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from arch.cost import cost
from arch.describe import describe, table
from arch.network import build
from arch.search_space import Space
from arch.space import Arch, make_arch, preset


def counted(arch: Arch) -> tuple[int, int]:
    """Params and MACs of the built network, by torch; nothing is computed."""
    with torch.device("meta"):
        net = build(arch).eval()
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            net.forward_heatmaps(torch.empty(1, 3, arch.input, arch.input))
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return sum(p.numel() for p in net.parameters()), flops // 2


def points(count: int, seed: int) -> list[Arch]:
    space, rng = Space.named("full"), random.Random(seed)
    return [space.sample(rng) for _ in range(count)]


@pytest.mark.parametrize("name", ["paper-L", "paper-S", "paper-XS", "paper-L@64", "paper-XS-hardswish"])
def test_presets_equal_torch(name: str) -> None:
    mine = cost(preset(name))
    assert (mine.params, mine.macs) == counted(preset(name))


@pytest.mark.parametrize("arch", points(40, 0), ids=lambda arch: arch.id)
def test_points_of_full_equal_torch(arch: Arch) -> None:
    mine = cost(arch)
    assert (mine.params, mine.macs) == counted(arch)


@pytest.mark.slow
def test_500_points_of_full_equal_torch() -> None:
    for arch in points(500, 1):
        mine = cost(arch)
        assert (mine.params, mine.macs) == counted(arch), arch


def test_the_presets_digits() -> None:
    assert cost(preset("paper-L")).params == 4_073_248
    assert cost(preset("paper-S")).params == 2_242_000
    assert cost(preset("paper-XS")).params == 1_197_840


def test_memory_of_a_chain_counted_by_hand() -> None:
    """XS without concat at 64 px: the most is alive in the expanded second stage, or at the head."""
    arch = preset("paper-XS@64").replace(concat="none")
    rows = describe(arch)
    assert (rows[0].name, rows[0].channels, rows[0].size, rows[0].reads) == ("stem", 24, 32, "image")
    assert rows[0].memory_int8 == 3 * 64 * 64 + 24 * 32 * 32
    hidden = 6 * 32  # stage 1 reads 32 channels of 32x32 and expands them by six before its depthwise stride 2
    assert rows[2].memory_int8 == hidden * 32 * 32 + max(32 * 32 * 32, hidden * 16 * 16)
    assert rows[-1].memory_int8 == 256 * 8 * 8 + 18 * 8 * 8 * 8
    assert cost(arch).peak_activation_bytes_int8 == rows[2].memory_int8
    assert cost(arch).peak_activation_bytes_float == 4 * rows[2].memory_int8


def test_a_tap_stays_alive_until_its_decoder_block() -> None:
    arch = preset("paper-XS@64")
    plain, skip = describe(arch.replace(concat="none")), describe(arch)
    taps = sum(row.channels * row.size**2 for row in skip if row.name in ("stage3", "stage4", "stage5"))
    inter = next(index for index, row in enumerate(plain) if row.name == "inter")
    assert skip[inter].memory_int8 - plain[inter].memory_int8 == taps


def test_description_adds_up() -> None:
    for arch in [preset("paper-L"), *points(10, 2)]:
        rows, whole = describe(arch), cost(arch)
        assert sum(row.params for row in rows) == whole.params
        assert sum(row.macs for row in rows) == whole.macs
        assert max(row.memory_float for row in rows) == whole.peak_activation_bytes_float
        assert table(arch).splitlines()[-1].split()[1] == f"{whole.params:,}"


@pytest.mark.parametrize("name", ["mobile", "full"])
def test_throughput(name: str) -> None:
    """A fraction of what a quiet core does, so that a busy machine passes; the bench measures the real figure."""
    space, rng = Space.named(name), random.Random(5)
    given = [space.sample(rng).model_dump() for _ in range(500)]
    began = time.process_time()
    for values in given:
        cost(make_arch(values))
    assert 500 / (time.process_time() - began) > 400
