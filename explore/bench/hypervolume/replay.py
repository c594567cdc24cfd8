"""A search in a drawn world: the project's sampler asks, an estimator answers, finalists are trained in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna

from arch.cost import cost
from arch.space import Arch, preset
from explore.bench.hypervolume.answers import MAKE, NOWHERE
from explore.bench.hypervolume.world import World
from explore.config import SearchConfig
from explore.estimate import Finished
from explore.search.front import Points, choose, hypervolume
from explore.search.study import ATTEMPTS, sampler


@dataclass(frozen=True)
class Candidate:
    """One network of a search. cpu_s: spent on it, shipping its file for the search's eyes included."""

    arch: Arch
    mm: float
    ms: float
    cpu_s: float
    in_full: bool


@dataclass(frozen=True)
class Stop:
    """What a search that is stopped after `candidates` has spent, and the networks that it then ships."""

    candidates: int
    cpu_s: float
    shipped: tuple[Arch, ...]


def replay(world: World, estimator: str, asks: str, wanted: int) -> list[Candidate]:
    """The first `wanted` candidates of a search with one worker, as `explore.search.study.next_task` finds them."""
    config = SearchConfig.model_validate({"space": "elastic", "sampler": asks, "seed": world.seed})
    study = optuna.create_study(directions=["minimize"] * 2)
    limit = config.max_cost * cost(preset(f"paper-L@{config.scale}")).macs
    ask, space = MAKE[estimator](world), world.known.space
    found: dict[str, Candidate] = {}
    finished: list[Finished] = []
    while len(found) < wanted:
        study.sampler = sampler(config, len(study.get_trials(deepcopy=False)))
        for _ in range(ATTEMPTS):
            trial = study.ask()
            arch = space.suggest(trial.suggest_categorical)
            trial.set_constraint("cost", cost(arch).macs / limit - 1)
            if arch.id not in found and cost(arch).macs <= limit:
                break
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            break  # nothing new is left
        answer = ask(arch, finished)
        found[arch.id] = Candidate(arch, answer.mm, world.ms(arch), answer.cpu_s + world.ship_s, answer.in_full)
        if answer.in_full:
            finished.append(Finished(arch, answer.mm, NOWHERE))
        study.tell(trial, [answer.mm, world.ms(arch)])
    return list(found.values())


def stopped(world: World, estimator: str, candidates: Sequence[Candidate], finalists: int) -> Stop:
    """Finalists are chosen as a search chooses them; those that no training has seen in full are trained now."""
    chosen = [candidates[i] for i in choose(np.array([[one.mm, one.ms] for one in candidates]), finalists)]
    once = world.known.estimators[estimator].once if estimator in world.known.estimators else 0.0
    spent = once + sum(one.cpu_s for one in candidates)
    spent += sum(world.known.full(one.arch) + world.ship_s for one in chosen if not one.in_full)
    return Stop(len(candidates), spent, tuple(one.arch for one in chosen))


def volume(world: World, archs: Sequence[Arch], corner: Points) -> float:
    """Hypervolume of networks by their own errors: mm x decades of ms, up to `corner`, (mm, decades)."""
    return float(hypervolume(np.array([[world.error(arch), np.log10(world.ms(arch))] for arch in archs]), corner))
