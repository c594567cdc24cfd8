"""The plan of a search with a budget, from given speeds; the time that it counts; and a real search that ends in time."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from pydantic import ValidationError

from arch.errors import InputError, WorkError
from arch.space import preset
from explore.search.budget.equal_compute import equal_compute, further_samples, makespan
from explore.search.budget.pilot import _train_on_all_workers
from explore.search.budget.plan import (
    Clock,
    Plan,
    clock_text,
    given_keys,
    may_start,
    needs_plan,
    open_keys,
    pace_of,
    read_stored,
    with_stored_plan,
    without_limit,
)
from explore.search.budget.planner import Load, make_plan
from explore.search.budget.planning import fit_finalists
from explore.search.budget.speed import Speed, Timing, Trained, fit_speed, observed_speed
from explore.search.config import SearchConfig, double, seconds
from explore.search.finalists import Finalist
from explore.search.storage.records import PLAN
from explore.train.config import PASSES
from tests.helpers.search import run_command, trials

PAPER = {"paper-L-relu": 273e6, "paper-S-relu": 178e6, "paper-XS-relu": 20e6}
SPEED = Speed(
    sample_s=4e-3, mac_s=1e-10, frame_s=7e-3, candidate_s=15.0, finalist_s=60.0, reference_s=45.0, report_s=25.0
)
LOAD = Load(25e6, PAPER, lambda train_frames: train_frames + 1000)
NUMBERS: dict[str, Any] = {"trials": 3, "candidate": {"samples": 64}, "finalists": 2, "final": {"samples": 32}}


def plan(budget: str = "15m", speed: Speed | None = None, load: Load = LOAD, workers: int = 2, **given: Any) -> Plan:
    return make_plan(SearchConfig(budget=budget, **given), workers, speed or SPEED, load, 25.0)


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("0.5h", 1800), ("2d", 172800)]
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == SearchConfig(budget=text).budget_s == expected
    assert seconds(double(text)) == 2 * expected


@pytest.mark.parametrize("text", ["", "15", "m", "0m", "-5m", "15 m", "fast", "1e3s", "30m1h"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValidationError, match="is no duration; write one such as 15m"):
        SearchConfig(budget=text)


def test_speed_is_linear_in_macs_and_scales_what_was_not_measured() -> None:
    usual = Speed()

    def fitted(wall: float, cpu: float) -> Speed:
        times = [(macs, usual.training(macs)) for macs in (5e6, 20e6, 270e6)]
        return fit_speed([Timing(macs, wall * each, cpu * each) for macs, each in times], frame_s=0.02)

    assert fitted(1.0, 1.0).candidate_s == pytest.approx(usual.candidate_s)
    slow = fitted(3.0, 3.1)
    assert slow.training(100e6, 10) == pytest.approx(30 * usual.training(100e6)) and slow.frame_s == 0.02
    assert slow.finalist_s == pytest.approx(3 * usual.finalist_s) and slow.busy == 1.0
    busy = fitted(4.0, 1.0)
    assert busy.training(100e6) == pytest.approx(2 * usual.training(100e6)) and busy.frame_s == 0.01
    assert busy.busy == pytest.approx(2.0) and "keep this machine busy" in plan("1h", busy).lines[-1]
    assert fit_speed([Timing(m, 0.01, 0.01) for m in (5e6, 50e6)]).mac_s >= 0, "a GPU: the size hardly matters"


def test_speed_follows_the_candidates_of_a_machine_that_became_busy() -> None:
    found = observed_speed(SPEED, [Trained(20e6, 1000, 12.0, 42.0)] * 3)
    assert SPEED.training(20e6, 1000) == pytest.approx(6.0)
    assert found.training(1e8) == pytest.approx(2 * SPEED.training(1e8))
    assert found.finalist_s == pytest.approx(60.0 * (42.0 - 12.0) / 15.0)
    assert observed_speed(SPEED, []) == SPEED


@pytest.mark.parametrize("budget", ["5m", "8m", "15m", "30m", "2h", "8h", "2d"])
@pytest.mark.parametrize("workers", [1, 2, 16])
@pytest.mark.parametrize("factor", [0.3, 1.0])
def test_a_plan_fills_its_budget_and_not_more(budget: str, workers: int, factor: float) -> None:
    found = plan(budget, SPEED.slower(factor, factor), workers=workers)
    assert found.expected_s <= found.budget_s
    assert found.expected_s > 0.8 * found.budget_s or (budget, workers) == ("5m", 1)
    assert found.trials > len(PAPER) and found.finalists >= 1 and found.equal_compute
    assert found.candidates_until_s is not None and found.finalists_until_s is not None
    assert found.candidates_until_s < found.finalists_until_s < found.budget_s


def test_the_default_plan() -> None:
    """The figures are those of docs/search.md."""
    found = plan()
    assert found.references == tuple(PAPER) and (found.finalists + 3) % 2 == 0, "no worker is idle at the end"
    assert 2000 <= found.samples <= 4000 and 10 <= found.trials <= 20 and not found.rungs
    assert passes_of_xs(found) <= 1.25 * PASSES, "about four passes at most"
    assert found.compute_s == pytest.approx(
        (found.samples + found.final_samples) * found.speed.training(PAPER["paper-L-relu"]), rel=0.05
    )
    text = "\n".join(found.lines)
    assert "plan for 15m: 2 workers" in text and f"{found.trials} networks x {found.samples:,} samples" in text


def test_slower_machines_compare_with_fewer_networks_of_the_paper() -> None:
    found = [plan(speed=SPEED.slower(factor, factor)).references for factor in (1.0, 1.5, 2.0, 2.5)]
    names = tuple(PAPER)
    assert found == [names, names[1:], names[2:], ()], "the most expensive ones are left out first"


def test_large_networks_in_the_space_do_not_shorten_the_training_of_small_ones() -> None:
    found = plan(load=replace(LOAD, candidate_macs=80e6))
    assert passes_of_xs(found) <= 1.25 * PASSES


def passes_of_xs(found: Plan) -> float:
    """Return how many passes over the training frames the paper's XS makes as a finalist."""
    return found.compute_s / found.speed.training(PAPER["paper-XS-relu"]) / found.train_frames


def test_larger_budgets_buy_more_of_everything() -> None:
    before = plan("15m")
    for budget in ("1h", "8h", "2d"):
        found = plan(budget)
        assert found.trials > before.trials and found.samples > before.samples and found.finalists >= before.finalists
        assert found.compute_s > before.compute_s and found.train_frames >= before.train_frames
        before = found
    assert before.rungs == (0.25,)
    assert not plan("2d", estimator="predictor").rungs, "only full training has rungs"


def test_given_numbers_take_precedence() -> None:
    given = SearchConfig(budget="15m", trials=40, candidate={"samples": 900}, dataset={"train_frames": 500})
    found = make_plan(given, 2, SPEED, LOAD)
    assert (found.trials, found.samples, found.train_frames) == (40, 900, 500)
    assert found.candidates_until_s is None, "all of them are evaluated"
    assert found.given == given_keys(given) == ("trials", "candidate.samples", "dataset.train_frames")
    applied = found.applied_to(given, open_keys(given))
    assert applied.trials == 40 and applied.candidate.samples == 900 and applied.equal_compute
    assert applied.finalists == found.finalists and applied.references == found.references
    assert plan(references=("paper-S",)).references == ("paper-S",)
    assert not plan(final={"samples": 50}).equal_compute and plan(final={"samples": 50}).finalists_until_s is None
    too_much = plan(trials=40, candidate={"samples": 4000})
    assert too_much.expected_s > 900 and "longer than the budget" in too_much.lines[-1]


def test_when_a_plan_is_made() -> None:
    assert needs_plan(SearchConfig()) and needs_plan(SearchConfig(trials=3))
    assert not needs_plan(SearchConfig(**NUMBERS)) and not needs_plan(SearchConfig(budget="none"))
    assert needs_plan(SearchConfig(budget="1h", **NUMBERS))


@pytest.mark.parametrize(
    ("budget", "given", "said"),
    [
        ("1m", {}, "budget: 1m: too small for one candidate of 200 samples.*give at least [345]m"),
        ("15m", {"candidate": {"samples": 500_000}}, "too small for one candidate of 500000 samples, which takes 54:"),
        ("15m", {"final": {"samples": 500_000}}, "and one finalist, 55:"),
    ],
)
def test_a_budget_too_small_for_one_candidate(budget: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        plan(budget, **given)
    assert "\n" not in str(caught.value)


def test_equal_compute_fills_the_time_of_all_workers() -> None:
    per_sample = [0.04, 0.01, 0.005, 0.005]
    found = equal_compute(200.0, 2, per_sample, seen=1000, overhead_s=20.0)
    durations = [found - 1000 * each + 20.0 for each in per_sample]
    assert makespan(durations, 2) == pytest.approx(200.0)
    assert equal_compute(10.0, 2, per_sample, seen=0, overhead_s=20.0) == pytest.approx(0.0, abs=1e-6)
    assert makespan([5, 4, 3, 3, 3], 2) == 10


def test_cheaper_networks_see_more_samples(tmp_path: Path) -> None:
    config = SearchConfig(results=str(tmp_path), candidate={"samples": 1000}, final={"samples": 1000})
    assert further_samples(config, 273e6, 273e6, 6000) == 0
    samples = further_samples(config, 60e6, 273e6, 6000)
    usual = Speed()
    assert usual.training(60e6, 2000 + samples) == pytest.approx(usual.training(273e6, 2000), rel=0.01)
    assert further_samples(config, 5e6, 273e6, 600) == PASSES * 600 - 2000, "no more than four passes"


def test_the_time_of_interrupted_runs_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SearchConfig(study="s", results=str(tmp_path))
    assert may_start(config, is_first=False) and read_stored(config.folder) is None
    first = Clock(config, plan(), 100.0, ())
    stored = read_stored(config.folder)
    assert stored is not None and stored.plan == plan() and stored.spent_s == pytest.approx(100.0, abs=5.0)
    assert with_stored_plan(config).trials == plan().trials and with_stored_plan(config).equal_compute
    first.start_candidates(is_empty=True)
    assert may_start(config, is_first=False) and first.left_s == pytest.approx(800.0, abs=5.0)

    until = stored.plan.candidates_until_s
    assert until is not None
    late = Clock(config, stored.plan, until + 1, ())
    late.start_candidates(is_empty=False)
    assert not may_start(config, is_first=True)
    late.start_candidates(is_empty=True)
    assert may_start(config, is_first=True), "without any result, each worker tries one network"
    assert not may_start(config, is_first=False)
    late.start_finalists(is_empty=False)
    assert may_start(config, is_first=False)

    over = Clock(config, stored.plan, 2000.0, ())
    over.start_finalists(is_empty=False)
    assert not may_start(config, is_first=True) and over.left_s == 0.0
    over.start_finalists(is_empty=True)
    assert may_start(config, is_first=True) and not may_start(config, is_first=False)
    Clock(config, stored.plan, 2000.0, ("trials", "final.samples")).start_candidates(is_empty=False)
    assert may_start(config, is_first=False), "given trials are all evaluated"
    over.start_candidates(is_empty=False)
    spent = read_stored(config.folder)
    assert spent is not None and not may_start(config, is_first=True)
    assert without_limit(config, spent).trials == plan().trials
    assert may_start(config, is_first=False), "without a budget, there is no limit"

    (tmp_path / "s" / PLAN).write_text("{")
    with pytest.raises(InputError, match=r"budget\.json: .*restore the file, or give --study another name"):
        read_stored(config.folder)


def test_samples_of_finalists_follow_the_time_that_is_left(tmp_path: Path) -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    planned = plan()
    config = SearchConfig(study="s", results=str(tmp_path), workers=2)
    config = planned.applied_to(config, open_keys(config))
    finalists = [
        Finalist(preset(f"{name}@64"), ("int8-static",)) for name in ("paper-L-relu", "paper-S-relu", "paper-XS-relu")
    ]

    def decide(spent_s: float, chosen: list[Finalist], *given: str) -> int:
        clock = Clock(config, planned, spent_s, given)
        final = fit_finalists(config, study, chosen, clock).final.samples
        again = fit_finalists(config, study, chosen, clock).final.samples
        assert again == final, "a decision for the same finalists is kept"
        stored = read_stored(config.folder)
        assert stored is not None and stored.plan == clock.plan
        assert given or (stored.plan.final_samples == final and stored.plan.finalists_for)
        assert given or stored.plan.finalists_s.keys() == set(stored.plan.finalists_for)
        return final

    early, late, over = (decide(spent_s, finalists) for spent_s in (300.0, 600.0, 2000.0))
    assert early > late > over == round(0.15 * planned.samples), "at least a short further training"
    assert decide(300.0, finalists[:1]) > early, "fewer finalists are trained longer"
    decided = planned.model_copy(update={"finalists_for": ("other",), "final_samples": 777})
    spent = Clock(config, decided, 2000.0, ())
    assert fit_finalists(config, study, finalists, spent).final.samples == 777, "a spent budget keeps its decision"
    assert decide(300.0, finalists, "final.samples") == config.final.samples


def test_finalists_start_if_they_can_end_in_time(tmp_path: Path) -> None:
    """On a machine that was busy, durations are overestimated; a worker's last finalist corrects them."""
    config = SearchConfig(study="s", results=str(tmp_path))
    planned = plan().model_copy(update={"finalists_s": {"large": 100.0, "small": 10.0}})
    assert planned.finalists_until_s is not None
    Clock(config, planned, planned.finalists_until_s - 30.0, ()).start_finalists(is_empty=False)
    assert may_start(config, False, "small") and not may_start(config, False, "large")
    assert may_start(config, False, "large", pace_of(config, "large", 40.0)), "the machine is idle again"
    assert pace_of(config, "large", 300.0) == 1.0 == pace_of(config, "unknown", 5.0)
    assert not may_start(config, False, "large", pace_of(config, "large", 90.0))


def test_clock_texts() -> None:
    assert [clock_text(s) for s in (0, 61, 3599.6, 3661)] == ["0:00", "1:01", "1:00:00", "1:01:01"]


@pytest.mark.timeout(60)
def test_a_process_that_cannot_start_ends_the_measurement_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    resource_tracker.ensure_running()
    monkeypatch.setattr("multiprocessing.spawn._python_exe", b"/bin/false")
    data: Any = SimpleNamespace(skeleton=range(18), more_than_a_pipe_holds=bytes(2**22))
    with pytest.raises(WorkError, match="could not be measured: a process died"):
        _train_on_all_workers(SearchConfig(workers=2), [preset("paper-XS-relu@64")], data)


@pytest.mark.slow  # needs an idle machine
@pytest.mark.timeout(1200)
def test_a_search_ends_within_its_budget_and_a_resumed_one_keeps_the_plan(tmp_path: Path) -> None:
    options = ("--budget=5m", "--dataset.test-frames=12", "--dataset.val-frames=12", "--runtimes=litert", "--json")
    quick = ("--measure.rounds=3", "--measure.calls=5", "--measure.max-seconds=1", "--measure.ci-width=1")
    started = time.monotonic()
    done = run_command(tmp_path, *options, *quick, quick=False, timeout=900)
    took = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    stored = json.loads((tmp_path / "s" / PLAN).read_text())
    found = Plan.model_validate(stored["plan"])
    assert "plan for 5m: " in done.stderr and found.finalists_for
    assert took < 1.2 * 300, f"{took:.0f} s; {found.lines}"
    result = json.loads(done.stdout)
    assert result["exported"] and result["equal_samples"] and "Equal training compute" in result["training"]
    again = run_command(tmp_path, *options, *quick, quick=False)
    assert again.returncode == 0, again.stderr
    kept = Plan.model_validate(json.loads((tmp_path / "s" / PLAN).read_text())["plan"])
    assert kept == found and len(trials(tmp_path)) == len(result["trials"])
    assert json.loads(again.stdout)["exported"] == result["exported"]
