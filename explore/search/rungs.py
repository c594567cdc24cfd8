"""Rungs: candidates climb from cheap to dear, and at each rung of their training all but the better ones stop.

Audit, costs and the predictor come first and need no training (`explore.search.study`). Then a candidate is trained to
each share in `config.rungs` of a full training, and goes on if it is among the better 1/eta of all that came so far:
by rank of nondomination in error and latency as predicted, or MACs where nothing predicts, then by how alone it is on
its front. What came through all of them is trained in full, and its INT8 file is made, judged and timed.

Nobody waits for anybody, as in asynchronous successive halving (Li et al. 2020): a candidate is compared with those
that were there before it. What each gave at a rung, and whether it went on, stands in the storage; a resumed study asks
no rung again. The paper's models always go on, and take nobody's place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel

from arch.cost import cost
from arch.errors import InputError
from arch.space import Arch
from explore.config import SearchConfig
from explore.search import devices
from explore.search.claims import Claim
from explore.search.front import best_first

STEPS = "rungs"  # user attribute of a trial: what it gave at each rung
RUNG = "rung"  # user attribute of a trial that was refused before training: by which check


class Step(BaseModel):
    """A candidate at a rung."""

    share: float  # of its training
    mm: float  # error of the float network
    macs: int
    ms: float | None  # predicted latency, where there is a predictor
    goes_on: bool | None = None  # None: not decided yet
    place: int = 0  # among those that may go on
    of: int = 0  # so many came to the rung before it, itself included
    on: int = 0  # so many of them may go on

    @property
    def reason(self) -> str:
        dear = f"{self.macs / 1e6:.1f} M MACs" if self.ms is None else f"{self.ms:.3f} ms predicted"
        return (
            f"stopped at {self.share:.0%} of its training: {self.mm:.1f} mm, {dear}; "
            f"place {self.place} of {self.of}, the first {self.on} go on"
        )


class Stopped(Exception):
    """A candidate goes no further."""

    def __init__(self, step: Step) -> None:
        super().__init__(step.reason)
        self.step = step


def check(config: SearchConfig) -> None:
    """Refuse rungs that cannot be.

    Raises:
        InputError: shares that do not rise between 0 and 1, or less than a batch; an estimator besides.
    """
    if not config.rungs:
        return
    shares = (0.0, *config.rungs, 1.0)
    if any(a >= b for a, b in pairwise(shares)):
        raise InputError(f"rungs: {_text(config.rungs)}: write shares that rise between 0 and 1, such as 0.1,0.3")
    least = min(b - a for a, b in pairwise(shares)) * config.candidate.samples
    if least < config.candidate.batch:
        raise InputError(
            f"rungs: {_text(config.rungs)}: leave {least:.0f} of {config.candidate.samples} samples to a part, less "
            f"than a batch of {config.candidate.batch}; raise candidate.samples, or take fewer rungs"
        )
    if config.estimator != "full":
        raise InputError(f"rungs: have no use with the estimator {config.estimator}, which estimates; leave one out")


def samples_at(config: SearchConfig, index: int) -> int:
    """Training samples that a candidate has seen at a rung; before the first, none."""
    return round(config.rungs[index] * config.candidate.samples) if index >= 0 else 0


def at_rung(config: SearchConfig, folder: Path, index: int) -> Path:
    """Weights of a candidate at a rung."""
    return folder / f"rung-{samples_at(config, index)}.safetensors"


def _text(shares: Sequence[float]) -> str:
    return ",".join(f"{share:g}" for share in shares)


def climb(
    config: SearchConfig,
    study: optuna.Study,
    claim: Claim,
    arch: Arch,
    train_to: Callable[[Arch, int], float],
) -> None:
    """Take a candidate up its rungs; `train_to` trains to the rung of that index and gives the error in mm.

    Raises:
        Stopped: it is not among the better ones.
    """
    trial = claim.trial
    for index, share in enumerate(config.rungs):
        steps = steps_of(trial)
        if index == len(steps):
            mm = train_to(arch, index)
            steps.append(Step(share=share, mm=mm, macs=cost(arch).macs, ms=devices.predicted(config, arch)))
            _write(claim, steps)  # before looking, so that of two workers at least one sees the other
        step = steps[index]
        if step.goes_on is None:
            _decide(step, _peers(study, trial.number, arch, index), config.eta, "baseline" in trial.user_attrs)
            _write(claim, steps)
        if not step.goes_on:
            raise Stopped(step)


def _write(claim: Claim, steps: list[Step]) -> None:
    claim.at("rung")  # which says if another worker has the trial now
    claim.trial.set_user_attr(STEPS, [step.model_dump(exclude_defaults=True) for step in steps])


def steps_of(trial: optuna.Trial | FrozenTrial) -> list[Step]:
    """What a trial gave at its rungs so far."""
    return [Step.model_validate(step) for step in trial.user_attrs.get(STEPS, [])]


def _peers(study: optuna.Study, number: int, arch: Arch, index: int) -> list[tuple[Step, bool]]:
    """Other networks at a rung, each once whatever recipes it is tried by, and whether it is one of the paper's."""
    found = {}
    for trial in study.get_trials(deepcopy=False):
        steps = trial.user_attrs.get(STEPS, [])
        if trial.number != number and trial.user_attrs.get("arch") != arch.id and len(steps) > index:
            found[trial.user_attrs["arch"]] = Step.model_validate(steps[index]), "baseline" in trial.user_attrs
    return list(found.values())


def _decide(step: Step, peers: list[tuple[Step, bool]], eta: float, always: bool) -> None:
    """Fill in whether a candidate goes on: among the better 1/eta of those that came, and always if so told."""
    steps = [other for other, _ in peers] + [step]
    dear = [s.macs for s in steps] if any(s.ms is None for s in steps) else [s.ms for s in steps]
    points = np.array(list(zip([s.mm for s in steps], dear, strict=True)), np.float64)
    counted = np.array([not paper for _, paper in peers] + [True])
    order = best_first(points)
    step.place = 1 + [i for i in order if counted[i]].index(len(peers))
    step.of = int(counted.sum())
    step.on = math.ceil(step.of / eta)
    step.goes_on = always or step.place <= step.on


def stopped(trial: FrozenTrial) -> bool:
    """Whether a trial was trained and stopped at a rung; as good as finished, for it is not tried again."""
    return trial.state == TrialState.PRUNED and STEPS in trial.user_attrs


def reached(trial: FrozenTrial) -> str:
    """How far a trial came: audit, cost or predictor, which it did not pass; a share of training; its file measured."""
    if trial.state == TrialState.COMPLETE:
        facts: dict[str, Any] = trial.user_attrs.get("result", {})
        return "measured" if facts.get("measured", True) else "predicted"
    steps = trial.user_attrs.get(STEPS)
    return f"trained {steps[-1]['share']:.0%}" if steps else str(trial.user_attrs.get(RUNG, ""))
