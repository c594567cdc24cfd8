"""A storage with thousands of finished trials of three objectives, and what asking and telling cost there.

`python -m explore.bench.crowd URL SAMPLER COUNT SECONDS` prints the milliseconds of each ask + tell as JSON.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
import uuid

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.trial import TrialState

from explore.search.storage import open_storage

DIMENSIONS = {f"d{index}": ("a", "b", "c", "d") for index in range(12)}  # as many as the shipped space asks for
OBJECTIVES = 3
STUDY = "crowd"


def fill(url: str, count: int, seed: int = 0) -> None:
    """Make the study with `count` finished trials, by one bulk write; made trial by trial it would take an hour."""
    storage = open_storage(url)
    study = optuna.create_study(storage=storage, study_name=STUDY, directions=["minimize"] * OBJECTIVES)
    rng = np.random.default_rng(seed)
    choices = rng.integers(0, 4, (count, len(DIMENSIONS)))
    values = choices[:, :OBJECTIVES] + rng.random((count, OBJECTIVES)) * 4
    if url.startswith("journal"):
        _fill_journal(storage, study, choices, values)
    else:
        _fill_database(storage, study, choices, values)


def _fill_journal(storage: object, study: optuna.Study, choices: np.ndarray, values: np.ndarray) -> None:  # type: ignore[type-arg]
    now = datetime.datetime.now(datetime.UTC).isoformat()
    distributions = {name: distribution_to_json(CategoricalDistribution(row)) for name, row in DIMENSIONS.items()}
    logs = [
        {
            "op_code": 4,
            "worker_id": uuid.uuid4().hex,
            "study_id": study._study_id,
            "datetime_start": now,
            "datetime_complete": now,
            "state": int(TrialState.COMPLETE),
            "value": None,
            "values": [float(v) for v in row],
            "params": {name: float(c) for name, c in zip(DIMENSIONS, picked, strict=True)},
            "distributions": distributions,
            "user_attrs": {},
            "system_attrs": {},
            "intermediate_values": {},
        }
        for picked, row in zip(choices, values, strict=True)
    ]
    storage._backend.append_logs(logs)  # type: ignore[attr-defined]


def _fill_database(storage: object, study: optuna.Study, choices: np.ndarray, values: np.ndarray) -> None:  # type: ignore[type-arg]
    from optuna.storages._rdb import models
    from sqlalchemy import insert

    now = datetime.datetime.now()
    count = len(choices)
    distributions = {name: distribution_to_json(CategoricalDistribution(row)) for name, row in DIMENSIONS.items()}
    finite = models.TrialValueModel.TrialValueType.FINITE
    with storage._backend.engine.begin() as connection:  # type: ignore[attr-defined]
        trials = [
            {
                "number": n,
                "study_id": study._study_id,
                "state": TrialState.COMPLETE,
                "datetime_start": now,
                "datetime_complete": now,
            }
            for n in range(count)
        ]
        connection.execute(insert(models.TrialModel), trials)
        ids = [
            row[0]
            for row in connection.execute(
                models.TrialModel.__table__.select().with_only_columns(models.TrialModel.trial_id).order_by("number")
            )
        ]
        connection.execute(
            insert(models.TrialValueModel),
            [
                {"trial_id": ids[n], "objective": k, "value": float(values[n, k]), "value_type": finite}
                for n in range(count)
                for k in range(OBJECTIVES)
            ],
        )
        connection.execute(
            insert(models.TrialParamModel),
            [
                {
                    "trial_id": ids[n],
                    "param_name": name,
                    "param_value": float(choices[n, k]),
                    "distribution_json": distributions[name],
                }
                for n in range(count)
                for k, name in enumerate(DIMENSIONS)
            ],
        )


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    from explore.config import SearchConfig
    from explore.search.study import sampler as chosen

    return chosen(SearchConfig(sampler=name, seed=seed), 0)  # type: ignore[arg-type]


def ask_and_tell(url: str, name: str, times: int, seconds: float) -> list[float]:
    """Milliseconds of each ask, twelve suggestions and tell; the first also reads all trials. Stops after `seconds`."""
    study = optuna.load_study(study_name=STUDY, storage=open_storage(url), sampler=sampler(name, 0))
    taken = []
    begun = time.monotonic()
    for _ in range(times):
        started = time.perf_counter()
        trial = study.ask()
        for key, row in DIMENSIONS.items():
            trial.suggest_categorical(key, list(row))
        study.tell(trial, [1.0 + trial.number % 7, 2.0, 3.0])
        taken.append(1000 * (time.perf_counter() - started))
        if time.monotonic() - begun > seconds:
            break
    return taken


if __name__ == "__main__":
    print(json.dumps(ask_and_tell(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
