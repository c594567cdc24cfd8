"""Finalists are chosen by validation error with its uncertainty, along the whole front."""

from __future__ import annotations

import numpy as np
import pytest

from explore.evaluation.intervals import Units
from explore.search.selection import UncertainError, draw_errors, front_probability, select_finalists

UNITS = Units("frame", np.arange(200))


def certain(mm: float) -> UncertainError:
    return UncertainError(mm, 0.0, 0.0)


def costs(*values: float) -> np.ndarray:
    return np.array(values, np.float64)[:, None]


def test_paired_draws_keep_the_order_of_networks_that_find_the_same_frames_hard() -> None:
    hard = np.random.default_rng(0).gamma(4, 25, 200)
    errors = [UncertainError(float(f.mean()), 5.0, 0.0, f) for f in (hard, hard + 2.0)]
    drawn = draw_errors(errors, UNITS, 0)
    assert drawn.std(0) == pytest.approx(np.full(2, hard.std() / np.sqrt(200)), rel=0.15)
    assert (drawn[:, 1] - drawn[:, 0]) == pytest.approx(2.0), "the difference is certain, although the errors are not"
    unpaired = draw_errors([UncertainError(100.0, 5.0, 3.0)] * 2, None, 0)
    assert unpaired.std(0) == pytest.approx(np.full(2, np.hypot(5.0, 3.0)), rel=0.15)
    assert np.corrcoef(unpaired.T)[0, 1] == pytest.approx(0.0, abs=0.2)


def test_probability_of_being_on_the_front() -> None:
    errors = [certain(100.0), certain(101.0), certain(90.0), UncertainError(100.0, 0.0, 3.0)]
    found = front_probability(draw_errors(errors, None, 0), costs(1.0, 1.0, 2.0, 1.0))
    assert found[1] == 0.0 and found[2] > 0.99 and found[0] == pytest.approx(0.5, abs=0.1)
    assert found[0] + found[3] == pytest.approx(1.0, abs=0.05)


def test_the_whole_front_is_covered() -> None:
    ms = np.geomspace(0.05, 2.0, 40)
    errors = [certain(220.0 - 25.0 * float(np.log(each / 0.04))) for each in ms]
    chosen = select_finalists(draw_errors(errors, None, 0), costs(*ms), 5, 222.0)
    thirds = {int(3 * index / 40) for index in chosen}
    assert len(chosen) == 5 and thirds == {0, 1, 2}


def test_a_candidate_that_is_certainly_behind_is_not_chosen_before_one_that_may_be_ahead() -> None:
    errors = [certain(100.0), certain(130.0), UncertainError(101.0, 0.0, 3.0)]
    chosen = select_finalists(draw_errors(errors, None, 0), costs(1.0, 1.0, 0.99), 2, 222.0)
    assert set(chosen) == {0, 2}
    assert select_finalists(draw_errors(errors, None, 0), costs(1.0, 1.0, 0.99), 9, 222.0)[2:] == [1]


def test_of_two_candidates_with_the_same_cost_the_more_accurate_one_stands_for_both() -> None:
    errors = [certain(100.0), UncertainError(100.5, 0.0, 1.5), certain(150.0)]
    chosen = select_finalists(draw_errors(errors, None, 0), costs(1.0, 1.0, 0.2), 2, 222.0)
    assert set(chosen) == {0, 2}, "the second would add little to the first"


def test_several_costs() -> None:
    points = np.array([[1.0, 1.0], [0.5, 2.0], [2.0, 0.5], [2.0, 2.0]])
    errors = [certain(100.0), certain(100.0), certain(100.0), certain(120.0)]
    drawn = draw_errors(errors, None, 0)
    assert front_probability(drawn, points).tolist() == [1.0, 1.0, 1.0, 0.0]
    assert set(select_finalists(drawn, points, 3, 222.0)) == {0, 1, 2}
