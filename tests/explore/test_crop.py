import time

import cv2
import numpy as np
import pytest

from arch.errors import InputError
from explore.data import crop as cropping
from explore.data.crop import AUGMENTS, Augment
from explore.data.skeleton import H36M18

BOX = np.array([40.0, 30.0, 60.0, 90.0])


def picture(width=200, height=160, seed=0):
    """Smooth noise, in which a place can be found again."""
    small = np.random.default_rng(seed).integers(0, 255, (height // 16, width // 16, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def dots(points, width=200, height=160):
    """A picture with a white spot at every point (x, y px, continuous coordinates)."""
    y, x = np.mgrid[:height, :width] + 0.5
    value = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in points)
    return np.repeat((255 * np.clip(value, 0, 1))[..., None], 3, 2).astype(np.uint8)


def centroid(image):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    weight = image[..., 0].astype(float)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def test_the_crop_is_the_square_box_with_padding():
    matrix = cropping.affine(BOX, 64)
    side = 90 * 1.25
    corners = np.array([[70 - side / 2, 75 - side / 2], [70 + side / 2, 75 + side / 2]])
    np.testing.assert_allclose(corners @ matrix[:, :2].T + matrix[:, 2], [[0, 0], [64, 64]], atol=1e-9)


@pytest.mark.parametrize("size", [32, 64, 256])
@pytest.mark.parametrize(
    "move",
    [
        {},
        {"rotation_deg": 25},
        {"flip": True},
        {"scale": 1.2, "rotation_deg": -30, "flip": True, "shift": (0.05, -0.04)},
    ],
)
def test_pixels_go_where_the_matrix_says(size, move):
    spot = (83.2, 61.7)
    image, matrix = cropping.crop(dots([spot]), BOX, size, **move)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(centroid(image), matrix[:, :2] @ spot + matrix[:, 2], atol=0.06)


def test_a_strong_reduction_averages():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2, (800, 800, 1), np.uint8).repeat(3, 2) * 255
    image, _ = cropping.crop(noise, np.array([80.0, 80, 640, 640]), 64)
    assert image.std() < 25  # sampled at points it would keep the noise's 127


def test_flip_swaps_sides_and_mirrors():
    joints = np.random.default_rng(0).uniform(50, 90, (18, 3))
    vis = np.ones(18)
    vis[H36M18.index("L_Wrist")] = 0
    plain, _ = cropping.training_target(joints, vis, cropping.affine(BOX, 64), 64)
    mirrored, mask = cropping.training_target(joints, vis, cropping.affine(BOX, 64, flip=True), 64, H36M18.flip_order)
    for right, left in ((1, 4), (14, 11)):
        np.testing.assert_allclose(mirrored[right, 0], 1 - plain[left, 0], atol=1e-6)
        np.testing.assert_allclose(mirrored[right, 1:], plain[left, 1:], atol=1e-6)
    assert mask[H36M18.index("R_Wrist")] == 0 and mask[H36M18.index("L_Wrist")] == 1


def test_joints_outside_crop_or_depth_range_are_masked():
    joints = np.array([[70, 75, 0], [70, 75, 1001], [300, 75, 0], [70, 75, -999]], float)
    _, mask = cropping.training_target(joints, np.ones(4), cropping.affine(BOX, 64), 64)
    assert mask.tolist() == [1, 0, 0, 1]


def test_normalised_coordinates_come_back_to_camera_millimetres():
    rng = np.random.default_rng(0)
    count, f, c = 6, np.array([1145.0, 1143.0]), np.array([512.5, 515.4])
    camera = rng.normal(0, 400, (count, 18, 3)) + np.array([0, 0, 5000])
    pixels = camera[..., :2] / camera[..., 2:] * f + c
    depth = camera[..., 2:] - camera[:, :1, 2:]
    matrices, coords = [], []
    for person in range(count):
        matrix = cropping.affine(BOX * 3, 64, scale=1.1, rotation_deg=20 * person, flip=person % 2 == 1)
        joints = np.concatenate([pixels[person], depth[person]], 1)
        coords.append(cropping.training_target(joints, np.ones(18), matrix, 64)[0])
        matrices.append(matrix)
    back = cropping.to_camera(
        np.stack(coords), np.stack(matrices), 64, np.tile(f, (count, 1)), np.tile(c, (count, 1)), camera[:, 0, 2]
    )
    np.testing.assert_allclose(back, camera, atol=0.01)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((10, 10, 0, 20), "no area"),
        ((10, 10, 20, -5), "no area"),
        ((300, 10, 20, 20), "outside the picture of 200 x 160"),
        ((-50, 10, 50, 20), "outside"),
        ((10, float("nan"), 20, 20), "finite"),
        ((1, 2, 3), "four"),
    ],
)
def test_impossible_boxes_say_why(box, said):
    with pytest.raises(ValueError, match=said):
        cropping.clip_box(box, 200, 160)


def test_a_box_over_the_edge_is_cut():
    assert cropping.clip_box((-10, 150, 50, 50), 200, 160).tolist() == [0, 150, 40, 10]


def test_augmentation_none_is_the_plain_crop():
    image = picture()
    joints, vis = np.random.default_rng(1).uniform(40, 90, (18, 3)), np.ones(18)
    got, target, _ = cropping.training_crop(
        image, BOX, joints, vis, 64, AUGMENTS["none"], np.random.default_rng(0), H36M18.flip_order
    )
    want, matrix = cropping.crop(image, BOX, 64)
    assert (got == want).all()
    assert (target == cropping.training_target(joints, vis, matrix, 64)[0]).all()


@pytest.mark.parametrize("name", AUGMENTS)
def test_augmentation_depends_on_the_generator_alone(name):
    arguments = (picture(), BOX, np.full((18, 3), 60.0), np.ones(18), 64, AUGMENTS[name])
    np.random.seed(0)
    first = cropping.training_crop(*arguments, np.random.default_rng(5), H36M18.flip_order)
    np.random.seed(1)
    second = cropping.training_crop(*arguments, np.random.default_rng(5), H36M18.flip_order)
    for a, b in zip(first, second, strict=True):
        assert (a == b).all()


def test_the_papers_augmentation_keeps_its_ranges():
    rng = np.random.default_rng(0)
    corner = np.array([[70.0, 75, 0], [80.0, 75, 0]])
    angles, scales, flips = [], [], 0
    augment = Augment(**{**AUGMENTS["paper"].__dict__, "occlusion_p": 0.0})
    for _ in range(400):
        _, target, _ = cropping.training_crop(picture(), BOX, corner, np.ones(2), 32, augment, rng, np.arange(2))
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
        got, _, _ = cropping.training_crop(
            image, np.array([70.0, 50, 60, 60]), np.full((18, 3), 90.0), np.ones(18), 64, augment,
            np.random.default_rng(seed), H36M18.flip_order,
        )  # fmt: skip
        changed = (got != 7).any(2)
        share.append(changed.mean() / 0.64)
        assert not changed[:6].any() and not changed[:, :6].any() and not changed[58:].any()
    assert 0.15 < np.mean(share) < 0.5 and max(share) < 0.72


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    whole = tmp_path / "whole.jpg"
    cv2.imwrite(str(whole), picture())
    assert cropping.read_image(whole).shape == (160, 200, 3)
    data = whole.read_bytes()
    for name, content, said in (
        ("half.jpg", data[: len(data) // 2], "cut off"),
        ("header.jpg", data[:10], "cut off"),
        ("empty.jpg", b"", "cut off"),
        ("text.jpg", b"hello, this is no picture", "not a picture"),
        ("damaged.jpg", data[:2] + b"\xff\xda" + bytes(40) + b"\xff\xd9", "not a picture"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=said) as caught:
            cropping.read_image(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"missing\.jpg"):
        cropping.read_image(tmp_path / "missing.jpg")


def test_colours_are_rgb(tmp_path):
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((4, 4, 3), (0, 0, 255), np.uint8))  # OpenCV writes BGR
    assert cropping.read_image(path)[0, 0].tolist() == [255, 0, 0]


def test_decode_and_crop_take_well_under_a_millisecond(tmp_path):
    path = tmp_path / "frame.jpg"
    cv2.imwrite(str(path), picture(160, 160))
    rng, times = np.random.default_rng(0), []
    for _ in range(100):
        start = time.process_time()
        cropping.training_crop(
            cropping.read_image(path),
            BOX,
            np.full((18, 3), 60.0),
            np.ones(18),
            64,
            AUGMENTS["light"],
            rng,
            H36M18.flip_order,
        )
        times.append(time.process_time() - start)
    assert np.median(times) < 0.002  # 0.4 ms where it was written; room for slower machines
