"""Simulated searches: the project's samplers and selection of finalists, with errors from a surrogate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna

from arch.cost import cost
from arch.space import Arch
from benchmarks.hypervolume.replayed_estimators import ESTIMATORS, NO_WEIGHTS
from benchmarks.hypervolume.world import World
from explore.estimate import TrainedNetwork
from explore.pareto import Points, hypervolume, select_along_front
from explore.search.config import SearchConfig
from explore.search.proposals import MAX_DRAWS
from explore.search.samplers import make_sampler


@dataclass(frozen=True)
class Candidate:
    """One network of a search; `cpu_s` includes the export of its file."""

    arch: Arch
    mm: float
    ms: float
    cpu_s: float
    in_full: bool


@dataclass(frozen=True)
class Stop:
    """CPU time of a stopped search, and the networks that it exports."""

    cpu_s: float
    exported: tuple[Arch, ...]


def replay(world: World, estimator: str, sampler_name: str, wanted: int) -> list[Candidate]:
    """Return the first `wanted` candidates of a search with one worker, chosen as in `explore.search.study`."""
    config = SearchConfig.model_validate({"space": "elastic", "sampler": sampler_name, "seed": world.seed})
    study = optuna.create_study(directions=["minimize"] * 2)
    limit = config.mac_limit
    ask, space = ESTIMATORS[estimator](world), world.recorded.space
    found: dict[str, Candidate] = {}
    finished: list[TrainedNetwork] = []
    while len(found) < wanted:
        study.sampler = make_sampler(
            config.sampler, (world.seed * 100003 + len(study.get_trials(deepcopy=False))) % 2**32
        )
        for _ in range(MAX_DRAWS):
            trial = study.ask()
            arch = space.suggest(trial.suggest_categorical)
            trial.set_constraint("cost", cost(arch).macs / limit - 1)
            if arch.id not in found and cost(arch).macs <= limit:
                break
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            break  # no new network was found
        answer = ask(arch, finished)
        found[arch.id] = Candidate(arch, answer.mm, world.ms(arch), answer.cpu_s + world.export_s, answer.in_full)
        if answer.in_full:
            finished.append(TrainedNetwork(arch, answer.mm, NO_WEIGHTS))
        study.tell(trial, [answer.mm, world.ms(arch)])
    return list(found.values())


def stop_search(world: World, estimator: str, candidates: Sequence[Candidate], finalists: int) -> Stop:
    """Return the cost and the finalists of a search; finalists without full training are trained at the end."""
    chosen = [candidates[i] for i in select_along_front(np.array([[one.mm, one.ms] for one in candidates]), finalists)]
    once = world.recorded.estimators[estimator].once if estimator in world.recorded.estimators else 0.0
    spent = once + sum(one.cpu_s for one in candidates)
    spent += sum(world.recorded.full(one.arch) + world.export_s for one in chosen if not one.in_full)
    return Stop(spent, tuple(one.arch for one in chosen))


def volume(world: World, archs: Sequence[Arch], corner: Points) -> float:
    """Return the hypervolume by true errors, in mm x decades of ms, up to the reference point `corner`."""
    return float(hypervolume(np.array([[world.error(arch), np.log10(world.ms(arch))] for arch in archs]), corner))
