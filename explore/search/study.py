"""The study: which network is tried next. Its storage holds the whole state; any process may stop and resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from arch.cost import cost
from arch.errors import InputError, WorkError, shortened
from arch.files import content_hash
from arch.old_names import current_choices
from arch.search_space import Space
from arch.space import Arch, preset
from explore.host import host_folder, locked
from explore.search.config import SearchConfig
from explore.search.costs.objectives import limit_check, objectives
from explore.search.proposals import MEAN_POSE, network_of, new_template, propose
from explore.search.recipes_of_trial import RECIPE, searched_recipes, suggest, unsupported
from explore.search.rungs import STAGE, is_stopped
from explore.search.storage.backends import is_search, open_storage, storage_url
from explore.search.storage.optuna_private import new_trial, return_to_queue, start_waiting, trial_key
from explore.search.storage.trial_values import is_complete
from explore.search.workers.leases import NEEDS, LeaseMonitor, TrialLease, requeue_dead, take_waiting

BASELINES = ("paper-L", "paper-S", "paper-XS")
EXHAUSTED = "exhausted"  # user attribute of the study: why the space has no further network


class SearchFailed(WorkError):
    """The search cannot continue."""


@dataclass(frozen=True)
class Task:
    """A network to evaluate with a recipe, and the lease on its trial."""

    lease: TrialLease
    arch: Arch
    recipe: str

    @property
    def number(self) -> int:
        return int(self.lease.trial.number)


def baselines(config: SearchConfig, space: Space) -> dict[str, Arch]:
    """Return the paper's networks at the study's input size, with its joints and the space's first activation."""
    found = {}
    for name in BASELINES:
        for activation in ("", "-relu"):
            arch = preset(f"{name}{activation}@{config.input_size}").replace(num_joints=space.num_joints)
            if space.contains(arch):
                found[arch.name] = arch
                break
    return found


def references(config: SearchConfig, space: Space) -> dict[str, Arch]:
    """Return the presets in `config.references` by their names in this study, with the space's number of joints.

    A preset that cannot be exported (LiteRT has no INT8 kernel for the paper's PReLU) is taken with ReLU.

    Raises:
        InputError: an unknown preset, or one that cannot be exported with ReLU either.
    """
    found = {}
    for name in config.references:
        if "@" in name:
            raise InputError(f"references: '{name}': leave out the input size; it is the study's")
        arch = preset(f"{name}@{config.input_size}").replace(num_joints=space.num_joints)
        if unsupported(config, arch):
            arch = arch.replace(activation="relu")
        for line in unsupported(config, arch):
            raise InputError(f"references: {name}: {line}")
        found[arch.name] = arch
    return found


def open_study(config: SearchConfig) -> optuna.Study:
    """Open the study in its storage, or create it."""
    if not config.storage:
        config.folder.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=open_storage(storage_url(config)),
        study_name=config.name,
        directions=["minimize"] * len(objectives(config)),
        load_if_exists=True,
    )


def open_stored(folder: Path) -> optuna.Study:
    """Open the study whose storage lies in `folder`, whatever its name was when it was created.

    Raises:
        InputError: no storage of this version of Optuna, or several studies in it.
    """
    path = folder / "study.db"
    storage = f"sqlite:///{path.resolve()}"
    try:
        names = [name for name in optuna.get_all_study_names(storage) if is_search(name)]
        return optuna.load_study(study_name=names[0] if len(names) == 1 else None, storage=storage)
    except Exception as error:  # errors of SQLAlchemy, Optuna and sqlite3 have no common base class
        raise InputError(f"{path}: cannot be opened ({shortened(error, 300)}); move it away or repair it") from None


def prepare_study(config: SearchConfig, space: Space, mean_pose_mm: float = 0.0) -> optuna.Study:
    """Open the study; in a new one, enqueue the paper's networks, the smallest first.

    A search that has time for one candidate only then has one within its limit of MACs.

    mean_pose_mm: error of the mean-pose baseline on the validation part, for the sampler; 0: unknown
    """
    study = open_study(config)
    study.set_user_attr(EXHAUSTED, "")
    if mean_pose_mm:
        study.set_user_attr(MEAN_POSE, mean_pose_mm)
    known = dict(sorted(baselines(config, space).items(), key=lambda item: cost(item[1]).macs))
    wanted = _end_unfinished_of_0_1(study)
    trials = study.get_trials(deepcopy=False)
    if not any(is_own(trial) and trial.state != TrialState.WAITING for trial in trials):
        study.set_metric_names(list(objectives(config)))
        enqueued = {trial.user_attrs.get("baseline") for trial in trials}  # of a call that was stopped here
        wanted = [name for name in known if name not in enqueued]  # trials that the user enqueued come first
    recipes = searched_recipes(config)
    for name in wanted:
        choices = space.parameters(known[name]) | ({RECIPE: recipes[0]} if len(recipes) > 1 else {})
        study.add_trial(new_template(study, choices, config, space, TrialState.WAITING, user_attrs={"baseline": name}))
    return study


def _end_unfinished_of_0_1(study: optuna.Study) -> list[str]:
    """End the unfinished trials whose parameters have names of version 0.1; return the paper's networks among them."""
    baselines = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
        params = trial.params | trial.system_attrs.get("fixed_params", {})
        if current_choices(params) == params:
            continue
        waiting = trial.state == TrialState.WAITING
        if started := start_waiting(study, trial) if waiting else Trial(study, trial_key(trial)):
            started.set_user_attr("reason", "left unfinished by version 0.1")
            study.tell(started, state=TrialState.PRUNED)
            baselines += [trial.user_attrs["baseline"].removesuffix("@256")] if "baseline" in trial.user_attrs else []
    return baselines


def is_own(trial: FrozenTrial) -> bool:
    """Return whether this program made or tried a trial; others may add trials through Optuna."""
    return "baseline" in trial.user_attrs or "arch" in trial.user_attrs


def completed(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials whose network was evaluated and measured."""
    return list(filter(is_complete, study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))))


def next_task(
    study: optuna.Study,
    config: SearchConfig,
    space: Space,
    monitor: LeaseMonitor,
    abilities: frozenset[str],
    may_wait: Callable[[], bool] = lambda: True,
) -> Task | None:
    """Return the next candidate: one that a dead worker left, else a new one; None when enough are finished.

    While enough candidates are running, wait for them, since their workers may die.

    may_wait: returns whether the budget leaves time to start the work of others

    Raises:
        SearchFailed: as many trials failed as were requested.
    """
    exhausted = bool(study.user_attrs.get(EXHAUSTED))
    lock = host_folder() / f"ask-{content_hash([storage_url(config), config.name])}.lock"
    while True:
        # Workers of different machines agree by the storage's atomic steps; the lock keeps counts exact on one machine.
        with locked(lock):
            requeue_dead(study, monitor)
            trials = study.get_trials(deepcopy=False)
            _check_failures(trials, config)
            finished = sum(map(_is_finished, trials))
            begun = sum(map(_is_begun, trials))
            if finished >= config.trials or (exhausted and finished == begun):
                return None
            trial: Trial | None
            while trial := take_waiting(study, abilities, only_handed_over=begun >= config.trials):
                if _others_suffice(study, trial.number, config):
                    return_to_queue(study, trial)
                    break
                if task := _admit(TrialLease(study, trial, config.lease), study, config, space):
                    return task
            if trial is None and begun < config.trials and not exhausted:
                proposal = propose(study, config, space)
                if isinstance(proposal, FrozenTrial):
                    trial = new_trial(study, proposal)
                    if _others_suffice(study, trial.number, config):
                        return_to_queue(study, trial)
                    elif task := _admit(TrialLease(study, trial, config.lease), study, config, space):
                        return task
                    continue
                exhausted = True
                study.set_user_attr(EXHAUSTED, f"{proposal}; {finished} of {config.trials} candidates are evaluated")
        if not may_wait():
            return None
        time.sleep(min(2.0, config.lease / 10))


def _check_failures(trials: list[FrozenTrial], config: SearchConfig) -> None:
    failed = [t for t in trials if t.state == TrialState.FAIL]
    if len(failed) > max(3, config.trials):
        reason = failed[-1].user_attrs.get("reason", "unknown")
        raise SearchFailed(
            f"{len(failed)} candidates failed; the last: {reason}; correct the cause, then give more --trials, or --study "
            "another name"
        )


def _admit(lease: TrialLease, study: optuna.Study, config: SearchConfig, space: Space) -> Task | None:
    """Return the task of a trial; else end the trial.

    A trial of a proposal has passed all checks, unless another machine proposed the same network at the same moment.
    One that waits (the paper's networks, and those of other versions) is checked here.
    """
    trial = lease.trial
    if reason := lease.give_up_reason():
        lease.end(reason, TrialState.FAIL)
        return None
    reason, stage = "", "space"
    try:
        arch, chosen = suggest(trial, config, space)
    except InputError as error:
        reason = f"impossible: {error}"
    else:
        trial.set_user_attr("recipe", chosen)
        trial.set_user_attr("arch", arch.id)
        others = [
            t
            for t in study.get_trials(deepcopy=False)
            if network_of(t, config) == (arch.id, chosen)
            and (t.number < trial.number or (t.number != trial.number and t.state.is_finished()))
            and (t.state != TrialState.PRUNED or is_stopped(t))
        ]
        if others:
            reason, stage = f"already tried as trial {others[0].number}", "known"
        elif operators := unsupported(config, arch, chosen):
            reason, stage = f"cannot be exported: {operators[0]}", "operators"
        elif "baseline" not in trial.user_attrs:
            reason, stage = limit_check(config, chosen)(arch)
    if reason:
        trial.set_user_attr(STAGE, stage)
        lease.end(reason, TrialState.PRUNED)
        return None
    return Task(lease, arch, chosen)


def _is_finished(trial: FrozenTrial) -> bool:
    """Return whether a trial counts towards `SearchConfig.trials`: it was measured, or stopped at a rung."""
    return is_complete(trial) or is_stopped(trial)


def _is_begun(trial: FrozenTrial) -> bool:
    """Return whether a trial is finished, running, or waits for a worker that can measure it."""
    handed_over = trial.state == TrialState.WAITING and NEEDS in trial.user_attrs
    return handed_over or trial.state == TrialState.RUNNING or _is_finished(trial)


def _others_suffice(study: optuna.Study, number: int, config: SearchConfig) -> bool:
    """Return whether other trials already fill the study; of trials begun at the same moment, lower numbers count."""
    others = [t for t in study.get_trials(deepcopy=False) if t.number != number and _is_begun(t)]
    return sum(_is_finished(t) or t.number < number for t in others) >= config.trials
