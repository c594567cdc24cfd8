"""Simulated estimators: the project's rules for training lengths, with errors from the surrogate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arch.cost import cost
from arch.space import Arch
from benchmarks.estimators import reference
from benchmarks.hypervolume.world import World
from explore.estimate import TrainedNetwork, inherit, predictor, short
from explore.estimate.config import EstimateConfig


@dataclass(frozen=True)
class Estimated:
    """Simulated counterpart of `explore.estimate.Estimate`; error in mm, cost in CPU seconds."""

    mm: float
    cpu_s: float
    in_full: bool


Ask = Callable[[Arch, list[TrainedNetwork]], Estimated]  # arguments: a network, and the networks trained in full so far


def full(world: World) -> Ask:
    return lambda arch, finished: Estimated(world.trained(arch), world.recorded.full(arch), in_full=True)


def short_runs(world: World) -> Ask:
    """Double the samples of networks in the better half.

    Errors are recorded for one length only. For longer runs, the error is interpolated towards full training in log
    samples, and the cost in samples.
    """
    found, samples = world.recorded.estimators["short"], reference.SET["training"]["samples"]
    peers: dict[int, list[tuple[float, float]]] = {}

    def seconds(arch: Arch, length: int) -> float:
        near, far = found.each(arch), world.recorded.full(arch)
        return near + (far - near) * (length - found.budget) / (samples - found.budget)

    def ask(arch: Arch, finished: list[TrainedNetwork]) -> Estimated:
        seen, more, spent = 0, found.budget, 0.0
        while True:
            seen, spent = seen + more, spent + seconds(arch, more)
            way = math.log(seen / found.budget) / math.log(samples / found.budget)
            mm = (1 - way) * world.estimate("short", arch) + way * world.trained(arch)
            group = peers.setdefault(seen, [])
            group.append((mm, float(cost(arch).macs)))
            if 2 * seen > samples or not short.in_better_half(group, group[-1]):
                return Estimated(mm, spent, in_full=False)
            more = seen

    return ask


def inherited(world: World) -> Ask:
    found, whole = world.recorded.estimators["inherit"], full(world)

    def ask(arch: Arch, finished: list[TrainedNetwork]) -> Estimated:
        if len(inherit.compatible_parents(arch, finished)) < inherit.MIN_PARENTS:
            return whole(arch, finished)
        return Estimated(world.estimate("inherit", arch), found.each(arch), in_full=False)

    return ask


def supernet_slices(world: World) -> Ask:
    found = world.recorded.estimators["supernet"]
    return lambda arch, finished: Estimated(world.estimate("supernet", arch), found.each(arch), in_full=False)


def predicted(world: World) -> Ask:
    """Run the real estimator, fitted on the networks that the search has trained; its CPU time is measured."""
    whole, confidence = full(world), EstimateConfig().confidence
    learned: dict[int, Any] = {}
    fitted: dict[int, predictor.ErrorModel] = {}  # by the number of training networks

    def ask(arch: Arch, finished: list[TrainedNetwork]) -> Estimated:
        if len(finished) < predictor.MIN_NETWORKS:
            return whole(arch, finished)
        started = time.process_time()
        if len(finished) not in fitted:
            fitted.clear()
            archs, mm = [other.arch for other in finished], [other.mpjpe_mm for other in finished]
            fitted[len(finished)] = predictor.fit(archs, mm, 0, learned)
        mean, deviation = (float(value[0]) for value in fitted[len(finished)].predict([arch]))
        moves = predictor.may_improve_front(arch, mean, deviation, confidence, finished)
        spent = time.process_time() - started
        if not moves:
            return Estimated(mean, spent, in_full=False)
        trained = whole(arch, finished)
        return Estimated(trained.mm, trained.cpu_s + spent, in_full=True)

    return ask


ESTIMATORS: dict[str, Callable[[World], Ask]] = {
    "full": full, "short": short_runs, "inherit": inherited, "supernet": supernet_slices, "predictor": predicted,
}  # fmt: skip
NO_WEIGHTS = Path()
