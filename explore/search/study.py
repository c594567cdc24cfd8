"""The study: which network is tried next. An Optuna storage holds all of it, so that any process may stop and go on.

A worker holds the file lock of its trial for as long as it lives; a running trial whose lock is free was left by a
worker that died, and the next to ask takes it up.
"""

from __future__ import annotations

import fcntl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch, preset
from explore.config import SearchConfig
from explore.search import devices
from explore.search.choice import searched, shipped, suggest
from quantize import audit
from quantize.recipes import recipe

BASELINES = ("paper-L", "paper-S", "paper-XS")
ATTEMPTS = 200  # draws in a row that give nothing new before the space counts as exhausted

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class SearchFailed(RuntimeError):
    """Too many candidates failed for the search to go on."""


@dataclass
class Claim:
    """A trial that this process works on; `close` lets go of it."""

    trial: Trial
    arch: Arch
    recipe: str
    lock: TextIOWrapper

    def close(self) -> None:
        self.lock.close()


def baselines(config: SearchConfig, space: Space) -> dict[str, Arch]:
    """The paper's three models as this study has them: at its scale, with the space's first activation."""
    found = {}
    for name in BASELINES:
        for activation in ("", "-relu"):
            arch = preset(f"{name}{activation}@{config.scale}")
            if space.contains(arch):
                found[f"{name}{activation}@{config.scale}"] = arch
                break
    return found


def storage_url(config: SearchConfig) -> str:
    return f"sqlite:///{(config.folder / 'study.db').resolve()}"


def open_study(config: SearchConfig) -> optuna.Study:
    """The study in the storage; made when there is none."""
    study = optuna.create_study(
        storage=optuna.storages.RDBStorage(storage_url(config), engine_kwargs={"connect_args": {"timeout": 60}}),
        study_name=config.name,
        directions=["minimize"] * len(devices.objectives(config)),
        load_if_exists=True,
    )
    return study


def open_stored(folder: Path) -> optuna.Study:
    """The study whose storage lies in `folder`, whatever its name was where it was made.

    Raises:
        InputError: no storage of this Optuna, or more than one study in it.
    """
    path = folder / "study.db"
    try:
        return optuna.load_study(study_name=None, storage=f"sqlite:///{path.resolve()}")
    except Exception as error:  # SQLAlchemy's, Optuna's and sqlite3's errors have no common class
        raise InputError(f"{path}: cannot be opened ({str(error).splitlines()[0]}); move it away or mend it") from None


def prepare_study(config: SearchConfig, space: Space) -> optuna.Study:
    """Open the study and, when it is new, put the paper's models first in line."""
    with locked(config.folder / "locks" / "ask.lock"):
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
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=8, warn_independent_sampling=False)
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)


def claim(study: optuna.Study, config: SearchConfig, space: Space) -> Claim | None:
    """The next trial to work on: one that a dead worker left, else a new one; None when enough are done or running.

    Raises:
        SearchFailed: as many trials failed as were asked for.
    """
    locks = config.folder / "locks"
    with locked(locks / "ask.lock"):
        trials = study.get_trials(deepcopy=False)
        running = 0
        for frozen in trials:
            if frozen.state == TrialState.RUNNING:
                lock = try_lock(locks / f"trial-{frozen.number}.lock")
                if lock is None:
                    running += 1
                    continue
                trial = Trial(study, frozen._trial_id)
                made = _admit(trial, study, config, space, trials, lock)
                if made:
                    return made
        done = sum(t.state == TrialState.COMPLETE for t in trials)
        failed = sum(t.state == TrialState.FAIL for t in trials)
        if failed > max(3, config.trials):
            last = next(t for t in reversed(trials) if t.state == TrialState.FAIL)
            raise SearchFailed(f"{failed} candidates failed; the last: {last.user_attrs.get('reason', 'unknown')}")
        if done + running >= config.trials:
            return None
        study.sampler = sampler(config, len(trials))
        for _ in range(ATTEMPTS):
            trial = study.ask()
            lock = try_lock(locks / f"trial-{trial.number}.lock")
            assert lock is not None, "a new trial's lock is free"
            made = _admit(trial, study, config, space, study.get_trials(deepcopy=False), lock)
            if made:
                return made
    return None


def _admit(
    trial: Trial,
    study: optuna.Study,
    config: SearchConfig,
    space: Space,
    trials: list[FrozenTrial],
    lock: TextIOWrapper,
) -> Claim | None:
    """The claim on a trial if its network is possible, new and cheap enough to train; else it ends here, pruned."""
    reason = ""
    try:
        arch, chosen = suggest(trial, config, space)
    except InputError as error:
        reason = f"impossible: {error}"
    else:
        share = cost(arch).macs / cost(preset(f"paper-L@{config.scale}")).macs
        if "cost" not in trial.constraints:  # set before by a worker that died
            trial.set_constraint("cost", share - config.max_cost)
        before = [
            t
            for t in trials
            if t.user_attrs.get("arch") == arch.id
            and t.user_attrs.get("recipe", config.recipe) == chosen
            and t.number != trial.number
        ]
        if any(t.state in (TrialState.COMPLETE, TrialState.RUNNING, TrialState.FAIL) for t in before):
            reason = f"already tried as trial {before[0].number}"
        elif unshippable := [
            line
            for name in config.every_runtime
            for tried in {chosen, *shipped(config)}
            for line in audit.reasons(arch, name, recipe(tried))
        ]:
            reason = f"cannot ship: {unshippable[0]}"
        elif share > config.max_cost and "baseline" not in trial.user_attrs:
            reason = f"{share:.2f} of paper-L's MACs, above max_cost {config.max_cost}"
        elif "baseline" not in trial.user_attrs:
            reason = devices.screen(config, arch, chosen)
    if reason:
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=TrialState.PRUNED)
        lock.close()
        return None
    trial.set_user_attr("arch", arch.id)
    trial.set_user_attr("recipe", chosen)
    return Claim(trial, arch, chosen, lock)


def finish(study: optuna.Study, claim: Claim, values: list[float], facts: dict[str, Any]) -> None:
    """Tell the storage what a trial gave."""
    for key, value in facts.items():
        claim.trial.set_user_attr(key, value)
    study.tell(claim.trial, values)


def fail(study: optuna.Study, claim: Claim, reason: str) -> None:
    """Tell the storage that a trial failed and why."""
    claim.trial.set_user_attr("reason", reason)
    study.tell(claim.trial, state=TrialState.FAIL)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file lock of `path`; the kernel frees it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(path: Path) -> TextIOWrapper | None:
    """The open file that holds the lock of `path` until closed; None when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a")  # noqa: SIM115 - held open as long as the lock
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
