"""Which networks of a space a device is calibrated on, and which it is then tested on."""

from __future__ import annotations

import random

from arch.cost import cost
from arch.search_space import Space
from arch.space import Arch, preset
from quantize import audit
from quantize.recipes import Recipe

POOL = 10  # networks drawn for each that is chosen
REFERENCE = "paper-XS-relu"


def reference(scale: int) -> Arch:
    """The network that latencies are ratios to."""
    return preset(f"{REFERENCE}@{scale}")


def unseen(space: Space, scale: int, runtime: str, recipe: Recipe, count: int, seed: int) -> list[Arch]:
    """Networks to be judged on, drawn uniformly as a random search would; more of them begin with the same."""
    drawn = _draw(space, scale, runtime, recipe, 2 * count, random.Random(f"unseen {seed}"))
    return [arch for arch, _ in drawn[:count]]


def design(
    space: Space, scale: int, runtime: str, recipe: Recipe, count: int, seed: int, never: list[Arch]
) -> list[Arch]:
    """Networks to learn from, `never` not among them, in random order.

    They are spread: the encoders take turns, and of each those are taken whose MACs are evenly apart on a logarithmic
    scale.
    """
    rng = random.Random(f"design {seed}")
    apart = {arch.id for arch in never}
    families: dict[str, list[tuple[Arch, int]]] = {}
    for arch, macs in _draw(space, scale, runtime, recipe, POOL * count, rng):
        if arch.id not in apart:
            families.setdefault(arch.encoder, []).append((arch, macs))
    chosen: list[Arch] = []
    for index, name in enumerate(sorted(families)):
        share = count // len(families) + (index < count % len(families))
        chosen += _spread(sorted(families[name], key=lambda pair: pair[1]), share)
    rng.shuffle(chosen)
    return chosen


def _draw(
    space: Space, scale: int, runtime: str, recipe: Recipe, count: int, rng: random.Random
) -> list[tuple[Arch, int]]:
    """Different networks out of `count` draws that can ship and are not dearer than paper-L, with their MACs."""
    most = cost(preset(f"paper-L@{scale}")).macs
    pool: dict[str, tuple[Arch, int]] = {}
    for _ in range(count):
        arch = space.sample(rng)
        macs = cost(arch).macs
        if macs <= most and not audit.reasons(arch, runtime, recipe):
            pool.setdefault(arch.id, (arch, macs))
    return list(pool.values())


def _spread(sorted_by_macs: list[tuple[Arch, int]], count: int) -> list[Arch]:
    """`count` of the networks, the gaps between their MACs about equal in ratio; none twice."""
    left = list(sorted_by_macs)
    low, high = left[0][1], left[-1][1]
    chosen = []
    for index in range(min(count, len(left))):
        goal = low * (high / low) ** (index / max(1, count - 1))
        nearest = min(range(len(left)), key=lambda i: abs(left[i][1] - goal))
        chosen.append(left.pop(nearest)[0])
    return chosen
