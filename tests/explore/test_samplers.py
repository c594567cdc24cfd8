"""What the Gaussian sampler is fitted on in long studies."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, create_trial

from explore.config import SearchConfig
from explore.search.front import ranks
from explore.search.gaussian import MOST, some
from explore.search.study import sampler

SPACE = {f"d{index}": CategoricalDistribution(["a", "b"]) for index in range(4)}


def finished(count: int) -> list[FrozenTrial]:
    rng = np.random.default_rng(0)
    return [
        create_trial(
            params={name: str(rng.choice(["a", "b"])) for name in SPACE},
            distributions=dict(SPACE),
            values=[float(value) for value in 1 + rng.random(3)],
        )
        for _ in range(count)
    ]


def test_half_of_what_is_fitted_is_the_best_and_half_the_latest() -> None:
    trials = finished(500)
    kept = some(trials)
    assert len(kept) == MOST and some(trials[:MOST]) == trials[:MOST]
    places = [trials.index(trial) for trial in kept]
    assert places == sorted(places) and set(range(500 - MOST // 2, 500)) <= set(places)
    rank = ranks(np.array([trial.values for trial in trials]))
    left_out = [rank[index] for index in range(500) if index not in places]
    assert min(left_out) >= max(sorted(rank[places])[: MOST // 2])


def test_asking_fits_no_more_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    from optuna._gp import gp

    fitted, real = [], gp.fit_kernel_params

    def fit(X: Any, *args: Any, **options: Any) -> Any:
        fitted.append(len(X))
        return real(X, *args, **options)

    monkeypatch.setattr(gp, "fit_kernel_params", fit)
    study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler(SearchConfig(sampler="gp"), 0))
    study.add_trials(finished(MOST + 50))
    trial = study.ask(SPACE)  # type: ignore[arg-type]
    assert fitted == [MOST] * 3 and trial.params.keys() == SPACE.keys()
