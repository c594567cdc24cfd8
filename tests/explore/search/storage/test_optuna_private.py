"""The private parts of Optuna that the search uses exist and behave as it relies on."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from explore.search.storage.backends import PatientStorage, open_storage
from explore.search.storage.optuna_private import (
    PRELIMINARY_SAMPLES,
    GPSampler,
    grpc_server,
    new_trial,
    return_to_queue,
    start_waiting,
    stored,
    trial_key,
)
from tests.helpers import ROOT

PRIVATE = {
    "_storage", "_trial_id", "_study_id", "_thread_local", "_n_preliminary_samples", "_sample_relative_impl",
    "_backend",
}  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path}/s.db"), study_name="s")


def test_a_new_trial_leaves_waiting_trials_alone(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 1})
    trial = new_trial(study)
    assert trial.number == 1
    assert [t.state for t in study.get_trials()] == [TrialState.WAITING, TrialState.RUNNING]


def test_a_waiting_trial_starts_once_and_returns_to_the_queue(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 1})
    (waiting,) = study.get_trials()
    trial = start_waiting(study, waiting)
    assert trial is not None and trial_key(trial) == trial_key(waiting)
    assert start_waiting(study, waiting) is None, "another process has it"
    return_to_queue(study, trial)
    assert stored(study, trial).state == TrialState.WAITING
    again = start_waiting(study, waiting)
    assert again is not None
    study.tell(again, 1.0)
    assert start_waiting(study, waiting) is None, "it is finished"
    return_to_queue(study, again)
    assert stored(study, again).state == TrialState.COMPLETE


def test_the_sampler_offers_what_is_overridden() -> None:
    base = inspect.signature(optuna.samplers.GPSampler._sample_relative_impl)
    ours = inspect.signature(GPSampler._sample_relative_impl)
    assert list(base.parameters) == list(ours.parameters)
    plain = optuna.samplers.GPSampler(seed=0)
    assert plain._n_preliminary_samples > PRELIMINARY_SAMPLES == GPSampler(0)._n_preliminary_samples


def test_a_grpc_server_can_be_made_without_starting_it(study: optuna.Study) -> None:
    pytest.importorskip("grpc")
    server = grpc_server(study._storage, "127.0.0.1", 0)
    assert callable(server.start) and callable(server.wait_for_termination)


def test_a_patient_storage_forwards_every_public_method(study: optuna.Study) -> None:
    assert isinstance(study._storage, PatientStorage)
    public = {name for name in dir(BaseStorage) if not name.startswith("_")}
    assert public <= vars(PatientStorage).keys()


def test_no_other_module_uses_private_attributes_of_optuna() -> None:
    found = []
    for path in sorted((ROOT / "explore").rglob("*.py")):
        if path.name == "optuna_private.py":
            continue
        tree = ast.parse(path.read_text())
        names = [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in PRIVATE]
        modules = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        names += [m for m in modules if m.startswith("optuna.") and "._" in m]
        found += [f"{path.relative_to(ROOT)}: {name}" for name in names]
    assert not found


def test_a_new_trial_has_the_parameters_of_its_template_from_the_beginning(tmp_path: Path) -> None:
    for kind in ("sqlite", "journal"):
        study = optuna.create_study(storage=open_storage(f"{kind}:///{tmp_path}/{kind}"), study_name="s")
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={"x": 2},
            distributions={"x": optuna.distributions.CategoricalDistribution([1, 2])},
            user_attrs={"arch": "a"},
        )
        trial = new_trial(study, template)
        assert trial.suggest_categorical("x", [1, 2]) == 2 and trial.user_attrs == {"arch": "a"}
        assert stored(study, trial).state == TrialState.RUNNING and stored(study, trial).params == {"x": 2}
        study.tell(trial, 1.0)
        assert study.trials[0].values == [1.0]
