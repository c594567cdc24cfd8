import numpy as np
import pytest

from explore.data import crop as cropping
from explore.data.skeleton import H36M18

BOX = np.array([40.0, 30.0, 60.0, 90.0])


def dots(points, width=200, height=160):
    """Return an image with a white spot at each point (x, y px, continuous coordinates)."""
    y, x = np.mgrid[:height, :width] + 0.5
    value = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in points)
    return np.repeat((255 * np.clip(value, 0, 1))[..., None], 3, 2).astype(np.uint8)


def centroid(image):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    weight = image[..., 0].astype(float)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def test_crop_is_the_square_box_with_padding():
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
def test_pixels_follow_the_matrix(size, move):
    spot = (83.2, 61.7)
    image, matrix = cropping.crop(dots([spot]), BOX, size, **move)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(centroid(image), matrix[:, :2] @ spot + matrix[:, 2], atol=0.06)


def test_strong_reduction_averages():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2, (800, 800, 1), np.uint8).repeat(3, 2) * 255
    image, _ = cropping.crop(noise, np.array([80.0, 80, 640, 640]), 64)
    assert image.std() < 25  # sampled at points it would keep the noise's 127


def test_flip_swaps_sides_and_mirrors_coordinates():
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


def test_to_camera_inverts_the_normalisation():
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
    ("box", "message"),
    [
        ((10, 10, 0, 20), "no area"),
        ((10, 10, 20, -5), "no area"),
        ((300, 10, 20, 20), "outside the image of 200 x 160"),
        ((-50, 10, 50, 20), "outside"),
        ((10, float("nan"), 20, 20), "finite"),
        ((1, 2, 3), "four"),
    ],
)
def test_invalid_boxes_have_a_reason(box, message):
    with pytest.raises(ValueError, match=message):
        cropping.clip_box(box, 200, 160)


def test_box_is_clipped_at_the_image_border():
    assert cropping.clip_box((-10, 150, 50, 50), 200, 160).tolist() == [0, 150, 40, 10]
