"""Rungs: who goes on, what stays in the storage, and the way of a real search up them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from arch.errors import InputError
from benchmarks.faults import Outcome, SearchFixture, inspect, wait
from benchmarks.simulated_search import Fault, Plan
from explore.report.tables import read_table
from explore.search.config import SearchConfig
from explore.search.rungs import STEPS, Step, _decide, check_rungs, is_stopped, stage_reached
from explore.search.storage.backends import open_storage, storage_url
from explore.train.config import CandidateConfig
from tests.helpers.search import RENDERED, run_command

pytestmark = pytest.mark.timeout(3000)  # busy machines disturb and delay measurements

RUNGS: dict[str, Any] = {"rungs": (0.1, 0.4), "eta": 2.0}


def step(mm: float, macs: int, ms: float | None = None) -> Step:
    return Step(share=0.1, mm=mm, macs=macs, ms=ms)


def test_one_in_eta_goes_on_and_papers_models_take_nobodys_place() -> None:
    peers = [(step(100, 100), False), (step(90, 200), False), (step(80, 300), False)]
    behind, ahead = step(101, 150), step(70, 50)
    _decide(behind, peers, 2.0, always=False)
    _decide(ahead, peers, 2.0, always=False)
    assert (behind.goes_on, behind.place, behind.of, behind.on) == (False, 4, 4, 2)
    assert (ahead.goes_on, ahead.place) == (True, 1)
    paper = [(step(10, 10), True), (step(9, 20), True)]
    first = step(50, 50)
    _decide(first, paper, 2.0, always=False)
    assert (first.goes_on, first.place, first.of) == (True, 1, 1)
    _decide(behind, peers, 2.0, always=True)
    assert behind.goes_on, "a baseline goes on wherever it stands"


def test_predictions_are_compared_where_all_have_one() -> None:
    faster_though_larger = step(90, 900, 1.0)
    _decide(faster_though_larger, [(step(90, 100, 2.0), False)], 2.0, always=False)
    assert faster_though_larger.goes_on
    _decide(faster_though_larger, [(step(90, 100), False)], 2.0, always=False)
    assert not faster_though_larger.goes_on, "one was made before there was a predictor: MACs count"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rungs": (0.3, 0.1)}, "rise between 0 and 1"),
        ({"rungs": (0.5, 1.0)}, "rise between 0 and 1"),
        ({"rungs": (0.1,), "candidate": CandidateConfig(samples=40)}, "less than a batch of 8"),
        ({"rungs": (0.1,), "estimator": "short"}, "leave one of the two out"),
    ],
)
def test_rungs_that_cannot_be_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        check_rungs(SearchConfig(**values))
    assert "\n" not in str(error.value)


def climbed(stage: SearchFixture) -> list[FrozenTrial]:
    study = optuna.load_study(study_name="s", storage=open_storage(storage_url(stage.config)))
    return study.get_trials(deepcopy=False)


def story(trials: list[FrozenTrial]) -> list[Any]:
    """What a study decided, without who did it and when."""
    kept = ("arch", STEPS, "reason", "stage")
    return [(t.number, t.state, t.values, {key: t.user_attrs.get(key) for key in kept}) for t in trials]


def rehearsed(folder: Path, faults: list[Fault], workers: int) -> SearchFixture:
    stage = SearchFixture(folder, Plan(faults=faults), trials=10)
    ended, status, told = wait(stage.start(workers=workers, **RUNGS))
    assert ended and status == 0, told
    return stage


def test_one_worker_decides_the_same_again_and_after_deaths(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    deaths = [Fault(kind="kill", stage=name) for name in ("rung-0", "rung-1")]
    one = rehearsed(tmp_path / "one", [], 1)
    two = rehearsed(tmp_path / "two", deaths, 1)
    trials = climbed(one)
    assert story(trials) == story(climbed(two))
    assert set(Counter(two.notes()).values()) == {1}, "a stage was done again"

    ended = [t for t in trials if is_stopped(t)]
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    assert len(ended) + len(done) == 10 and len(ended) >= 3 and len(done) >= 3
    assert {stage_reached(t) for t in ended} == {"trained 10%", "trained 40%"}
    assert all("place" in t.user_attrs["reason"] for t in ended)
    for t in trials:
        if "baseline" in t.user_attrs:
            assert t.state == TrialState.COMPLETE
    trained = [note.split()[1] for note in one.notes() if note.startswith("train ")]
    assert sorted(trained) == sorted(t.user_attrs["arch"] for t in done), "what was stopped was not trained on"


@pytest.mark.slow
def test_two_workers_wait_for_nobody_and_lose_nothing(tmp_path: Path) -> None:
    stage = rehearsed(tmp_path, [Fault(kind="kill", stage="rung-0", times=2)], 2)
    trials = climbed(stage)
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    assert len(done) + sum(map(is_stopped, trials)) == 10 and any(map(is_stopped, trials))
    left = inspect(stage, Outcome("", ""))
    assert (left.running, left.duplicates, left.repeated, left.front_equal) == (0, 0, 0, True)
    for trial in trials:
        for found in trial.user_attrs.get(STEPS, []):
            assert found["goes_on"] == ("baseline" in trial.user_attrs or found["place"] <= found["on"])


@pytest.mark.slow
def test_a_real_search_climbs_and_another_takes_its_rungs_from_the_cache(tmp_path: Path) -> None:
    options = [
        "--trials=6", "--rungs=0.25,0.5", "--sampler=random", "--runtimes=litert", "--finalists=1", "--workers=1",
    ]  # fmt: skip
    tables = []
    for study in ("s", "again"):
        done = run_command(tmp_path, *RENDERED, *options, f"--study={study}", timeout=1500)
        assert done.returncode == 0, done.stderr
        tables.append(read_table(tmp_path / study / "trials.csv"))
    one, two = ([(row["arch_id"], row["state"], row["reason"]) for row in table] for table in tables)
    assert one == two, "the seed and one worker decide"
    used = [row for row in tables[0] if row["state"] == "complete" or row["stage"].startswith("trained")]
    assert len(used) == 6
    for row in used:
        folder = tmp_path / "s" / "candidates" / row["arch_id"]
        assert json.loads((folder / "rung-8.json").read_text())["samples"] == 8
        if row["state"] == "complete":
            assert row["samples"] == "32" and (folder / "rung-16.json").exists()
        else:
            assert row["state"] == "pruned" and row["reason"].startswith("stopped at")
            assert not (folder / "trained.json").exists()
    for path in tmp_path.glob("again/candidates/*/rung-8.safetensors"):
        there = tmp_path / "s" / path.relative_to(tmp_path / "again")
        assert path.samefile(there), "trained again"
