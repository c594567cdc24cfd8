"""The closed form gives exactly the params and MACs of the built network, and the digits printed in the paper."""

from __future__ import annotations

import random
import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from arch.cost import cost
from arch.describe import describe
from arch.network import build
from arch.search_space import Space
from arch.space import Arch, make_arch, preset
from tests.helpers import mostly_slow


def counted(arch: Arch) -> tuple[int, int]:
    """Params and MACs of the built network as counted by torch, on the meta device."""
    with torch.device("meta"):
        net = build(arch).eval()
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            net.forward_heatmaps(torch.empty(1, 3, arch.input_size, arch.input_size))
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return sum(p.numel() for p in net.parameters()), flops // 2


def samples(count: int, seed: int) -> list[Arch]:
    space, rng = Space.named("full"), random.Random(seed)
    return [space.sample(rng) for _ in range(count)]


@pytest.mark.parametrize("name", ["paper-L", "paper-S", "paper-XS", "paper-L@64", "paper-XS-hardswish"])
def test_presets_match_torch(name: str) -> None:
    ours = cost(preset(name))
    assert (ours.params, ours.macs) == counted(preset(name))


@pytest.mark.parametrize("count", mostly_slow([15, 500], 15))
def test_samples_of_full_match_torch(count: int) -> None:
    for arch in samples(count, 0):
        ours = cost(arch)
        assert (ours.params, ours.macs) == counted(arch), arch


def test_params_of_the_presets() -> None:
    assert cost(preset("paper-L")).params == 4_073_248
    assert cost(preset("paper-S")).params == 2_242_000
    assert cost(preset("paper-XS")).params == 1_197_840


def test_memory_of_a_sequential_network_counted_by_hand() -> None:
    """XS without concatenation at 64 px peaks in the expanded second stage."""
    arch = preset("paper-XS@64").replace(concat="none")
    rows = describe(arch)
    assert (rows[0].name, rows[0].channels, rows[0].size, rows[0].reads) == ("stem", 24, 32, "image")
    assert rows[0].memory_int8 == 3 * 64 * 64 + 24 * 32 * 32
    hidden = 6 * 32  # stage 1 expands 32 channels of 32x32 by six before its depthwise convolution of stride 2
    assert rows[2].memory_int8 == hidden * 32 * 32 + max(32 * 32 * 32, hidden * 16 * 16)
    assert rows[-1].memory_int8 == 256 * 8 * 8 + 18 * 8 * 8 * 8
    assert cost(arch).peak_activation_bytes_int8 == rows[2].memory_int8
    assert cost(arch).peak_activation_bytes_float == 4 * rows[2].memory_int8


def test_a_skip_connection_stays_in_memory_until_its_decoder_block() -> None:
    arch = preset("paper-XS@64")
    plain, skip = describe(arch.replace(concat="none")), describe(arch)
    taps = sum(row.channels * row.size**2 for row in skip if row.name in ("stage3", "stage4", "stage5"))
    inter = next(index for index, row in enumerate(plain) if row.name == "inter")
    assert skip[inter].memory_int8 - plain[inter].memory_int8 == taps


def test_a_map_that_is_read_again_stays_in_memory_through_a_whole_block() -> None:
    rows = {row.name: row for row in describe(preset("paper-L"))}
    taps = 64 * 32 * 32 + 96 * 16 * 16 + 160 * 8 * 8  # the last of them is the input of the stage
    assert rows["stage6"].memory_int8 == taps + 2 * 6 * 160 * 8 * 8


def test_steps_add_up_to_the_cost() -> None:
    for arch in [preset("paper-L"), *samples(10, 2)]:
        rows, total = describe(arch), cost(arch)
        assert sum(row.params for row in rows) == total.params
        assert sum(row.macs for row in rows) == total.macs
        assert max(row.memory_float for row in rows) == total.peak_activation_bytes_float


@pytest.mark.parametrize("name", ["mobile", "full"])
def test_speed(name: str) -> None:
    """From plain values to the cost at least ten times as fast as counting the built network with torch."""
    space, rng = Space.named(name), random.Random(5)
    given = [space.sample(rng).model_dump() for _ in range(100)]
    started = time.process_time()
    for values in given:
        cost(make_arch(values))
    closed_form = (time.process_time() - started) / 100
    started = time.process_time()
    for values in given[:5]:
        counted(make_arch(values))
    assert closed_form < (time.process_time() - started) / 5 / 10
