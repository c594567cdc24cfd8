"""The smallest network of a search space, by a quantity that its description determines."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch

STARTS = 8  # random networks that the descent starts from, besides one for each encoder


def smallest(space: Space, value: Callable[[Arch], float], enough: float = -math.inf) -> float:
    """Return the least `value` of the space's networks, or the first found that is at most `enough`.

    Coordinate descent: one dimension at a time is set to its best value, from several networks. Costs of networks grow
    with almost every dimension, whatever the others are, so that this finds the smallest network (checked against all
    networks of small spaces).
    """
    rng, best = random.Random(0), math.inf
    encoders = space.dimensions["encoder"].values if "encoder" in space.dimensions else ()
    starts: list[dict[str, Any]] = [{"encoder": name} for name in encoders] + [{} for _ in range(STARTS)]
    for start in starts:
        choices = {key: start.get(key, rng.choice(dimension.values)) for key, dimension in space.dimensions.items()}
        current, previous = _value(space, value, choices), math.inf
        while best > enough and (current < previous or math.isinf(current)):
            previous = current
            for key, dimension in space.dimensions.items():
                if key in start:
                    continue
                for choice in dimension.values:
                    changed = choices | {key: choice}
                    found = _value(space, value, changed)
                    if found < current:
                        current, choices = found, changed
            best = min(best, current)
            if math.isinf(current):
                break
    return best


def _value(space: Space, value: Callable[[Arch], float], choices: dict[str, Any]) -> float:
    try:
        arch = space.suggest(lambda key, _: choices[key])
    except InputError:  # an impossible network
        return math.inf
    return value(arch)
