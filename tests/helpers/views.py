"""Cameras around a scene, for the tests of calibrations and of triangulation."""

from __future__ import annotations

import cv2
import numpy as np

from explore.data.label.calibration import CalibratedCamera
from explore.data.label.triangulation import Observation


def ring_of_cameras(
    count: int, distance: float = 3500.0, size: tuple[int, int] = (720, 1280)
) -> list[CalibratedCamera]:
    """Return cameras cam0, cam1, ... on a circle, which look at (0, 0, 1000) mm; z is up."""
    cameras = []
    for index in range(count):
        angle = 2 * np.pi * index / count + 0.3
        position = np.array([distance * np.cos(angle), distance * np.sin(angle), 1400.0 + 100 * index])
        forward = np.array([0.0, 0.0, 1000.0]) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        width, height = size
        matrix = np.array([[1100.0 + 10 * index, 0, width / 2 + 3], [0, 1105.0, height / 2 - 4], [0, 0, 1]])
        distortion = np.array([-0.05, 0.02, 0.001, -0.0005])
        cameras.append(CalibratedCamera(f"cam{index}", size, matrix, distortion, rotation, -rotation @ position, 1.0))
    return cameras


def project(camera: CalibratedCamera, world: np.ndarray) -> np.ndarray:
    """Return the pixels (N, 2) of world points (N, 3), with lens distortion."""
    rvec = cv2.Rodrigues(camera.rotation)[0]
    return cv2.projectPoints(world, rvec, camera.translation, camera.matrix, camera.distortion)[0][:, 0]


def a_person(rng: np.random.Generator, x: float = 0.0, y: float = 0.0, joints: int = 12) -> np.ndarray:
    """Return random joints (K, 3) mm of a person who stands at (x, y)."""
    return rng.uniform([-300, -300, 0], [300, 300, 1700], (joints, 3)) + np.array([x, y, 0])


def observe(
    cameras: list[CalibratedCamera], world: np.ndarray, rng: np.random.Generator, noise_px: float = 0.0
) -> list[Observation]:
    """Return what every camera sees of a person."""
    found = []
    for view, camera in enumerate(cameras):
        px = project(camera, world)
        size = float(np.ptp(px, axis=0).max())
        px = px + rng.normal(0, noise_px, px.shape) if noise_px else px
        found.append(Observation(view, px, np.ones(len(px)), size))
    return found
