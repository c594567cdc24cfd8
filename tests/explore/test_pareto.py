"""Fronts, their hypervolume and the choice of points along them."""

from __future__ import annotations

import moocore
import numpy as np
import pytest

from explore.pareto import (
    crowding_distance,
    crowding_sort,
    hypervolume,
    hypervolume_history,
    non_dominated_rank,
    select_along_front,
)


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_ranks_agree_with_moocore_and_the_definition(objectives: int) -> None:
    points = np.random.default_rng(0).integers(0, 6, (60, objectives)).astype(float)
    rank = non_dominated_rank(points)
    assert rank.tolist() == moocore.pareto_rank(points).tolist()
    for i, point in enumerate(points):
        better = [rank[j] for j in range(len(points)) if (points[j] <= point).all() and (points[j] < point).any()]
        assert rank[i] == (max(better) + 1 if better else 0)


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_hypervolume_agrees_with_moocore(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    for count in (1, 2, 30):
        points = rng.uniform(0, 1.2, (count, objectives))  # some lie beyond the reference point
        expected = moocore.hypervolume(points, ref=np.ones(objectives))
        assert hypervolume(points, np.ones(objectives)) == pytest.approx(expected, abs=1e-12)


def test_hypervolume_of_three_points_by_hand() -> None:
    points = np.array([[1.0, 3.0], [2.0, 1.0], [3.0, 3.0]])
    assert hypervolume(points, np.array([4.0, 4.0])) == pytest.approx(1 * 1 + 2 * 3)
    assert hypervolume(points, np.array([1.0, 1.0])) == 0


def test_the_history_ends_with_the_hypervolume_of_all_points() -> None:
    rng = np.random.default_rng(1)
    points = [(float(mm), float(ms)) for mm, ms in zip(rng.uniform(90, 250, 40), rng.uniform(0.1, 9, 40), strict=True)]
    history = hypervolume_history(points, 220.0)
    log = np.array([[np.log10(ms), mm] for mm, ms in points])
    assert history == sorted(history)
    assert history[-1] == pytest.approx(hypervolume(log, np.array([log[:, 0].max() + 1e-6, 220.0])))
    assert hypervolume_history([], 220.0) == []


def test_the_front_comes_first_and_its_least_crowded_points_lead() -> None:
    points = np.array([[100, 10], [90, 20], [89, 21], [80, 80], [101, 11], [200, 90]], float)
    assert crowding_sort(points).tolist()[:2] == [0, 3], "the ends of the front"
    assert crowding_sort(points).tolist()[-2:] == [4, 5], "dominated points, by rank"
    assert np.isinf(crowding_distance(points[:2])).all()


def test_the_ends_of_the_front_are_chosen_first() -> None:
    points = np.array([[1, 9], [2, 5], [2.1, 4.9], [5, 2], [9, 1], [9, 9]], float)
    chosen = select_along_front(points, 3)
    assert set(chosen[:2]) == {0, 4}
    assert len(chosen) == 3 and 5 not in chosen
    assert sorted(select_along_front(points, 6)) == [0, 1, 2, 3, 4, 5]
