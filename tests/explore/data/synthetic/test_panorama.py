"""Panoramas as surroundings: geometry of views, and light."""

from __future__ import annotations

import cv2
import numpy as np

from explore.data.synthetic import bake_panoramas, panorama, scene
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.frame import compose_frame


def test_uniform_radiance_lights_every_surface_equally():
    width, height = 64, 32
    d = panorama.directions(width, height).reshape(-1, 3)
    solid = np.sqrt(1 - d[:, 1] ** 2) * (2 * np.pi / width) * (np.pi / height)
    basis, factors = panorama.harmonics(d)
    weights = factors * (basis.T @ solid)
    normals = np.random.default_rng(0).standard_normal((50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.testing.assert_allclose(panorama.harmonics(normals)[0] @ weights, np.pi, rtol=0.01)


def test_a_lamp_lights_the_surfaces_that_face_it():
    toward = np.array([[0.0, -0.6, 0.8]])
    basis, factors = panorama.harmonics(toward)
    weights = factors * basis[0]  # of a point of unit irradiance
    facing, sideways, behind = (
        panorama.harmonics(np.array([n]))[0] @ weights for n in (toward[0], [1, 0, 0], -toward[0])
    )
    assert facing > 3 * abs(sideways) and facing > 10 * abs(behind)


def test_a_camera_that_looks_at_a_point_of_the_panorama_sees_it():
    found = panorama.load_panoramas()[2]
    height, width = found.image.shape[0], found.image.shape[1] - 1
    for row, column in ((100, 40), (140, 300), (90, 500)):
        target = panorama.directions(width, height)[row, column]
        pitch = np.arcsin(-target[1])
        up = np.array([0.0, -np.cos(pitch), np.sin(pitch)])
        rotation = panorama.orientation(up, np.arctan2(target[0], target[2]))
        np.testing.assert_allclose(rotation @ [0, 0, 1], target, atol=1e-6)
        np.testing.assert_allclose(rotation @ up, [0, -1, 0], atol=1e-6)
        seen = panorama.radiance(found, rotation, 20.0, 65)[32, 32]
        np.testing.assert_allclose(np.sqrt(seen / panorama.HEADROOM) * 255, found.image[row, column], atol=1.5)


def test_surroundings_share_the_vertical_of_the_person():
    frame = compose_frame(SyntheticConfig(level="full", size=64), "train", 4)
    up = frame.figure.view.rotation @ np.array([0.0, 0.0, 1.0])
    around = panorama.surroundings(np.random.default_rng(1), up, 64)
    assert around.background.shape == (64, 64, 3) and 0 <= around.background.min() < around.background.max() <= 255
    np.testing.assert_allclose(around.rotation @ up, [0, -1, 0], atol=1e-6)
    light = around.sky(np.eye(3, dtype=np.float32))
    assert light.shape == (3, 3) and (light > 0).all()


def test_a_sun_that_overflowed_in_red_and_green_has_the_colour_of_the_pixels_around():
    radiance = np.full((32, 64, 3), 0.5, np.float32)
    radiance[8:15, 20:27] = [20.0, 16.0, 10.0]
    radiance[10:13, 22:25] = [0.0, 0.0, 3000.0]
    radiance[20:24, 40:44, :2] = 0.0  # a blue wall is none
    found = bake_panoramas._with_sun(radiance.copy())
    np.testing.assert_allclose(found[10:13, 22:25], np.broadcast_to([6000.0, 4800.0, 3000.0], (3, 3, 3)))
    changed = (found != radiance).any(-1)
    assert changed.sum() == 9 and changed[10:13, 22:25].all()


def test_no_sun_of_the_panoramas_is_blue():
    for found in panorama.load_panoramas():
        assert found.lamp[2] < 4 * found.lamp[:2].min()
        dark_blue = (found.image[..., 2] > 200) & (found.image[..., :2] < 60).all(-1)
        assert dark_blue.mean() < 1e-4


def test_clutter_adds_sharp_edges_to_views_of_panoramas():
    """The views have few pixels: sharp edges must not be those of people only."""
    rng = np.random.default_rng(0)
    sharpness = {True: [], False: []}
    for _ in range(40):
        view = panorama.background(rng, 128)
        for cluttered, image in ((False, view), (True, scene.clutter(rng, view.copy()))):
            assert image.shape == (128, 128, 3) and image.min() >= 0 and image.max() <= 255
            edges = cv2.Laplacian(image.mean(-1), cv2.CV_32F)
            sharpness[cluttered].append(float(np.mean(np.abs(edges) > 60)))
    assert np.mean(sharpness[True]) > 1.5 * np.mean(sharpness[False])
