"""Smoothing of rendered videos: joints of a person at rest keep still, those of a moving person follow within a frame."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from explore.commands.predict import BUNDLED
from explore.data.synthetic.body import load_body
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.frame import compose_frame
from explore.data.synthetic.pose import bone_rotations, sample_pose
from explore.data.synthetic.render import render
from explore.predict.camera import choose_camera
from explore.predict.detector import Detector
from explore.predict.pipeline import Model, Person, predict_people
from explore.predict.smoothing import RESET_AFTER, Smoother
from explore.predict.tracker import Tracker
from quantize import bundle

SIZE, FPS, FRAMES = 256, 30, 40
NOISE = 6.0  # standard deviation of the camera's noise, grey levels
FIGURES = 7  # people, each in a pose and view of their own
START = 10  # frames until the filters have settled


def clip(hertz: float, number: int = 4) -> list[np.ndarray]:
    """Render a person who moves between two poses, `hertz` times per second; every image has its own noise."""
    body, figure = load_body(), compose_frame(SyntheticConfig(size=SIZE), "test", number).figure
    rotations = (bone_rotations(body, figure.heads, sample_pose(np.random.default_rng(seed))) for seed in (11, 3))
    first, second = (body.pose(figure.heads, pose)[0] for pose in rotations)
    rng, images, still = np.random.default_rng(0), [], None
    for frame in range(FRAMES):
        share = 0.5 - 0.5 * np.cos(2 * np.pi * hertz * frame / FPS)
        if still is None or hertz:
            posed = replace(figure, transforms=(1 - share) * first + share * second)
            still = render(np.random.default_rng(0), body, posed, SIZE, True, None)
        images.append(np.clip(still + rng.normal(0, NOISE, still.shape), 0, 255).astype(np.uint8))
    return images


@pytest.fixture(scope="module")
def model() -> Model:
    opened = bundle.load(BUNDLED)
    return Model("m", opened, opened.session())


def predicted(model: Model, images: list[np.ndarray]) -> tuple[list[Person], list[Person]]:
    """Return the person of each frame, as predicted and smoothed."""
    tracker, smoother, camera = Tracker(Detector()), Smoother(), choose_camera(SIZE, SIZE)
    raw, smooth = [], []
    for frame, image in enumerate(images):
        boxes = tracker.update(image, frame / FPS)
        people = predict_people(model, image, boxes[:1], camera)
        raw += people
        smooth += smoother.smooth(model.label, people, frame / FPS, 1.25)
    assert len(raw) == FRAMES
    return raw, smooth


def jitter(people: list[Person], unit: str) -> float:
    """Return the mean distance of a joint from where it was one frame before."""
    joints = [getattr(person, unit) for person in people[START:]]
    return float(np.mean([np.linalg.norm(b - a, axis=1).mean() for a, b in pairwise(joints)]))


def lag(raw: list[Person], smooth: list[Person], unit: str) -> float:
    """Return the delay, in frames, at which the raw joints that move most fit the smoothed ones best."""
    before, after = (np.array([getattr(person, unit) for person in people]) for people in (raw, smooth))
    moving = np.argsort(np.ptp(before, axis=0).max(1))[-6:]
    before, after = before[:, moving], after[:, moving]
    frames = np.arange(len(before))
    delays = np.linspace(-0.5, 4, 91)
    errors = []
    for delay in delays:
        at = np.clip(frames - delay, 0, len(frames) - 1)
        low = np.minimum(at.astype(int), len(frames) - 2)
        share = (at - low)[:, None, None]
        shifted = before[low] * (1 - share) + before[low + 1] * share
        errors.append(float(np.square(shifted - after)[START:].sum()))
    return float(delays[np.argmin(errors)])


@pytest.mark.slow
def test_people_at_rest_jitter_70_percent_less(model: Model) -> None:
    clips = [predicted(model, clip(0.0, figure)) for figure in range(FIGURES)]
    for unit in ("px", "mm"):
        assert min(jitter(raw, unit) for raw, _ in clips) > 0.3
        assert np.mean([jitter(smooth, unit) / jitter(raw, unit) for raw, smooth in clips]) < 0.3


def test_a_moving_person_is_followed_within_a_frame(model: Model) -> None:
    raw, smooth = predicted(model, clip(0.7))
    for unit, motion in (("px", 30.0), ("mm", 200.0)):
        joints = np.array([getattr(person, unit) for person in raw])
        assert np.ptp(joints, axis=0).max() > motion  # the clip shows large movements
        assert lag(raw, smooth, unit) <= 1.0


def test_people_are_filtered_apart(model: Model) -> None:
    image = clip(0.0)[0]
    (person,) = predict_people(model, image, Tracker(Detector()).update(image, 0.0)[:1], choose_camera(SIZE, SIZE))
    other = replace(person, number=2, px=person.px + 100)
    smoother = Smoother()
    smoother.smooth("m", [person, other], 0.0, 1.25)
    first, second = smoother.smooth("m", [person, other], 0.1, 1.25)
    assert np.allclose(first.px, person.px) and np.allclose(second.px, other.px)
    moved = replace(person, px=person.px + 5)
    (near,) = smoother.smooth("m", [moved], 0.2, 1.25)
    assert (near.px - person.px).max() < 5
    (anew,) = smoother.smooth("m", [moved], 0.3 + RESET_AFTER, 1.25)  # not seen for a while
    assert np.allclose(anew.px, moved.px)
