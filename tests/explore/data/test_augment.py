import time

import cv2
import numpy as np
import pytest

from explore.data.augment import AUGMENTS, Augment, training_crop
from explore.data.crop import crop, training_target
from explore.data.images import read_image
from explore.data.skeleton import H36M18

BOX = np.array([40.0, 30.0, 60.0, 90.0])


def picture(width=200, height=160, seed=0):
    """Return smooth noise."""
    small = np.random.default_rng(seed).integers(0, 255, (height // 16, width // 16, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def test_augmentation_none_is_the_unaugmented_crop():
    image = picture()
    joints, vis = np.random.default_rng(1).uniform(40, 90, (18, 3)), np.ones(18)
    got, target, _ = training_crop(
        image, BOX, joints, vis, 64, AUGMENTS["none"], np.random.default_rng(0), H36M18.flip_order
    )
    want, matrix = crop(image, BOX, 64)
    assert (got == want).all()
    assert (target == training_target(joints, vis, matrix, 64)[0]).all()


@pytest.mark.parametrize("name", AUGMENTS)
def test_augmentation_depends_only_on_the_generator(name):
    arguments = (picture(), BOX, np.full((18, 3), 60.0), np.ones(18), 64, AUGMENTS[name])
    np.random.seed(0)
    first = training_crop(*arguments, np.random.default_rng(5), H36M18.flip_order)
    np.random.seed(1)
    second = training_crop(*arguments, np.random.default_rng(5), H36M18.flip_order)
    for a, b in zip(first, second, strict=True):
        assert (a == b).all()


def test_ranges_of_the_papers_augmentation():
    rng = np.random.default_rng(0)
    corner = np.array([[70.0, 75, 0], [80.0, 75, 0]])
    angles, scales, flips = [], [], 0
    augment = Augment(**{**AUGMENTS["paper"].__dict__, "occlusion_p": 0.0})
    for _ in range(400):
        _, target, _ = training_crop(picture(), BOX, corner, np.ones(2), 32, augment, rng, np.arange(2))
        arrow = (target[1] - target[0])[:2]
        flips += arrow[0] < 0
        scales.append(10 / (np.hypot(*arrow) * 90 * 1.25))
        angles.append(np.degrees(np.arctan2(arrow[1], abs(arrow[0]))))
    assert 0.749 < min(scales) < 0.76 and 1.24 < max(scales) < 1.251
    assert max(np.abs(angles)) < 60.1 and 0.25 < np.mean(np.abs(angles) < 1e-3) < 0.5
    assert 0.4 < flips / 400 < 0.6


def test_occlusion_stays_within_the_box():
    image = np.full((160, 200, 3), 7, np.uint8)
    augment = Augment(occlusion_p=1.0)
    share = []
    for seed in range(60):
        got, _, _ = training_crop(
            image, np.array([70.0, 50, 60, 60]), np.full((18, 3), 90.0), np.ones(18), 64, augment,
            np.random.default_rng(seed), H36M18.flip_order,
        )  # fmt: skip
        changed = (got != 7).any(2)
        share.append(changed.mean() / 0.64)
        assert not changed[:6].any() and not changed[:, :6].any() and not changed[58:].any()
    assert 0.15 < np.mean(share) < 0.5 and max(share) < 0.72


def test_crop_takes_little_longer_than_decoding(tmp_path):
    path = tmp_path / "frame.jpg"
    cv2.imwrite(str(path), picture(160, 160))
    rng = np.random.default_rng(0)
    arguments = (BOX, np.full((18, 3), 60.0), np.ones(18), 64, AUGMENTS["light"], rng, H36M18.flip_order)
    decoding, total = [], []
    for _ in range(100):
        start = time.process_time()
        image = read_image(path)
        decoding.append(time.process_time() - start)
        training_crop(image, *arguments)
        total.append(time.process_time() - start)
    assert np.median(total) < 10 * np.median(decoding)  # about 2 when written
