"""The check of the views finds shifted videos and other cameras, and accepts good ones."""

from __future__ import annotations

import numpy as np
import pytest

from arch.errors import InputError
from explore.data.label.synchrony import check_views
from tests.helpers.views import a_person, observe, ring_of_cameras

FPS, EVERY, NAMES = 30.0, 4, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]


def filmed(cameras, shifts, people=1, moving=1.0, noise_px=3.0):
    """Return observations by frame of people who walk and swing; the videos show a moment `shifts` frames later."""
    rng = np.random.default_rng(1)
    bodies = [a_person(rng, 700 * index) for index in range(people)]
    swing = rng.uniform(-250, 250, (people, len(bodies[0]), 3))
    phase = rng.uniform(0, 6, (people, len(bodies[0]), 1))
    frames = {}
    for frame in range(0, 240, EVERY):
        for view, (camera, shift) in enumerate(zip(cameras, shifts, strict=True)):
            time = (frame - shift) / FPS
            for number, body in enumerate(bodies):
                walked = moving * np.array([600 * np.sin(0.9 * time), 300 * np.cos(1.3 * time), 0])
                world = body + walked + moving * swing[number] * np.sin(5 * time + phase[number])
                seen = observe([camera], world, rng, noise_px)[0]
                person = type(seen)(view, seen.px, seen.weights, seen.size, number)
                frames.setdefault(frame, []).append(person)
    return frames


def check(cameras, frames, count=4):
    check_views(frames, cameras, NAMES[:count], FPS, "--views c.toml")


@pytest.mark.parametrize("people", [1, 2])
def test_synchronised_videos_pass(people):
    cameras = ring_of_cameras(4)
    check(cameras, filmed(cameras, [0, 0, 0, 0], people))


def test_two_synchronised_videos_pass():
    cameras = ring_of_cameras(3)[:2]
    check(cameras, filmed(cameras, [0, 0]), 2)


@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize("shift", [3, -11, 45])
def test_a_shifted_video_is_named_with_its_shift(shift, people):
    cameras = ring_of_cameras(4)
    with pytest.raises(InputError, match="not synchronised") as error:
        check(cameras, filmed(cameras, [0, 0, shift, 0], people))
    direction = "later" if shift > 0 else "earlier"
    assert f"c.mp4 shows the same moment {abs(shift)} frames {direction}" in str(error.value)
    assert "a.mp4" not in str(error.value) and "\n" not in str(error.value)


def test_two_shifted_videos():
    cameras = ring_of_cameras(3)[:2]
    with pytest.raises(InputError, match=r"b.mp4 shows the same moment 7 frames later"):
        check(cameras, filmed(cameras, [0, 7]), 2)


def test_a_person_who_stands_still_does_not_look_shifted():
    cameras = ring_of_cameras(4)
    check(cameras, filmed(cameras, [0, 0, 9, 0], moving=0.0))


def test_a_calibration_of_other_cameras():
    cameras = ring_of_cameras(4)
    others = [cameras[index] for index in (2, 0, 1, 3)]
    with pytest.raises(
        InputError, match=r"not that of the cameras of a\.mp4, b\.mp4, c\.mp4, d\.mp4: median reprojection"
    ):
        check(others, filmed(cameras, [0, 0, 0, 0]))


def test_two_exchanged_videos():
    cameras = ring_of_cameras(4)
    exchanged = [cameras[index] for index in (1, 0, 2, 3)]
    with pytest.raises(InputError, match=r"not that of the cameras of .*reprojection error \d+ px"):
        check(exchanged, filmed(cameras, [0, 0, 0, 0]))


def test_one_video_of_another_camera():
    cameras = ring_of_cameras(5)
    with pytest.raises(InputError, match=r"not that of the cameras of d\.mp4: median"):
        check([*cameras[:3], cameras[4]], filmed(cameras[:4], [0, 0, 0, 0]))


def test_videos_without_people_are_not_compared():
    cameras = ring_of_cameras(2)
    check(cameras, {}, 2)
