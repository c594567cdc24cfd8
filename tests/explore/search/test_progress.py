"""Progress of a search: its status line, and the time left by the work of each network."""

from __future__ import annotations

import pytest

from arch.cost import cost
from arch.search_space import Space
from arch.space import preset
from explore.progress import Display
from explore.search.budget.progress_weights import candidate_weight, candidate_weights, finalist_weights
from explore.search.config import SearchConfig
from explore.search.costs.objectives import objective_quantities
from explore.search.status_line import StatusLine, sparkline
from explore.search.study import baselines


def test_status_line_shows_the_ends_of_the_front_and_the_hypervolume() -> None:
    status = StatusLine(220.0, objective_quantities(SearchConfig()))
    assert status.line == ""
    for point in ((200.0, 1.0), (180.0, 2.0), (210.0, 1.5), (150.0, 2.5)):
        status.add(point)
    assert status.line.startswith("front 3 of 4: 150.0 mm, 2.500 ms to 200.0 mm, 1.000 ms  ")
    assert status.line.endswith("█") and len(sparkline([float(i) for i in range(1000)])) == 24
    assert sparkline([]) == sparkline([0.0]) == ""


def test_status_line_counts_the_front_of_all_objectives_and_what_is_predicted() -> None:
    status = StatusLine(220.0, objective_quantities(SearchConfig(objectives=("mpjpe", "macs", "size"))))
    for point in ((200.0, 1e7, 1e6), (210.0, 2e7, 5e5), (220.0, 3e7, 2e6)):
        status.add(point)
    assert status.line.startswith("front 2 of 3: 200.0 mm, 10.0 M MACs  ")
    status = StatusLine(220.0, objective_quantities(SearchConfig()))
    status.add((200.0, 1.0), is_measured=False)
    assert "latency of 1 predicted" in status.line


def test_status_line_follows_plain_progress_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explore.progress.PLAIN_SECONDS", -1.0)
    with Display() as display:
        display.stage("candidates, 4")
        display.status("front 1 of 1: 150.0 mm in 2.5 ms")
        display.update(0.25)
    stage, progress, status = capsys.readouterr().err.splitlines()
    assert stage == "candidates, 4" and progress.startswith("candidates, 4 25%")
    assert status.strip().startswith("front 1")


def test_a_search_with_a_budget_shows_the_time_that_its_plan_leaves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explore.progress.PLAIN_SECONDS", -1.0)
    with Display() as display:
        display.time_left = lambda: 125.0
        display.stage("candidates, 4")
        display.update(0.01)
    assert "1%, 2:05 left" in capsys.readouterr().err, "the estimate from 1% would be any number"


def test_the_time_left_never_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("explore.progress.time.monotonic", lambda: now[0])
    display = Display(quiet=True)
    display.stage("candidates, 4")
    assert display.left() == "", "unknown"
    now[0] += 60
    display.update(0.5)
    assert display.left() == "1:00"
    now[0] += 20
    display.update(0.5)
    assert display.left() == "0:40"
    now[0] += 100
    assert display.left() == "0:00"
    display.update(0.75)
    assert display.left() == ">0:00", "180 s for three quarters leave 60 s, more than shown before"
    now[0] += 1
    display.update(1.0)
    assert display.left() == "0:00"


def test_progress_is_weighted_by_work() -> None:
    """The three baselines, which are tried first, are most of the work of 20 trials."""
    config = SearchConfig(trials=20)
    space = Space.named("mobile").at(64)
    first = baselines(config, space)
    weights = candidate_weights(config, space, first, [])
    assert weights.fraction({}) == 0.0
    assert weights.fraction({"paper-L-relu@64": 0.5}) > 0.05
    for name in first:
        weights.finish(name)
    assert weights.fraction({}) > 0.25
    for number in range(17):
        before = weights.fraction({})
        weights.finish(str(number), candidate_weight(config, 2e7))
        assert weights.fraction({}) > before
    assert weights.fraction({}) == 1.0
    finished = [(name, cost(arch).macs, 1.0) for name, arch in first.items()]
    assert 0.25 < candidate_weights(config, space, first, finished).fraction({}) < 1.0
    stopped = [("", 2e7, 0.25)] * 4
    without = candidate_weights(config, space, first, finished).fraction({})
    assert candidate_weights(config, space, first, [*finished, *stopped]).fraction({}) > without
    chosen = [preset("paper-L-relu@64"), preset("paper-XS-relu@64")]
    assert finalist_weights(config, chosen, chosen[:1]).fraction({}) > 0.6
