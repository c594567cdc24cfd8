"""The study: which network is tried next. An Optuna storage holds all of it, so that any process may stop and go on."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from arch.cost import cost
from arch.errors import InputError
from arch.files import content_hash
from arch.search_space import Space
from arch.space import Arch, make_arch, preset
from explore.config import SearchConfig
from explore.host import host_folder, locked
from explore.search import devices
from explore.search.choice import obstacles, searched, suggest
from explore.search.claims import NEEDS, Claim, Watch, make_trial, put_back, put_back_dead, take_waiting, why_given_up
from explore.search.gaussian import GaussianSampler
from explore.search.rungs import RUNG, stopped
from explore.search.storage import FINALISTS, is_search, open_storage, storage_url

BASELINES = ("paper-L", "paper-S", "paper-XS")
ATTEMPTS = 200  # draws in a row that give nothing new before the space counts as exhausted

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class SearchFailed(RuntimeError):
    """Too many candidates failed for the search to go on."""


@dataclass(frozen=True)
class Task:
    """A network to work on, and the claim on its trial."""

    claim: Claim
    arch: Arch
    recipes: tuple[str, ...]  # that a finalist ships by; a candidate has one

    @property
    def number(self) -> int:
        return int(self.claim.trial.number)


def baselines(config: SearchConfig, space: Space) -> dict[str, Arch]:
    """The paper's three models as this study has them: at its scale, of its joints, with the space's first activation."""
    found = {}
    for name in BASELINES:
        for activation in ("", "-relu"):
            arch = preset(f"{name}{activation}@{config.scale}").replace(joints=space.joints)
            if space.contains(arch):
                found[f"{name}{activation}@{config.scale}"] = arch
                break
    return found


def open_study(config: SearchConfig, finalists: bool = False) -> optuna.Study:
    """The study in the storage, or that of its finalists; made when there is none."""
    if not config.storage:
        config.folder.mkdir(parents=True, exist_ok=True)
    count = 2 if finalists else len(devices.objectives(config))
    return optuna.create_study(
        storage=open_storage(storage_url(config)),
        study_name=config.name + FINALISTS if finalists else config.name,
        directions=["minimize"] * count,
        load_if_exists=True,
    )


def open_stored(folder: Path) -> optuna.Study:
    """The study whose storage lies in `folder`, whatever its name was where it was made.

    Raises:
        InputError: no storage of this Optuna, or more than one study in it.
    """
    path = folder / "study.db"
    storage = f"sqlite:///{path.resolve()}"
    try:
        names = [name for name in optuna.get_all_study_names(storage) if is_search(name)]
        return optuna.load_study(study_name=names[0] if len(names) == 1 else None, storage=storage)
    except Exception as error:  # SQLAlchemy's, Optuna's and sqlite3's errors have no common class
        raise InputError(f"{path}: cannot be opened ({str(error).splitlines()[0]}); move it away or mend it") from None


def prepare_study(config: SearchConfig, space: Space) -> optuna.Study:
    """Open the study and, when it is new, put the paper's models first in line."""
    study = open_study(config)
    if not study.get_trials(deepcopy=False):
        study.set_metric_names(list(devices.objectives(config)))
        for name, arch in baselines(config, space).items():
            first = {"recipe": searched(config)[0]} if len(searched(config)) > 1 else {}
            study.enqueue_trial(space.parameters(arch) | first, user_attrs={"baseline": name})
    return study


def sampler(config: SearchConfig, draws: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler with a seed from the study's and the number of trials, so that a resumed study asks alike."""
    seed = (config.seed * 100003 + draws) % 2**32
    match config.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=8)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=12)
        case "gp":
            return GaussianSampler(seed)
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)


def next_task(
    study: optuna.Study, config: SearchConfig, space: Space, watch: Watch, able: frozenset[str]
) -> Task | None:
    """The next candidate to work on: one that a dead worker left, else a new one; None when enough are finished.

    Where enough are running but not finished it waits, for their workers may die.

    Raises:
        SearchFailed: as many trials failed as were asked for.
    """
    exhausted = False
    while True:
        # Between machines the storage's compare-and-set decides; on one machine this lock also keeps counts exact.
        with asking(config):
            put_back_dead(study, watch)
            trials = study.get_trials(deepcopy=False)
            _give_up(trials, config)
            finished = sum(map(_finished, trials))
            begun = sum(map(_begun, trials))
            if finished >= config.trials or (exhausted and finished == begun):
                return None
            study.sampler = sampler(config, len(trials))
            for _ in range(ATTEMPTS):
                trial = take_waiting(study, able, only_handed_over=begun >= config.trials)
                if trial is None and begun < config.trials and not exhausted:
                    trial = make_trial(study)
                if trial is None:
                    break
                if _enough(study, trial.number, config):
                    put_back(study, trial._trial_id)
                    break
                if made := _admit(Claim(study, trial, config.lease), study, config, space):
                    return made
            else:
                exhausted = True
        time.sleep(min(2.0, config.lease / 10))


def next_finalist(study: optuna.Study, config: SearchConfig, watch: Watch, able: frozenset[str]) -> Task | None:
    """The next finalist to work on; None when all are finished."""
    while True:
        with asking(config):
            put_back_dead(study, watch)
            while trial := take_waiting(study, able):
                claim = Claim(study, trial, config.lease)
                if reason := why_given_up(claim):
                    end(claim, reason, TrialState.FAIL)
                    continue
                arch = make_arch(trial.user_attrs["network"], f"{study.study_name}: trial {trial.number}")
                return Task(claim, arch, tuple(trial.user_attrs["recipes"]))
        if not study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
            return None
        time.sleep(min(2.0, config.lease / 10))


def _give_up(trials: list[FrozenTrial], config: SearchConfig) -> None:
    failed = [t for t in trials if t.state == TrialState.FAIL]
    if len(failed) > max(3, config.trials):
        reason = failed[-1].user_attrs.get("reason", "unknown")
        raise SearchFailed(f"{len(failed)} candidates failed; the last: {reason}")


def _admit(claim: Claim, study: optuna.Study, config: SearchConfig, space: Space) -> Task | None:
    """The task of a trial if its network is possible, new and cheap enough to train; else it ends here, pruned."""
    trial = claim.trial
    if reason := why_given_up(claim):
        end(claim, reason, TrialState.FAIL)
        return None
    reason, rung = "", "space"
    try:
        arch, chosen = suggest(trial, config, space)
    except InputError as error:
        reason = f"impossible: {error}"
    else:
        share = cost(arch).macs / cost(preset(f"paper-L@{config.scale}")).macs
        if "cost" not in trial.constraints:  # set before by a worker that died
            trial.set_constraint("cost", share - config.max_cost)
        trial.set_user_attr("recipe", chosen)
        trial.set_user_attr("arch", arch.id)  # before looking, so that of two workers at least one sees the other
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        before = [
            t
            for t in others
            if t.user_attrs.get("arch") == arch.id
            and t.user_attrs.get("recipe", config.recipe) == chosen
            and (t.state != TrialState.PRUNED or stopped(t))
        ]
        if before:
            reason, rung = f"already tried as trial {before[0].number}", "known"
        elif unshippable := obstacles(config, arch, chosen):
            reason, rung = f"cannot ship: {unshippable[0]}", "audit"
        elif share > config.max_cost and "baseline" not in trial.user_attrs:
            reason, rung = f"{share:.2f} of paper-L's MACs, above max_cost {config.max_cost}", "cost"
        elif "baseline" not in trial.user_attrs:
            reason, rung = devices.screen(config, arch, chosen), "predictor"
    if reason:
        trial.set_user_attr(RUNG, rung)
        end(claim, reason, TrialState.PRUNED)
        return None
    return Task(claim, arch, (chosen,))


def _finished(trial: FrozenTrial) -> bool:
    """Whether a trial has used one of the networks that were asked for: it was measured, or stopped at a rung."""
    return trial.state == TrialState.COMPLETE or stopped(trial)


def _begun(trial: FrozenTrial) -> bool:
    """Whether a trial is finished, worked on, or waits for another worker to finish it."""
    handed_over = trial.state == TrialState.WAITING and NEEDS in trial.user_attrs
    return handed_over or trial.state == TrialState.RUNNING or _finished(trial)


def _enough(study: optuna.Study, number: int, config: SearchConfig) -> bool:
    """Whether workers that asked at the same moment already have what is left to do; the lower numbers go first."""
    others = [t for t in study.get_trials(deepcopy=False) if t.number != number and _begun(t)]
    return sum(_finished(t) or t.number < number for t in others) >= config.trials


def finish(claim: Claim, values: list[float], facts: dict[str, Any]) -> None:
    """Tell the storage what a trial gave."""
    for key, value in facts.items():
        claim.trial.set_user_attr(key, value)
    claim.done(values)


def end(claim: Claim, reason: str, state: TrialState) -> None:
    """Tell the storage that a trial failed or was pruned and why."""
    claim.trial.set_user_attr("reason", reason)
    claim.done(None, state)


@contextmanager
def asking(config: SearchConfig) -> Iterator[None]:
    """One process of this machine at a time asks for work of a study."""
    name = content_hash(storage_url(config) + config.name)
    with locked(host_folder() / f"ask-{name}.lock"):
        yield
