"""predict with framing roi, by a network that finds coloured discs: two passes in photos, people followed in videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from explore.data.framing import region_of_joints, roi_of
from explore.data.skeleton import skeleton_from_edges
from explore.predict import pipeline, tracker
from explore.predict.boxes import Box
from explore.predict.camera import Camera
from explore.predict.detector import full_region
from explore.predict.people import photo_shot
from explore.predict.records import people_records
from explore.predict.tracker import Tracker
from explore.predict.videos import _follow, _still_followed
from quantize.manifest import Preprocessing

NAMES = ("R_Hip", "L_Hip", "R_Shoulder", "L_Shoulder", "R_Ankle", "L_Ankle", "Head")
SKELETON = skeleton_from_edges("discs", NAMES, [(0, 1), (0, 2), (1, 3), (0, 4), (1, 5), (2, 6)], "R_Hip")
PLACES = np.array([[-15, 0], [15, 0], [-20, -45], [20, -45], [-15, 85], [15, 85], [0, -75]])  # px, upright
COLOURS = np.array(
    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255], [255, 255, 255]]
)
SIZE, SHAPE = 128, (360, 480, 3)
CAMERA = Camera(np.array([480.0, 480.0]), np.array([240.0, 180.0]), "given", "given")
ROI = roi_of(SKELETON)
EMPTY = np.full(SHAPE, 40, np.uint8)
MODEL: Any = SimpleNamespace(
    label="discs",
    bundle=SimpleNamespace(
        manifest=SimpleNamespace(
            preprocessing=Preprocessing(size=SIZE, framing="roi", roi=ROI, border="replicate"),
            postprocessing=SimpleNamespace(confidence=None, depth_range_mm=2000.0),
            skeleton=SimpleNamespace(joints=NAMES),
        )
    ),
)


def scene(centre: tuple[float, float], degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of a person, turned clockwise, and the joints (7, 2) px."""
    turn = np.radians(degrees)
    px = PLACES @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + centre
    image = EMPTY.copy()
    for place, colour in zip(px, COLOURS.tolist(), strict=True):
        cv2.circle(image, tuple(np.rint(16 * (place - 0.5)).astype(int).tolist()), 16 * 8, colour, -1, shift=4)
    return image, px


def discs(image: np.ndarray) -> np.ndarray:
    """Return the centre (7, 2) of each disc in an image, px; NaN where there is none."""
    found, bright = np.full((len(NAMES), 2), np.nan), image > 127
    for joint, colour in enumerate(COLOURS):
        rows, columns = np.nonzero((bright == (colour > 127)).all(2))
        if len(rows):
            found[joint] = columns.mean() + 0.5, rows.mean() + 0.5
    return found


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is confident where it sees discs, and otherwise predicts the centre of the crop."""

    def run(model: Any, cropped: np.ndarray, timer: Any) -> tuple[np.ndarray, np.ndarray]:
        px = discs(cropped) / SIZE
        seen = np.isfinite(px[:, 0])
        xy = np.where(seen[:, None], px, 0.5)
        return np.concatenate([xy, np.full((len(NAMES), 1), 0.5)], 1), np.where(seen, 0.9, 0.1)

    monkeypatch.setattr(pipeline, "_run", run)


class DiscDetector:
    """Stands in for the person detector. searched: number of regions of each call."""

    def __init__(self) -> None:
        self.searched: list[int] = []
        self.circles = 0

    def detect_in(self, image: np.ndarray, regions: Sequence[np.ndarray]) -> np.ndarray:
        self.searched.append(len(regions))
        px = discs(image)
        if np.isnan(px).any():
            return np.empty((0, 4))
        low, high = px.min(0), px.max(0)
        half = max(high - low) / 2
        return np.array([[*((low + high) / 2 - half), 2 * half, 2 * half]])

    def circle(self, image: np.ndarray, bbox: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.circles += 1
        px = discs(image)
        hips = px[:2].mean(0)
        return hips, hips + np.array([0.0, -90.0])  # upright, whatever the pose


def test_second_pass_turns_the_crop_upright() -> None:
    image, px = scene((240, 180), 50)
    box = Box(3, np.array([150.0, 90, 180, 180]))
    (person,) = pipeline.predict_people(MODEL, image, [box], CAMERA)
    np.testing.assert_allclose(person.px, px, atol=0.7)
    true = region_of_joints(px, np.ones(7, bool), ROI)
    assert person.region is not None and true is not None and person.number == 3
    assert np.degrees(person.region.rotation) == pytest.approx(50, abs=1)
    assert person.region.size == pytest.approx(true.size, rel=0.02)
    np.testing.assert_allclose(person.region.centre, true.centre, atol=0.7)
    assert person.root_depth == pytest.approx(2000 * 480 / person.region.size)
    np.testing.assert_allclose(person.mm[:, :2], (px - CAMERA.c) / 480 * person.root_depth, atol=8)
    record = people_records([person], MODEL.bundle)[0]["region"]
    assert record["rotation_deg"] == pytest.approx(50, abs=1)


def test_regions_change_their_size_by_a_limited_factor() -> None:
    image, _ = scene((240, 180), 0)
    wide = pipeline.Region(np.array([240.0, 180.0]), 1500.0)
    (person,) = pipeline.predict_people(MODEL, image, [Box(1, np.array([0.0, 0, 9, 9]))], CAMERA, followed={1: wide})
    assert person.region == wide and person.following is not None
    assert person.following.size == 1500 / pipeline.MAX_RESIZE


@pytest.mark.parametrize(
    ("hips", "rim", "of_detector"),
    [
        ((110, 120), (110, 40), True),
        ((260, 120), (260, 40), False),
        ((110, 120), (110, 100), False),
        (None, None, False),
    ],
)
def test_circle_of_another_person_is_not_taken(hips: Any, rim: Any, of_detector: bool) -> None:
    circle = None if hips is None else (np.array(hips, float), np.array(rim, float))
    detector: Any = SimpleNamespace(circle=lambda image, bbox: circle)
    region = pipeline.find_region(detector, EMPTY, np.array([60.0, 20, 100, 180]))
    assert (region.size == 200 and region.centre[1] == 120) == of_detector
    assert of_detector or (region.size == 1.25 * 180 and tuple(region.centre) == (110, 110))


def test_label_rejects_the_circle_of_another_person(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), EMPTY)
    box, circle = Box(1, np.array([60.0, 20, 100, 180])), (np.array([260.0, 120]), np.array([260.0, 40]))
    detector: Any = SimpleNamespace(circle=lambda image, bbox: circle, detect=lambda image: [box])
    shot = photo_shot(tmp_path / "photo.png", detector, None, ())
    assert shot is not None and tuple(shot.people[0][1].centre) == (110, 110)


def test_video_is_tracked_lost_and_recovered() -> None:
    """The person wanders and turns, is gone for ten frames, and comes back."""
    detector: Any = DiscDetector()
    people, followed, numbers, errors = Tracker(detector), dict[str, Any](), list[list[int]](), list[float]()
    for index in range(60):
        image, px = scene((240 + 60 * np.sin(index / 10), 180), 70 * np.sin(index / 12))
        gone = 30 <= index < 40
        boxes = people.update(EMPTY if gone else image, index / 25)
        found = pipeline.predict_people(
            MODEL, EMPTY if gone else image, boxes, CAMERA, find=partial(pipeline.find_region, detector),
            followed=_still_followed(people, followed, MODEL),
        )  # fmt: skip
        followed = _follow(people, [MODEL], [found])
        numbers.append([person.number for person in found])
        if not gone and found:
            errors.append(float(np.linalg.norm(found[0].px - px, axis=1).max()))
    assert numbers[:30] == [[1]] * 30 and numbers[38:40] == [[], []] and numbers[40:] == [[2]] * 20
    assert max(errors) < 1.5 and detector.circles <= 2 + 7  # in the first frame of a track, and while it is lost
    assert len(detector.searched) <= 25  # of 60 frames: whole frames every 0.2 s, and while nobody is followed


def test_followed_people_are_confirmed_every_second() -> None:
    """A track that follows something else than a person ends although the network stays confident."""
    seen = iter([np.array([[100.0, 60, 100, 100]])])
    detector: Any = SimpleNamespace(detect_in=lambda image, regions: next(seen, np.empty((0, 4))))
    people, alive = Tracker(detector), 0
    region = pipeline.Region(np.array([150.0, 110.0]), 130.0)
    for index in range(60):
        boxes = people.update(EMPTY, index / 25)
        people.follow({box.number: (region, 0.9) for box in boxes if index / 25 < tracker.CONFIRM_EVERY})
        alive += bool(boxes)
    assert 25 <= alive <= 32 and not people.followed


def following(*boxes: tuple[int, int, int, int]) -> tuple[Tracker, Callable[..., list[int]]]:
    """Return a tracker of people who were detected in `boxes`, and a function that detects people in the next frame."""
    shown = np.array(boxes, float)
    people = Tracker(SimpleNamespace(detect_in=lambda image, regions: shown))  # type: ignore[arg-type]
    people.update(EMPTY, 0.0)

    def detect(*found: tuple[int, int, int, int]) -> list[int]:
        nonlocal shown
        shown = np.array(found, float)
        return [box.number for box in people.update(EMPTY, tracker.FULL_FRAME_EVERY)]

    return people, detect


def test_detector_gives_the_region_of_a_followed_person_again_whose_joints_drifted() -> None:
    """Also if the joints are in a small part of the person, so that the boxes have little in common."""
    people, detect = following((100, 40, 240, 240))
    drifted = pipeline.Region(np.array([140.0, 80.0]), 60.0)
    people.follow({1: (drifted, 0.9)})
    assert _still_followed(people, {"discs": {1: drifted}}, MODEL) == {1: drifted}
    assert detect((100, 40, 240, 240)) == [1]
    assert _still_followed(people, {"discs": {1: drifted}}, MODEL) == {}


def test_two_tracks_do_not_follow_one_person() -> None:
    """Joints that jump to a neighbour are lost, whichever track is older."""
    people, _ = following((20, 40, 200, 200), (260, 40, 200, 200))
    still = pipeline.Region(np.array([360.0, 140.0]), 265.0)
    people.follow({1: (replace(still, size=260.0), 0.9), 2: (still, 0.9)})
    assert people.followed == {2}


def test_other_models_do_not_steer_the_tracker() -> None:
    boxed: Any = SimpleNamespace(
        label="boxed", bundle=SimpleNamespace(manifest=SimpleNamespace(preprocessing=Preprocessing(size=SIZE)))
    )
    people = Tracker(SimpleNamespace(detect_in=lambda image, regions: np.array([full_region(EMPTY)[:4]])))  # type: ignore[arg-type]
    people.update(EMPTY, 0.0)
    assert _follow(people, [boxed], [[]]) == {} and not people.followed
