"""Fronts and the choice along them."""

from __future__ import annotations

import numpy as np
import pytest

from explore.search.front import choose, dominates, hypervolume, ranks


def test_ranks_agree_with_the_definition() -> None:
    points = np.random.default_rng(0).integers(0, 6, (60, 2)).astype(float)
    rank = ranks(points)
    for i, point in enumerate(points):
        better = [rank[j] for j in range(len(points)) if dominates(points[j], point)]
        assert rank[i] == (max(better) + 1 if better else 0)


def test_the_ends_of_the_front_are_chosen_first() -> None:
    points = np.array([[1, 9], [2, 5], [2.1, 4.9], [5, 2], [9, 1], [9, 9]], float)
    chosen = choose(points, 3)
    assert set(chosen[:2]) == {0, 4}
    assert len(chosen) == 3 and 5 not in chosen
    assert sorted(choose(points, 6)) == [0, 1, 2, 3, 4, 5]


def test_hypervolume_by_hand() -> None:
    points = np.array([[1.0, 3.0], [2.0, 1.0], [3.0, 3.0]])
    assert hypervolume(points, np.array([4.0, 4.0])) == pytest.approx(1 * 1 + 2 * 3)
