"""Time of ask and tell in a storage with thousands of finished trials of three objectives.

`python -m benchmarks.storage_load URL SAMPLER COUNT SECONDS` prints the milliseconds of each ask and tell as JSON.
"""

from __future__ import annotations

import datetime
import json
import sys
import time

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, distribution_to_json

from explore.search.samplers import make_sampler
from explore.search.storage.backends import open_storage

CHOICES = ("a", "b", "c", "d")
DIMENSIONS = [f"d{index}" for index in range(12)]  # as many as the space `mobile`
OBJECTIVES = 3
STUDY = "load"


def fill(url: str, count: int) -> None:
    """Create the study with `count` finished trials; databases are filled by bulk inserts, a hundred times faster."""
    study = optuna.create_study(storage=open_storage(url), study_name=STUDY, directions=["minimize"] * OBJECTIVES)
    rng = np.random.default_rng(0)
    choices = rng.integers(0, len(CHOICES), (count, len(DIMENSIONS)))
    values = choices[:, :OBJECTIVES] + rng.random((count, OBJECTIVES)) * 4
    if not url.startswith("journal"):
        _fill_database(url, choices, values)
        return
    distributions: dict[str, BaseDistribution] = dict.fromkeys(DIMENSIONS, CategoricalDistribution(CHOICES))
    for picked, row in zip(choices, values, strict=True):
        params = {name: CHOICES[choice] for name, choice in zip(DIMENSIONS, picked, strict=True)}
        study.add_trial(optuna.create_trial(values=row.tolist(), params=params, distributions=distributions))


def _fill_database(url: str, choices: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    from sqlalchemy import MetaData, create_engine, select

    engine, tables = create_engine(url.replace("postgresql:", "postgresql+psycopg:")), MetaData()
    tables.reflect(engine)
    trials, study = tables.tables["trials"], tables.tables["studies"]
    distribution = distribution_to_json(CategoricalDistribution(CHOICES))
    now = datetime.datetime.now()
    with engine.begin() as connection:
        study_id = connection.scalar(select(study.c.study_id).where(study.c.study_name == STUDY))
        shared = {"study_id": study_id, "state": "COMPLETE", "datetime_start": now, "datetime_complete": now}
        connection.execute(trials.insert(), [shared | {"number": number} for number in range(len(choices))])
        ids = connection.scalars(select(trials.c.trial_id).order_by(trials.c.number)).all()
        rows = [
            {"trial_id": trial, "objective": index, "value": float(value), "value_type": "FINITE"}
            for trial, row in zip(ids, values, strict=True)
            for index, value in enumerate(row)
        ]
        connection.execute(tables.tables["trial_values"].insert(), rows)
        params = [
            {"trial_id": trial, "param_name": name, "param_value": float(choice), "distribution_json": distribution}
            for trial, row in zip(ids, choices, strict=True)
            for name, choice in zip(DIMENSIONS, row, strict=True)
        ]
        connection.execute(tables.tables["trial_params"].insert(), params)
    engine.dispose()


def ask_and_tell(url: str, name: str, times: int, seconds: float) -> list[float]:
    """Return the milliseconds of each round of ask, twelve suggestions and tell.

    The first round also reads all trials. Stops after `times` rounds or `seconds`.
    """
    sampler = make_sampler(name, 0)
    study = optuna.load_study(study_name=STUDY, storage=open_storage(url), sampler=sampler)
    durations = []
    started = time.monotonic()
    for _ in range(times):
        begun = time.perf_counter()
        trial = study.ask()
        for dimension in DIMENSIONS:
            trial.suggest_categorical(dimension, CHOICES)
        study.tell(trial, [1.0 + trial.number % 7, 2.0, 3.0])
        durations.append(1000 * (time.perf_counter() - begun))
        if time.monotonic() - started > seconds:
            break
    return durations


if __name__ == "__main__":
    print(json.dumps(ask_and_tell(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
