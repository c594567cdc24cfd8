"""The sampler that models the error alone: Optuna's contract, its acquisition function, and what it finds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase, RelativeSamplerTestCase
from optuna.trial import FrozenTrial, TrialState, create_trial

from explore.pareto import hypervolume
from explore.search.samplers import CostAwareSampler
from explore.search.samplers.choices import at, changed, features, position, uniform
from explore.search.samplers.gaussian_process import GaussianProcess
from explore.search.samplers.improvement import expected_improvement
from explore.search.samplers.surrogate import Observed, fit
from tests.helpers import ROOT, mostly_slow

SPACE = {f"x{index}": IntDistribution(0, 3) for index in range(6)} | {"kind": CategoricalDistribution(["a", "b", "c"])}
REFERENCE = np.array([100.0, 60.0])


class TestContract(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """Optuna's own tests of samplers; without costs, the sampler maximises the expected improvement."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: CostAwareSampler(lambda params: (), n_startup_trials=2, n_candidates=20)


def cost(params: dict[str, Any]) -> float:
    return 1.0 + sum((index + 1) * params[f"x{index}"] for index in range(6)) / 1.1


def error(params: dict[str, Any], rng: np.random.Generator) -> float:
    """An error in which half of the parameters cost more than they bring."""
    gain = sum((6 - index) * params[f"x{index}"] for index in range(6))
    return float((100.0 / (1 + 0.04 * gain) + {"a": 0.0, "b": 12.0, "c": 25.0}[params["kind"]]) * rng.normal(1.0, 0.02))


def run(sampler: BaseSampler, trials: int, seed: int) -> optuna.Study:
    study, rng = optuna.create_study(directions=["minimize"] * 2, sampler=sampler), np.random.default_rng(seed)
    for _ in range(trials):
        trial = study.ask(SPACE)  # type: ignore[arg-type]
        study.tell(trial, [error(trial.params, rng), cost(trial.params)])
    return study


def volume(study: optuna.Study) -> float:
    return hypervolume(np.array([trial.values for trial in study.trials]), REFERENCE)


def test_it_beats_random_search_on_every_seed() -> None:
    wins = [
        volume(
            run(CostAwareSampler(cost, space=SPACE, reference=REFERENCE.tolist(), n_candidates=60, seed=seed), 25, seed)
        )
        - volume(run(optuna.samplers.RandomSampler(seed=seed), 50, seed))
        for seed in range(2)
    ]
    assert min(wins) > 0, "half of the trials of random search suffice"


def test_nothing_is_proposed_twice_or_against_a_check() -> None:
    sampler = CostAwareSampler(
        cost, space=SPACE, check=lambda params: "too expensive" if cost(params) > 20 else None, n_candidates=40, seed=0
    )
    study = run(sampler, 20, 0)
    assert len({tuple(sorted(trial.params.items())) for trial in study.trials}) == 20
    assert max(trial.values[1] for trial in study.trials) <= 20


def test_a_space_may_depend_on_its_own_choices() -> None:
    def space(trial: Any) -> None:
        if trial.suggest_categorical("kind", ["deep", "wide"]) == "deep":
            trial.suggest_int("depth", 1, 8)
        elif trial.suggest_float("width", 0.25, 1.0) > 0.9:
            raise ValueError("too wide")

    def price(params: dict[str, Any]) -> float:
        return float(params["depth"] if params["kind"] == "deep" else 10 * params["width"])

    study = optuna.create_study(
        directions=["minimize"] * 2, sampler=CostAwareSampler(price, space=space, n_startup_trials=3, seed=0)
    )
    for _ in range(12):
        trial = study.ask()
        space(trial)
        study.tell(trial, [20.0 - price(trial.params), price(trial.params)])
    assert {frozenset(t.params) for t in study.trials} == {frozenset({"kind", "depth"}), frozenset({"kind", "width"})}


def test_running_trials_are_avoided() -> None:
    """Eight proposals without an answer differ, and are as far apart as those of a search that gets answers."""
    study = run(CostAwareSampler(cost, space=SPACE, n_candidates=60, seed=0), 12, 0)
    asked = [study.ask(SPACE).params for _ in range(8)]  # type: ignore[arg-type]
    assert len({tuple(sorted(params.items())) for params in asked}) == 8
    assert len({round(cost(params)) for params in asked}) > 3, "believed trials leave no gain beside them"


@pytest.mark.parametrize("costs", mostly_slow([0, 1, 2, 3], 0, 1, 2))
def test_the_improvement_is_the_expectation_of_the_gained_hypervolume(costs: int) -> None:
    rng = np.random.default_rng(costs)
    size = 10 - 2 * costs
    front, front_costs, reference = rng.random(size), rng.random((size, costs)), np.full(1 + costs, 1.1)
    mean, std, candidates = rng.random(4), 0.05 + 0.2 * rng.random(4), rng.random((4, costs))
    points = np.column_stack([front, front_costs])
    before = hypervolume(points, reference)
    gains = [
        np.mean(
            [
                hypervolume(np.vstack([points, [value, *place]]), reference) - before
                for value in rng.normal(center, spread, 1500)
            ]
        )
        for center, spread, place in zip(mean, std, candidates, strict=True)
    ]
    found = expected_improvement(mean, std, candidates, front, front_costs, reference)
    assert found == pytest.approx(gains, rel=0.1, abs=0.002)


def test_the_process_predicts_smooth_functions_and_believes_itself() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((60, 3))
    y = 5 + 2 * x[:, 0] + np.sin(4 * x[:, 1]) + 0.02 * rng.normal(size=60)
    process = GaussianProcess.fit(x[:40], y[:40], slice(1), None, np.zeros(40), np.arange(3))
    mean, std = process.predict(x[40:])
    assert np.abs(mean - y[40:]).max() < 0.3 and (std < 0.3).all()
    believed = process.believe(x[40:])
    after, less = believed.predict(x[40:])
    assert after == pytest.approx(mean, abs=0.05) and (less < std).all()


def test_measured_costs_that_differ_from_known_ones_are_fitted() -> None:
    """MACs stand for a latency that depends on the kind, too."""
    rng = np.random.default_rng(0)
    trials = []
    for _ in range(30):
        params = {name: uniform(distribution, rng) for name, distribution in SPACE.items()}
        ms = 0.01 * cost(params) * (2.0 if params["kind"] == "b" else 1.0)
        trials.append(made(params, [error(params, rng), ms]))
    observed = [Observed(trial, (1e6 * cost(trial.params),), trial.values[0], 0.0) for trial in trials]
    surrogate = fit(observed, [], SPACE, (), [StudyDirection.MINIMIZE] * 2, (None, None), None)
    params = {f"x{index}": 2 for index in range(6)}
    points = [(params | {"kind": kind}, (1e6 * cost(params),)) for kind in "ab"]
    x, known = surrogate.encode(points)
    process = surrogate.deviations[0]
    assert process is not None
    assert np.exp(known[:, 0] + process.predict(x)[0]) == pytest.approx(
        [0.01 * cost(params), 0.02 * cost(params)], rel=0.15
    )


def test_a_violated_constraint_is_learnt() -> None:
    def space_trial(kind: str, value: float, excess: float) -> FrozenTrial:
        return made({"kind": kind}, [value, 1.0], constraints={"limit": excess})

    trials = [space_trial("a", 9.0, -0.5), space_trial("b", 1.0, 0.8)] * 4
    observed = [Observed(trial, (1.0,), trial.values[0], 0.0) for trial in trials]
    space = {"kind": SPACE["kind"]}
    surrogate = fit(observed, [], space, (), [StudyDirection.MINIMIZE] * 2, (12.0, 2.0), None)
    assert surrogate.parents and {params["kind"] for params in surrogate.parents} == {"a"}
    (process,) = surrogate.constraints
    excess = process.predict(surrogate.encode([({"kind": kind}, (1.0,)) for kind in "ab"])[0])[0]
    assert excess[0] < 0 < excess[1]


def made(params: dict[str, Any], values: list[float], constraints: dict[str, float] | None = None) -> FrozenTrial:
    return create_trial(
        params=params,
        distributions={name: SPACE[name] for name in params},
        values=values,
        constraints=constraints or {},
    )


@pytest.mark.parametrize(
    "distribution",
    [
        IntDistribution(2, 11, step=3),
        IntDistribution(1, 1000, log=True),
        FloatDistribution(-1.0, 2.0, step=0.25),
        FloatDistribution(1e-3, 10.0, log=True),
        CategoricalDistribution([4, 8, 16]),
    ],
)
def test_values_and_places_of_a_distribution_agree(distribution: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        value = uniform(distribution, rng)
        other = changed(distribution, value, True, rng)
        for one in (value, other):
            assert distribution._contains(distribution.to_internal_repr(one))
            assert at(distribution, position(distribution, one)) == pytest.approx(one)


def test_pruned_trials_count_where_their_error_is_known() -> None:
    def observe(trial: FrozenTrial) -> tuple[float, float] | None:
        return (trial.user_attrs["error"], 0.1) if trial.state == TrialState.PRUNED else (trial.values[0], 0.0)

    sampler = CostAwareSampler(cost, space=SPACE, observe=observe, n_startup_trials=4, n_candidates=30, seed=0)
    study, rng = optuna.create_study(directions=["minimize"] * 2, sampler=sampler), np.random.default_rng(0)
    for number in range(10):
        trial = study.ask(SPACE)  # type: ignore[arg-type]
        if number % 2:
            trial.set_user_attr("error", error(trial.params, rng))
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, [error(trial.params, rng), cost(trial.params)])
    assert len({tuple(sorted(trial.params.items())) for trial in study.trials}) == 10


def test_a_wrong_number_of_costs_is_named() -> None:
    study = optuna.create_study(directions=["minimize"] * 3, sampler=CostAwareSampler(cost, space=SPACE))
    with pytest.raises(ValueError, match="number of costs: 1; return one for each of the 2 objectives"):
        study.ask(SPACE)  # type: ignore[arg-type]


def test_it_can_be_imported_without_the_rest_of_the_project() -> None:
    code = (
        "import sys; from explore.search.samplers import CostAwareSampler; "
        "print(*sorted(name for name in sys.modules if name.partition('.')[0] in ('arch', 'quantize', 'explore', 'torch')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    others = [name for name in done.stdout.split() if not name.startswith("explore.search.samplers")]
    assert others == ["explore", "explore.pareto", "explore.search"]


def test_the_example_of_the_manual_finds_a_front(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "sampler.md").read_text()
    code = (
        text.partition('```python title="search_mlp.py"\n')[2].partition("```")[0].replace("n_trials=20", "n_trials=10")
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) >= 3, done.stderr
    errors = [float(line.split()[3]) for line in lines]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.4


def test_infinite_values_are_left_out() -> None:
    sampler = CostAwareSampler(
        lambda params: float("inf") if params["x0"] == 3 else cost(params), space=SPACE, n_startup_trials=3, seed=0
    )
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    for number in range(8):
        trial = study.ask(SPACE)  # type: ignore[arg-type]
        study.tell(trial, [float("inf") if number == 2 else 50.0 + number, cost(trial.params)])
    assert {trial.params["x0"] for trial in study.trials} <= {0, 1, 2}


def test_costs_that_are_not_positive_and_choices_of_none() -> None:
    space = {"x": IntDistribution(0, 30), "kind": CategoricalDistribution([None, "a"])}
    sampler = CostAwareSampler(lambda params: float(params["x"]), space=space, n_startup_trials=3, seed=0)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    for x in range(1, 9):
        params = {"x": x, "kind": None}
        study.add_trial(create_trial(params=params, distributions=space, values=[50.0 - x, float(x)]))  # type: ignore[arg-type]
    study.enqueue_trial({"x": 0, "kind": "a"})
    for _ in range(3):
        study.ask(space)  # type: ignore[arg-type]
    assert features([{"kind": None}, {}], {"kind": space["kind"]}, ()).any(1).tolist() == [True, False]


def test_a_long_study_is_fitted_to_a_part_of_its_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[int] = []
    real = GaussianProcess.fit

    def count(x: Any, *args: Any) -> GaussianProcess:
        fitted.append(len(x))
        return real(x, *args)

    monkeypatch.setattr(GaussianProcess, "fit", staticmethod(count))
    sampler = CostAwareSampler(cost, space=SPACE, max_fitted=20, n_candidates=20, seed=0)
    study, rng = optuna.create_study(directions=["minimize"] * 2, sampler=sampler), np.random.default_rng(0)
    for _ in range(30):
        params = {name: uniform(distribution, rng) for name, distribution in SPACE.items()}
        study.add_trial(made(params, [error(params, rng), cost(params)]))
    study.ask(SPACE)  # type: ignore[arg-type]
    assert fitted == [20]
