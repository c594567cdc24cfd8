"""Choice of the networks that a latency predictor is fitted and tested on."""

from __future__ import annotations

import random

from arch.cost import cost
from arch.search_space import Space
from arch.space import Arch, preset
from quantize import operator_check
from quantize.recipes import Recipe

DRAWS = 10  # networks drawn for each that is chosen
REFERENCE = "paper-XS-relu"


def reference(input_size: int) -> Arch:
    """Return the network that latencies are ratios to."""
    return preset(f"{REFERENCE}@{input_size}")


def sample_test_set(space: Space, input_size: int, runtime: str, recipe: Recipe, count: int, seed: int) -> list[Arch]:
    """Return networks to test on, drawn uniformly like a random search; a larger `count` extends the same list."""
    drawn = _draw(space, input_size, runtime, recipe, 2 * count, random.Random(f"unseen {seed}"))
    return [arch for arch, _ in drawn[:count]]


def sample_fit_set(
    space: Space, input_size: int, runtime: str, recipe: Recipe, count: int, seed: int, exclude: list[Arch]
) -> list[Arch]:
    """Return networks to fit on, in random order: equally many per encoder, with MACs evenly spaced on a log scale."""
    rng = random.Random(f"design {seed}")
    excluded = {arch.id for arch in exclude}
    by_encoder: dict[str, list[tuple[Arch, int]]] = {}
    for arch, macs in _draw(space, input_size, runtime, recipe, DRAWS * count, rng):
        if arch.id not in excluded:
            by_encoder.setdefault(arch.encoder, []).append((arch, macs))
    chosen: list[Arch] = []
    for index, name in enumerate(sorted(by_encoder)):
        quota = count // len(by_encoder) + (index < count % len(by_encoder))
        chosen += _spread(sorted(by_encoder[name], key=lambda pair: pair[1]), quota)
    rng.shuffle(chosen)
    return chosen


def _draw(
    space: Space, input_size: int, runtime: str, recipe: Recipe, count: int, rng: random.Random
) -> list[tuple[Arch, int]]:
    """Return the distinct networks of `count` draws that can be exported and have no more MACs than paper-L."""
    max_macs = cost(preset(f"paper-L@{input_size}")).macs
    drawn: dict[str, tuple[Arch, int]] = {}
    for _ in range(count):
        arch = space.sample(rng)
        macs = cost(arch).macs
        if macs <= max_macs and not operator_check.reasons(arch, runtime, recipe):
            drawn.setdefault(arch.id, (arch, macs))
    return list(drawn.values())


def _spread(sorted_by_macs: list[tuple[Arch, int]], count: int) -> list[Arch]:
    """Return `count` distinct networks with MACs as evenly spaced on a log scale as possible."""
    left = list(sorted_by_macs)
    low, high = left[0][1], left[-1][1]
    chosen = []
    for index in range(min(count, len(left))):
        goal = low * (high / low) ** (index / max(1, count - 1))
        nearest = min(range(len(left)), key=lambda i: abs(left[i][1] - goal))
        chosen.append(left.pop(nearest)[0])
    return chosen
