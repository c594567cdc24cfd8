"""Triangulation and association on cameras of known position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from explore.data.label.triangulation import associate, pair_error, triangulate
from tests.helpers.views import a_person, observe, ring_of_cameras


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_exact_views_give_the_exact_points(rng, count):
    cameras, world = ring_of_cameras(5)[:count], a_person(rng)
    found = triangulate(observe(cameras, world, rng), cameras)
    assert np.allclose(found.points, world, atol=0.1)
    assert found.agree.all() and found.errors.max() < 0.05


def test_noise_is_averaged_over_the_views(rng):
    cameras, world = ring_of_cameras(5), a_person(rng, joints=200)
    views = observe(cameras, world, rng, noise_px=5.0)
    two = np.linalg.norm(triangulate(views[:2], cameras).points - world, axis=1).mean()
    five = np.linalg.norm(triangulate(views, cameras).points - world, axis=1).mean()
    assert five < 0.75 * two < 40
    assert 3 < triangulate(views, cameras).errors.mean() < 8


def test_a_bad_view_is_left_out(rng):
    cameras, world = ring_of_cameras(4), a_person(rng)
    views = observe(cameras, world, rng, noise_px=1.0)
    views[2] = replace(views[2], px=views[2].px + np.array([150.0, 60.0]))
    found = triangulate(views, cameras)
    assert np.linalg.norm(found.points - world, axis=1).max() < 25
    assert not found.agree[2].any() and found.agree[[0, 1, 3]].all()
    assert found.errors[2].min() > 100


def test_joints_of_weight_zero_are_not_used(rng):
    cameras, world = ring_of_cameras(3), a_person(rng)
    views = observe(cameras, world, rng)
    hidden = np.ones(len(world))
    hidden[4] = 0
    wrong = views[1].px.copy()
    wrong[4] += 40
    views[1] = replace(views[1], px=wrong, weights=hidden)
    found = triangulate(views, cameras)
    assert np.allclose(found.points, world, atol=0.1) and list(found.agree[:, 4]) == [True, False, True]


def test_a_joint_seen_once_has_no_point(rng):
    cameras, world = ring_of_cameras(2), a_person(rng)
    views = observe(cameras, world, rng)
    views[0].weights[3] = 0
    found = triangulate(views, cameras)
    assert np.isnan(found.points[3]).all() and not found.agree[:, 3].any() and np.isfinite(found.points[4]).all()


def test_cameras_side_by_side_give_no_points(rng):
    camera = ring_of_cameras(2)[0]
    beside = replace(camera, translation=camera.translation + np.array([50.0, 0, 0]))
    found = triangulate(observe([camera, beside], a_person(rng), rng), [camera, beside])
    assert np.isnan(found.points).all()


def test_people_are_associated_across_views(rng):
    cameras = ring_of_cameras(4)
    people = [a_person(rng, -500, 200), a_person(rng, 500, -100)]
    first, second = (observe(cameras, world, rng, noise_px=3.0) for world in people)
    shuffled = [first[0], second[0], second[1], first[1], first[2], second[2], second[3]]  # camera 3 misses one
    groups = associate(shuffled, cameras)
    assert [{id(view) for view in group} for group in groups] == [
        {id(view) for view in second},
        {id(view) for view in first[:3]},
    ]


def test_another_person_has_a_large_error(rng):
    cameras = ring_of_cameras(4)
    here, there = (observe(cameras, a_person(rng, x), rng) for x in (-400, 400))
    assert pair_error(here[0], here[1], cameras) < 0.001 < 0.08 < pair_error(here[0], there[1], cameras)


def test_a_person_seen_by_one_camera_is_left_out(rng):
    cameras = ring_of_cameras(3)
    views = observe(cameras, a_person(rng), rng)
    alone = observe(cameras, a_person(rng, 900, 300), rng)[0]
    assert [len(group) for group in associate([alone, *views], cameras)] == [3]
