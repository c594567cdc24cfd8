"""Every private attribute of Optuna that the search uses, with the reason.

Optuna's public API offers no atomic step on a trial: `Study.ask` takes whichever trial waits first, and nothing returns
a running trial to the queue. Leases need both. `tests/explore/search/storage/test_optuna_private.py` fails when one of these
attributes changes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial, Trial, TrialState

from explore.search.samplers.cost_aware import best_and_latest

__all__ = ["BaseJournalFileLock"]

PRELIMINARY_SAMPLES = 512
MAX_FITTED = 128  # finished trials: the best half by rank and crowding distance, and the latest


def trial_key(trial: Trial | FrozenTrial) -> int:
    """Return the identifier of a trial in its storage. Its number is public, but the storage needs this one."""
    return int(trial._trial_id)


def stored(study: optuna.Study, trial: Trial | FrozenTrial) -> FrozenTrial:
    """Read a trial from the storage; `Trial` and `Study.trials` answer from a cache."""
    return study._storage.get_trial(trial_key(trial))


def new_trial(study: optuna.Study, template: FrozenTrial | None = None) -> Trial:
    """Create a running trial, with the parameters and attributes of `template` from the beginning.

    Unlike `Study.ask`, never take one that waits; unlike `Study.add_trial`, return the trial.
    """
    study._thread_local.cached_all_trials = None
    return Trial(study, study._storage.create_new_trial(study._study_id, template_trial=template))


def start_waiting(study: optuna.Study, waiting: FrozenTrial) -> Trial | None:
    """Move a trial from WAITING to RUNNING; return None if another process did it first."""
    try:
        if study._storage.set_trial_state_values(trial_key(waiting), state=TrialState.RUNNING):
            return Trial(study, trial_key(waiting))
    except UpdateFinishedTrialError:
        pass
    return None


def return_to_queue(study: optuna.Study, trial: Trial | FrozenTrial) -> None:
    """Move a trial from RUNNING to WAITING; a trial that has finished meanwhile stays finished."""
    try:
        study._storage.set_trial_state_values(trial_key(trial), state=TrialState.WAITING)
    except UpdateFinishedTrialError:
        return


def storage_of(study: optuna.Study) -> BaseStorage:
    """Return the storage of a study."""
    return study._storage


def database_of(storage: BaseStorage) -> RDBStorage | None:
    """Return the database behind Optuna's cache of it, or None for another kind of storage."""
    backend = getattr(storage, "_backend", storage)
    return backend if isinstance(backend, RDBStorage) else None


def grpc_server(storage: BaseStorage, host: str, port: int) -> Any:
    """Return a gRPC server in front of `storage` that is not started yet.

    `run_grpc_proxy_server` is public, but does not return, so that nothing can be printed once the port is open.
    """
    from optuna.storages._grpc.server import make_server

    return make_server(storage, host, port, ThreadPoolExecutor(max_workers=10))


class GPSampler(optuna.samplers.GPSampler):
    """Optuna's Gaussian-process sampler, fitted to at most MAX_FITTED of the finished trials.

    The fit takes the cube of the number of trials, and `sample_relative` offers no choice of them. With three
    objectives, a quarter of the preliminary samples takes a quarter of the time and of the memory (1 GB).
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed, n_startup_trials=8, deterministic_objective=False, warn_independent_sampling=False)
        self._n_preliminary_samples = PRELIMINARY_SAMPLES

    def _sample_relative_impl(
        self,
        study: optuna.Study,
        completed_trials: list[FrozenTrial],
        running_trials: list[FrozenTrial],
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        kept = best_and_latest(np.array([trial.values for trial in completed_trials]), MAX_FITTED)
        fitted = [completed_trials[index] for index in kept]
        return super()._sample_relative_impl(study, fitted, running_trials, search_space)
