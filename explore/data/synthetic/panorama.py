"""Surroundings from high dynamic range panoramas: views of them as backgrounds, and their light.

The asset panoramas.npz was baked by bake_panoramas.py from panoramas of Poly Haven (CC0). A panorama's axes are those
of a level camera: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

ASSET = Path(__file__).with_name("panoramas.npz")
HEADROOM = 8.0  # largest stored radiance, in medians of the panorama; brighter points are white in every exposure
FIELD_OF_VIEW = (50.0, 140.0)  # degrees: wider than that of the rendered people, since the panoramas have few pixels

Rng = np.random.Generator


@dataclass(frozen=True)
class Panorama:
    """One panorama. Its unit of radiance is the median of its pixels.

    image:   (H, W + 1, 3) uint8, 255 * sqrt(radiance / HEADROOM); the first column is repeated at the end
    ambient: (9, 3) harmonics of irradiance / pi without the lamp, as `harmonics`
    lamp:    (3,) irradiance / pi of the strongest lamp on a surface that faces it; toward: unit vector to it
    """

    image: np.ndarray
    ambient: np.ndarray
    lamp: np.ndarray
    toward: np.ndarray


@lru_cache(maxsize=1)
def load_panoramas() -> tuple[Panorama, ...]:
    """Load the panoramas of the package."""
    with np.load(ASSET) as asset:
        columns = asset["ambient"], asset["lamp"], asset["toward"]
        images = [_decode(data) for data in np.split(asset["images"], asset["ends"][:-1])]
    return tuple(Panorama(*row) for row in zip(images, *columns, strict=True))


def _decode(data: np.ndarray) -> np.ndarray:
    image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))
    return np.concatenate([image, image[:, :1]], 1)


def directions(width: int, height: int) -> np.ndarray:
    """Return the unit direction (height, width, 3) of each pixel of a panorama."""
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    latitude = ((np.arange(height) + 0.5) / height - 0.5) * np.pi
    lat, lon = np.meshgrid(latitude, longitude, indexing="ij")
    return np.stack([np.cos(lat) * np.sin(lon), np.sin(lat), np.cos(lat) * np.cos(lon)], -1)


def harmonics(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return polynomials (N, 9) of unit vectors (N, 3), and the factors (9,) of their convolution with a cosine lobe.

    The polynomials are proportional to the spherical harmonics up to order 2. With weights = factors * (integral of
    radiance * polynomials), polynomials @ weights is the irradiance (Ramamoorthi and Hanrahan 2001, Equations 8 to 10).
    """
    x, y, z = normal.T
    basis = np.stack([np.ones_like(x), x, y, z, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], 1)
    norm = np.array([0.282095, *[0.488603] * 3, *[1.092548] * 2, 0.315392, 1.092548, 0.546274])
    lobe = np.array([np.pi, *[2 * np.pi / 3] * 3, *[np.pi / 4] * 5])
    return basis, norm * norm * lobe


def orientation(up: np.ndarray, yaw: float) -> np.ndarray:
    """Return the rotation (3, 3) from camera axes to a panorama's. up: the vertical in camera axes; yaw: radians."""
    down = -up / np.linalg.norm(up)
    forward = np.array([0.0, 0.0, 1.0]) - down * down[2]
    forward /= np.linalg.norm(forward)
    level = np.stack([np.cross(down, forward), down, forward])
    cos, sin = np.cos(yaw), np.sin(yaw)
    turned: np.ndarray = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]) @ level
    return turned


def radiance(panorama: Panorama, rotation: np.ndarray, degrees: float, size: int) -> np.ndarray:
    """Return the radiance (size, size, 3) float32 that a camera with this field of view sees.

    rotation: from camera axes to the panorama's
    """
    half = np.tan(np.deg2rad(degrees) / 2)
    steps = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * np.float32(half)
    u, v = np.meshgrid(steps, steps)
    x, y, z = (u * row[0] + v * row[1] + row[2] for row in rotation.astype(np.float32))
    height, width = panorama.image.shape[0], panorama.image.shape[1] - 1
    column = np.mod(np.arctan2(x, z) / np.float32(2 * np.pi) + np.float32(0.5), 1) * width - np.float32(0.5)
    row = (np.arctan2(y, np.hypot(x, z)) / np.float32(np.pi) + np.float32(0.5)) * height - np.float32(0.5)
    seen = cv2.remap(panorama.image, np.mod(column, width), row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.square(seen.astype(np.float32)) * np.float32(HEADROOM / 255**2)


def exposed(linear: np.ndarray) -> np.ndarray:
    """Return display values 0 to 255 of linear ones, of which 1 is bright: a shoulder for highlights, then gamma 2."""
    return 255 * np.sqrt(np.minimum(linear / (1 + np.float32(0.35) * linear), 1))


@dataclass(frozen=True)
class Surroundings:
    """A view of a panorama, and its light on the person.

    background: (size, size, 3) float32 RGB, 0 to 255
    rotation:   (3, 3) from camera axes to the panorama's; ambient, lamp: as in Panorama, but exposed
    toward:     unit vector to the lamp in camera axes
    """

    background: np.ndarray
    rotation: np.ndarray
    ambient: np.ndarray
    lamp: np.ndarray
    toward: np.ndarray

    def sky(self, normals: np.ndarray) -> np.ndarray:
        """Return the light (N, 3) that surfaces with these normals (N, 3), in camera axes, receive without the lamp."""
        light = harmonics(normals @ self.rotation.T.astype(np.float32))[0] @ self.ambient
        return np.maximum(light, MIN_LIGHT * self.ambient[0]).astype(np.float32)


MIN_LIGHT = 0.15  # of the mean light: a bound on the ringing of harmonics
MAX_LAMP = 3.0  # of the mean light of all directions
PERSON_EXPOSURE = (0.3, 1.5)  # of the mean light on the person


def surroundings(rng: Rng, up: np.ndarray, size: int) -> Surroundings:
    """Return a random view of a random panorama. up: the vertical in camera axes."""
    panorama = load_panoramas()[rng.integers(len(load_panoramas()))]
    rotation = orientation(up, rng.uniform(0, 2 * np.pi))
    seen = radiance(panorama, rotation, rng.uniform(*FIELD_OF_VIEW), size)
    exposure = rng.uniform(0.25, 0.8) / max(float(np.median(seen)), 0.02)
    mean = float(panorama.ambient[0].mean())
    lamp = 0.5 * (panorama.lamp + panorama.lamp.mean())  # pale, because the brightest colours are unreliable
    lamp = lamp * min(1.0, MAX_LAMP * mean / float(lamp.mean()))
    light = mean + float(lamp.mean()) / 4
    person = float(np.clip(exposure * light, *PERSON_EXPOSURE)) / light
    toward = rotation.T @ panorama.toward
    return Surroundings(
        exposed(seen * exposure), rotation, panorama.ambient * person, lamp * person, toward.astype(np.float32)
    )


def background(rng: Rng, size: int) -> np.ndarray:
    """Return a random view (size, size, 3), float32 RGB 0 to 255, from a camera that is not quite level."""
    pitch, roll = np.deg2rad(rng.normal(3, 12)), np.deg2rad(rng.normal(0, 4))
    up = np.array([np.sin(roll), -np.cos(roll) * np.cos(pitch), -np.sin(pitch)])
    return surroundings(rng, up, size).background


def texture(rng: Rng, height: int, width: int) -> np.ndarray:
    """Return a random part (height, width, 3), uint8 RGB, of a random panorama, as a print or a surface."""
    image = load_panoramas()[rng.integers(len(load_panoramas()))].image
    side = int(rng.integers(40, 200))
    y, x = int(rng.integers(40, 216 - side // 2)), int(rng.integers(0, 512 - side))
    part = image[y : y + side // 2, x : x + side].astype(np.float32) * rng.uniform(1.2, 2.2)
    return cv2.resize(part.clip(0, 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
