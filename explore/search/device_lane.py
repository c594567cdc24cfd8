"""A device is one's own while one measures on it, asked for through the storage, so that any machine's workers agree.

Each device is a trial of a study of the storage's own: it waits while the device is free and runs while somebody has it,
under a lease as every trial. Searches of this machine that keep their studies apart agree by a lock file as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from arch.files import content_hash
from explore.config import SearchConfig
from explore.host import host_folder, locked
from explore.search.claims import NEEDS, Claim, Watch, put_back_dead
from explore.search.storage import DEVICES, open_storage, storage_url

PAUSE_S = 0.5


@contextmanager
def alone(config: SearchConfig, address: str) -> Iterator[None]:
    """Wait for the device of an address, whatever options it is used with, and have it."""
    device = address.partition("?")[0]
    with locked(host_folder() / f"device-{content_hash(device)}.lock"):
        study = optuna.create_study(storage=open_storage(storage_url(config)), study_name=DEVICES, load_if_exists=True)
        claim = Claim(study, _taken(study, device, Watch(config.lease)), config.lease)
        try:
            yield
        finally:
            claim.release()


def _taken(study: optuna.Study, device: str, watch: Watch) -> Trial:
    """The device's trial, ours once nobody has it."""
    while True:
        put_back_dead(study, watch)
        found = _of(study, device)
        if found is None:  # should two add one at once, both go by the first
            study.add_trial(create_trial(state=TrialState.WAITING, user_attrs={NEEDS: device}))
        elif found.state == TrialState.WAITING:
            if study._storage.set_trial_state_values(found._trial_id, state=TrialState.RUNNING):
                return Trial(study, found._trial_id)
        else:
            time.sleep(PAUSE_S)


def _of(study: optuna.Study, device: str) -> FrozenTrial | None:
    trials = study.get_trials(deepcopy=False)
    return next((trial for trial in trials if trial.user_attrs[NEEDS] == device), None)
