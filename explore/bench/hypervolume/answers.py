"""The estimators in a replay: the project's own rules of who is trained how long, on errors that are looked up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arch.cost import cost
from arch.space import Arch
from explore.bench.estimators import reference
from explore.bench.hypervolume.world import World
from explore.config import EstimateConfig
from explore.estimate import Finished, inherit, predictor, short


@dataclass(frozen=True)
class Answer:
    """What a search is told of a network, and what that cost; as `explore.estimate.Estimate`."""

    mm: float
    cpu_s: float
    in_full: bool


Ask = Callable[[Arch, list[Finished]], Answer]  # a network, and those trained in full so far


def full(world: World) -> Ask:
    return lambda arch, finished: Answer(world.trained(arch), world.known.full(arch), in_full=True)


def shorter(world: World) -> Ask:
    """Runs doubled for the better half. Recorded up to one length; beyond, what they say nears full training's.

    Half of the way in doublings is half of the way in mm, and so with the costs of samples.
    """
    found, samples = world.known.estimators["short"], reference.SET["training"]["samples"]
    peers: dict[int, list[tuple[float, float]]] = {}

    def seconds(arch: Arch, length: int) -> float:
        near, far = found.each(arch), world.known.full(arch)
        return near + (far - near) * (length - found.budget) / (samples - found.budget)

    def ask(arch: Arch, finished: list[Finished]) -> Answer:
        seen, more, spent = 0, found.budget, 0.0
        while True:
            seen, spent = seen + more, spent + seconds(arch, more)
            way = math.log(seen / found.budget) / math.log(samples / found.budget)
            mm = (1 - way) * world.told("short", arch) + way * world.trained(arch)
            all_of_it = peers.setdefault(seen, [])
            all_of_it.append((mm, float(cost(arch).macs)))
            if 2 * seen > samples or not short.in_better_half(all_of_it, all_of_it[-1]):
                return Answer(mm, spent, in_full=False)
            more = seen

    return ask


def inherited(world: World) -> Ask:
    found, whole = world.known.estimators["inherit"], full(world)

    def ask(arch: Arch, finished: list[Finished]) -> Answer:
        if len(inherit.alike(arch, finished)) < inherit.PARENTS:
            return whole(arch, finished)
        return Answer(world.told("inherit", arch), found.each(arch), in_full=False)

    return ask


def sliced(world: World) -> Ask:
    found = world.known.estimators["supernet"]
    return lambda arch, finished: Answer(world.told("supernet", arch), found.each(arch), in_full=False)


def predicted(world: World) -> Ask:
    """The estimator itself, fitted on what the search has trained; its own CPU time is measured."""
    whole, trust = full(world), EstimateConfig().trust
    learned: dict[int, Any] = {}
    fitted: dict[int, predictor.Predictor] = {}  # to as many as are finished

    def ask(arch: Arch, finished: list[Finished]) -> Answer:
        if len(finished) < predictor.ENOUGH:
            return whole(arch, finished)
        started = time.process_time()
        if len(finished) not in fitted:
            fitted.clear()
            archs, mm = [other.arch for other in finished], [other.mm for other in finished]
            fitted[len(finished)] = predictor.fit(archs, mm, 0, learned)
        mean, deviation = (float(value[0]) for value in fitted[len(finished)].predict([arch]))
        moves = predictor.may_move_front(arch, mean, deviation, trust, finished)
        spent = time.process_time() - started
        if not moves:
            return Answer(mean, spent, in_full=False)
        trained = whole(arch, finished)
        return Answer(trained.mm, trained.cpu_s + spent, in_full=True)

    return ask


MAKE: dict[str, Callable[[World], Ask]] = {
    "full": full,
    "short": shorter,
    "inherit": inherited,
    "supernet": sliced,
    "predictor": predicted,
}
NOWHERE = Path()  # of weights that no replay has
