"""What becomes a trial of a study, for every sampler, without training anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from arch.cost import cost
from arch.search_space import Space
from explore.search.config import SearchConfig
from explore.search.proposals import NOISE, error_at_end, make_draft, propose
from explore.search.recipes_of_trial import ordered_values
from explore.search.rungs import STEPS
from explore.search.storage import fingerprint
from explore.search.study import EXHAUSTED, Task, baselines, next_task, open_study, prepare_study
from explore.search.workers.leases import LATENCY, LeaseMonitor
from tests.helpers import mostly_slow
from tests.helpers.search import TINY_SPACE
from tests.helpers.studies import write_candidate

SAMPLERS = ("cost-aware", "tpe", "nsga2", "gp", "random")


def config_of(folder: Path, **values: Any) -> SearchConfig:
    return SearchConfig.model_validate({"study": "s", "results": str(folder), "runtimes": ("litert",), **values})


def run(config: SearchConfig) -> tuple[optuna.Study, list[Task]]:
    """Run a search whose errors and latencies are made up."""
    space = fingerprint.space_of(config)
    study, monitor, tasks = prepare_study(config, space, 200.0), LeaseMonitor(60), []
    while (task := next_task(study, config, space, monitor, frozenset({LATENCY}))) is not None:
        tasks.append(task)
        task.lease.done(measured(task, config.objectives))
    return study, tasks


def measured(task: Task, objectives: Sequence[str]) -> list[float]:
    found = cost(task.arch)
    values = {"mpjpe": 200 - 5 * (found.macs / 1e6) ** 0.5, "latency": found.macs / 1e8 + 0.1, "params": found.params}
    return [float(values[name]) for name in objectives]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_only_networks_that_pass_all_checks_become_trials(sampler: str, tmp_path: Path) -> None:
    """Half of the space is above the limit, and samplers repeat themselves."""
    config = config_of(tmp_path, sampler=sampler, trials=12, limits=("macs=0.1L",))
    study, tasks = run(config)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 12
    assert len({task.arch.id for task in tasks}) == 12
    own = [task for task in tasks if "baseline" not in study.trials[task.number].user_attrs]
    assert len(own) == 9 and all(cost(task.arch).macs <= config.mac_limit for task in own)
    space = fingerprint.space_of(config)
    for task in tasks:
        trial = study.trials[task.number]
        assert space.parameters(task.arch) == trial.params
        assert trial.distributions["width"] == CategoricalDistribution(space.dimensions["width"].values)


@pytest.mark.parametrize("sampler", mostly_slow(SAMPLERS, "cost-aware", "random"))
def test_a_space_that_is_too_small_ends_the_search_with_a_sentence(
    sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explore.search.proposals.MAX_UNIFORM", 300)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY_SPACE))
    config = config_of(tmp_path, sampler=sampler, trials=20, space=str(tmp_path / "tiny.yaml"), limits=("macs=2L",))
    study, tasks = run(config)
    assert len(tasks) == len(study.trials) == Space.named(config.space).size() == 16
    said = study.user_attrs[EXHAUSTED]
    assert said.startswith("space tiny: all of its 16 networks are tried") and "16 of 20" in said
    prepare_study(config, fingerprint.space_of(config))
    assert not study.user_attrs[EXHAUSTED], "a resumed search looks again"


def test_a_study_in_the_same_state_proposes_the_same(tmp_path: Path) -> None:
    config = config_of(tmp_path, trials=9)
    study, _ = run(config)
    space = fingerprint.space_of(config)
    found = [propose(study, config, space) for _ in range(2)]
    first, second = (one.user_attrs["arch"] for one in found if isinstance(one, FrozenTrial))
    assert first == second
    assert len(study.trials) == 9, "a proposal is no trial yet"


def test_the_papers_networks_are_enqueued_once_each(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    space = fingerprint.space_of(config)
    first = next(iter(baselines(config, space)))  # a call that was killed enqueued one
    open_study(config).add_trial(optuna.trial.create_trial(state=TrialState.WAITING, user_attrs={"baseline": first}))
    for _ in range(2):
        study = prepare_study(config, space)
        others = ["paper-XS-relu@64", "paper-S-relu@64"]  # the smallest first, which is within the limit of MACs
        assert [trial.user_attrs["baseline"] for trial in study.trials] == [first, *others]


def test_a_long_study_keeps_stopped_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tmp_path, trials=5)
    study, tasks = run(config)
    for task in tasks[:3]:
        stopped = study.trials[task.number]
        stopped.state, stopped.values, stopped.user_attrs[STEPS] = TrialState.PRUNED, None, [{"share": 0.1, "mm": 99.0}]
        study.add_trial(stopped)
    monkeypatch.setattr("explore.search.proposals.MAX_DRAFT", 7)
    copies = make_draft(study, config, fingerprint.space_of(config)).trials
    assert [copy.state for copy in copies] == [TrialState.COMPLETE] * 5 + [TrialState.PRUNED] * 2


def test_the_papers_networks_are_good_points_in_a_draft(tmp_path: Path) -> None:
    config = config_of(tmp_path, trials=5)
    study, tasks = run(config)
    for trial in study.get_trials(deepcopy=False):
        trial.set_constraint("limit macs", 0.7)
    copies = make_draft(study, config, fingerprint.space_of(config)).trials
    assert [bool(copy.constraints) for copy in copies] == ["baseline" not in trial.user_attrs for trial in study.trials]
    assert [copy.values for copy in copies] == [trial.values for trial in study.trials]
    width = fingerprint.space_of(config).dimensions["width"].values
    assert [width[copy.params["width"]] for copy in copies] == [task.arch.width for task in tasks]


def test_latencies_that_were_measured_later_replace_predicted_ones_in_a_draft(tmp_path: Path) -> None:
    config = config_of(tmp_path, trials=4, objectives=("mpjpe", "latency"))
    study, tasks = run(config)
    result = write_candidate(config, tasks[0].arch, latency_ms=7.5)
    copies = make_draft(study, config, fingerprint.space_of(config)).trials
    assert copies[0].values == [result.mpjpe_mm, 7.5]
    assert [copy.values for copy in copies[1:]] == [trial.values for trial in study.trials[1:]]


def test_networks_whose_file_would_fail_a_check_are_not_proposed(tmp_path: Path) -> None:
    """LiteRT has no INT8 pooling for residual concatenation; a space of nothing else is searched all the same."""
    kinds = {"concat": ["residual", "none"], "width": [0.25, 0.5, 0.75]}
    for name, concats in (("both", ["residual", "none"]), ("one", ["residual"])):
        space = {**TINY_SPACE, "name": name, "dimensions": {**TINY_SPACE["dimensions"], **kinds, "concat": concats}}  # type: ignore[dict-item]
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(space))
        _, tasks = run(config_of(tmp_path, study=name, space=str(path), trials=6, sampler="random"))
        own = [task.arch.concat for task in tasks if task.arch.concat in concats and task.number >= 3]
        assert own and set(own) == ({"none"} if name == "both" else {"residual"})


def test_generations_of_nsga2_go_on_in_the_study(tmp_path: Path) -> None:
    study, _ = run(config_of(tmp_path, trials=30, sampler="nsga2"))
    generations = [value for t in study.trials for key, value in t.system_attrs.items() if key.endswith("generation")]
    assert generations and max(generations) >= 1


def test_several_recipes_are_a_dimension(tmp_path: Path) -> None:
    _, tasks = run(
        config_of(tmp_path, trials=16, quantizations=("int8-static", "float"), objectives=("mpjpe", "params"))
    )
    assert {task.recipe for task in tasks} == {"int8-static", "float"}
    assert len({(task.arch.id, task.recipe) for task in tasks}) == 16


def test_the_error_of_stopped_candidates_is_extrapolated(tmp_path: Path) -> None:
    draft = optuna.create_study(directions=["minimize"] * 2)
    for last in (80.0, 90.0, 100.0):
        done = draft.ask()
        done.set_user_attr(STEPS, [{"share": 0.3, "mm": 1.25 * last}])
        draft.tell(done, [last, 1.0])
    stopped = draft.ask()
    stopped.set_user_attr(STEPS, [{"share": 0.3, "mm": 150.0}])
    draft.tell(stopped, state=TrialState.PRUNED)
    early = draft.ask()
    early.set_user_attr(STEPS, [{"share": 0.1, "mm": 150.0}])
    draft.tell(early, state=TrialState.PRUNED)
    estimated = draft.ask()
    estimated.set_user_attr(NOISE, 4.0)
    draft.tell(estimated, [100.0, 1.0])
    trials, observe = draft.trials, error_at_end(draft)
    assert observe(trials[0]) == (80.0, 0.0)
    assert observe(trials[3]) == (pytest.approx(120.0), pytest.approx(0.0, abs=1e-9))
    assert observe(trials[4]) is None, "no candidate shows how errors go on from there"
    assert observe(trials[5]) == (100.0, 0.04)


def test_only_true_amounts_are_ordered() -> None:
    assert ordered_values([64, 16, 32]) == [16, 32, 64] and ordered_values([0.5, 1.0]) == [0.5, 1.0]
    assert ordered_values([0, 1, 2]) is None, "0 stands for the encoder's own value"
    assert ordered_values([True, False]) is None and ordered_values(["a", "b"]) is None


OLD_KEYS = {"intermediate_channels": "inter", "stem_stride": "early_stride", "heatmap_size": "heatmap"}


def test_a_study_of_version_0_1_goes_on(tmp_path: Path) -> None:
    """Its storage has old names, which it does not let change; one of the paper's networks was running."""
    config = config_of(tmp_path, trials=6)
    space = fingerprint.space_of(config)
    config.folder.mkdir(parents=True)
    (config.folder / "data.json").write_text(json.dumps({"joints": 18, "train": {}, "test": {}}))
    study = open_study(config)
    old_head = {"heatmap-2.5d": "depthmap"}
    for number, (name, arch) in enumerate(baselines(config, space).items()):
        params = {OLD_KEYS.get(key, key): old_head.get(value, value) for key, value in space.parameters(arch).items()}
        distributions: dict[str, BaseDistribution] = {
            OLD_KEYS.get(key, key): CategoricalDistribution([old_head.get(v, v) for v in space.dimensions[key].values])
            for key in space.parameters(arch)
        }
        state = TrialState.RUNNING if number == 2 else TrialState.COMPLETE
        facts = {"baseline": name, "arch": arch.id, "recipe": "int8-static"}
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                values=[100.0 + number, 3.0 - number] if state == TrialState.COMPLETE else None,
                params=params,
                distributions=distributions,
                user_attrs=facts,
                constraints={"cost": 0.5},
            )
        )
    study, tasks = run(config)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 2 + [TrialState.PRUNED] + [
        TrialState.COMPLETE
    ] * 4
    assert study.trials[3].user_attrs["baseline"] == study.trials[2].user_attrs["baseline"], "it is tried again"
    assert len({task.arch.id for task in tasks}) == 4
    assert {"inter", "early_stride"} <= study.trials[-1].params.keys(), "the storage keeps one name for each parameter"
    assert "depthmap" in study.trials[-1].distributions["head"].choices  # type: ignore[attr-defined]
    assert fingerprint.chooses_on_test(config), "errors of two parts are not mixed"


def test_the_sampler_may_change_when_a_study_is_resumed(tmp_path: Path) -> None:
    config = config_of(tmp_path, sampler="tpe", trials=5)
    fingerprint.leave(config)
    run(config)
    other = config_of(tmp_path, sampler="cost-aware", trials=7)
    fingerprint.leave(other)
    study, tasks = run(other)
    assert len(tasks) == 2 and len(study.trials) == 7 and config.hash == other.hash


def test_workers_that_run_at_the_same_time_have_different_networks(tmp_path: Path) -> None:
    config = config_of(tmp_path, trials=7)
    run(config)
    config = config_of(tmp_path, trials=11)
    space = fingerprint.space_of(config)
    study, monitor = prepare_study(config, space), LeaseMonitor(60)
    tasks = [next_task(study, config, space, monitor, frozenset({LATENCY})) for _ in range(4)]
    assert len({task.arch.id for task in tasks if task}) == 4
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 7 + [TrialState.RUNNING] * 4
    assert len(make_draft(study, config, space).trials) == 11, "running trials are believed"
    for task in tasks:
        assert task is not None
        task.lease.done(measured(task, config.objectives))
