"""What the Gaussian sampler is fitted on in long studies."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, create_trial

from explore.pareto import non_dominated_rank
from explore.search.samplers import make_sampler
from explore.search.samplers.cost_aware import best_and_latest
from explore.search.storage.optuna_private import MAX_FITTED

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
    points = np.array([trial.values for trial in finished(500)])
    kept = best_and_latest(points, MAX_FITTED)
    assert len(kept) == MAX_FITTED and best_and_latest(points[:MAX_FITTED], MAX_FITTED) == list(range(MAX_FITTED))
    assert kept == sorted(kept) and set(range(500 - MAX_FITTED // 2, 500)) <= set(kept)
    rank = non_dominated_rank(points)
    left_out = [rank[index] for index in range(500) if index not in kept]
    assert min(left_out) >= max(sorted(rank[kept])[: MAX_FITTED // 2])


def test_asking_fits_no_more_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    from optuna._gp import gp

    fitted, real = [], gp.fit_kernel_params

    def fit(X: Any, *args: Any, **options: Any) -> Any:
        fitted.append(len(X))
        return real(X, *args, **options)

    monkeypatch.setattr(gp, "fit_kernel_params", fit)
    study = optuna.create_study(directions=["minimize"] * 3, sampler=make_sampler("gp", 0))
    study.add_trials(finished(MAX_FITTED + 50))
    trial = study.ask(SPACE)  # type: ignore[arg-type]
    assert fitted == [MAX_FITTED] * 3 and trial.params.keys() == SPACE.keys()
