"""Asynchronous successive halving (Li et al. 2020): after each rung of its training, only the best 1/eta continue.

The operator check, the costs and the latency predictor need no training and come first (`explore.search.study`). A
candidate is then trained to each fraction in `SearchConfig.rungs`, and continues if it is among the best 1/eta of all
candidates that reached the rung before it: by non-dominated rank in error and predicted latency (MACs without a
predictor), then by crowding distance. After the last rung it is trained in full, exported, evaluated and measured.

No candidate waits for another. Errors and decisions are kept in the storage; a resumed study does not repeat them. The
paper's networks always continue, and do not count among the best.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel

from arch.cost import cost
from arch.errors import InputError
from arch.space import Arch
from explore.pareto import crowding_sort
from explore.search.config import SearchConfig
from explore.search.costs.objectives import predicted_ms
from explore.search.results import TrainResult
from explore.search.workers.leases import TrialLease

STEPS = "rungs"  # user attribute of a trial: its error and the decision at each rung
STAGE = "stage"  # user attribute of a trial: the check that it failed before training
STAGE_V1 = "rung"  # the name of that attribute in version 0.1


class Step(BaseModel):
    """A candidate at a rung.

    share: fraction of a full training
    mm: error of the float network
    ms: predicted latency; None without a predictor
    goes_on: the decision; None before it
    place, of, on: position among the candidates at this rung, their number, and the number that continues
    """

    share: float
    mm: float
    macs: int
    ms: float | None
    goes_on: bool | None = None
    place: int = 0
    of: int = 0
    on: int = 0

    @property
    def reason(self) -> str:
        cost = f"{self.macs / 1e6:.1f} M MACs" if self.ms is None else f"{self.ms:.3f} ms predicted"
        return (
            f"stopped at {self.share:.0%} of its training: {self.mm:.1f} mm, {cost}; "
            f"place {self.place} of {self.of}, the first {self.on} continue"
        )


class Stopped(Exception):
    """A candidate is not trained any further."""

    def __init__(self, step: Step) -> None:
        super().__init__(step.reason)
        self.step = step


def check_rungs(config: SearchConfig) -> None:
    """Check the rungs of a study.

    Raises:
        InputError: fractions that do not rise between 0 and 1, parts shorter than a batch, or an estimator besides.
    """
    if not config.rungs:
        return
    fractions, text = (0.0, *config.rungs, 1.0), ",".join(f"{fraction:g}" for fraction in config.rungs)
    if any(a >= b for a, b in pairwise(fractions)):
        raise InputError(f"rungs: {text}: write fractions that rise between 0 and 1, such as 0.1,0.3")
    shortest = min(b - a for a, b in pairwise(fractions)) * config.candidate.samples
    if shortest < config.candidate.batch_size:
        raise InputError(
            f"rungs: {text}: leave {shortest:.0f} of {config.candidate.samples} samples to a part, less than a batch "
            f"of {config.candidate.batch_size}; raise candidate.samples, or take fewer rungs"
        )
    if config.estimator != "full":
        raise InputError(f"rungs: estimator {config.estimator} does not train in parts; leave one of the two out")


def samples_at(config: SearchConfig, index: int) -> int:
    """Return the training samples that a candidate has seen at a rung; 0 for index -1."""
    return round(config.rungs[index] * config.candidate.samples) if index >= 0 else 0


def training_seconds(config: SearchConfig, candidate: TrainResult) -> float:
    """Return the training time of a candidate in s, including the parts before rungs; `train_s`: the last part."""
    if not candidate.samples or not candidate.train_s:
        return 0.0
    last_part = candidate.samples - samples_at(config, len(config.rungs) - 1)
    return candidate.train_s * candidate.samples / last_part


def rung_weights(config: SearchConfig, arch: Arch, index: int) -> Path:
    """Return the file of a candidate's weights at a rung."""
    return config.folder / "candidates" / arch.id / f"rung-{samples_at(config, index)}.safetensors"


def pass_rung(config: SearchConfig, study: optuna.Study, lease: TrialLease, arch: Arch, index: int, mm: float) -> None:
    """Record the error of a candidate at a rung and decide whether it continues.

    Raises:
        Stopped: it is not among the best.
    """
    trial = lease.trial
    steps = [Step.model_validate(step) for step in trial.user_attrs.get(STEPS, [])]
    if index == len(steps):
        steps.append(
            Step(
                share=config.rungs[index],
                mm=mm,
                macs=cost(arch).macs,
                ms=predicted_ms(config, arch, trial.user_attrs["recipe"]),
            )
        )
        _write(lease, steps)  # before reading the others, so that of two workers at least one sees the other
    step = steps[index]
    if step.goes_on is None:
        _decide(step, _peers(study, trial.number, arch, index), config.eta, "baseline" in trial.user_attrs)
        _write(lease, steps)
    if not step.goes_on:
        raise Stopped(step)


def _write(lease: TrialLease, steps: list[Step]) -> None:
    lease.at("rung")  # raises if another worker has the trial
    lease.trial.set_user_attr(STEPS, [step.model_dump(exclude_defaults=True) for step in steps])


def _peers(study: optuna.Study, number: int, arch: Arch, index: int) -> list[tuple[Step, bool]]:
    """Return the other networks at a rung, each once, and whether each is one of the paper's."""
    found = {}
    for trial in study.get_trials(deepcopy=False):
        steps = trial.user_attrs.get(STEPS, [])
        if trial.number != number and trial.user_attrs.get("arch") != arch.id and len(steps) > index:
            found[trial.user_attrs["arch"]] = Step.model_validate(steps[index]), "baseline" in trial.user_attrs
    return list(found.values())


def _decide(step: Step, peers: list[tuple[Step, bool]], eta: float, always: bool) -> None:
    """Fill in the decision of `step`; `always` lets it continue at any position."""
    steps = [other for other, _ in peers] + [step]
    costs = [s.macs for s in steps] if any(s.ms is None for s in steps) else [s.ms for s in steps]
    points = np.array(list(zip([s.mm for s in steps], costs, strict=True)), np.float64)
    counted = np.array([not paper for _, paper in peers] + [True])
    order = crowding_sort(points)
    step.place = 1 + [i for i in order if counted[i]].index(len(peers))
    step.of = int(counted.sum())
    step.on = math.ceil(step.of / eta)
    step.goes_on = always or step.place <= step.on


def is_stopped(trial: FrozenTrial) -> bool:
    """Return whether a trial was trained and stopped at a rung; it is finished and not tried again."""
    return trial.state == TrialState.PRUNED and STEPS in trial.user_attrs


def last_step(trial: FrozenTrial) -> Step:
    """Return the last rung of a stopped trial."""
    return Step.model_validate(trial.user_attrs[STEPS][-1])


def stage_reached(trial: FrozenTrial) -> str:
    """Return how far a trial without a result came: the check that it failed, or the fraction of its training."""
    steps = trial.user_attrs.get(STEPS)
    if steps:
        return f"trained {steps[-1]['share']:.0%}"
    return str(trial.user_attrs.get(STAGE, trial.user_attrs.get(STAGE_V1, "")))
