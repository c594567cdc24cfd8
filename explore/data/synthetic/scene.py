"""Surroundings of the person: backgrounds, floor shadows, occluders, and camera noise."""

from __future__ import annotations

import cv2
import numpy as np

from explore.data.synthetic import panorama
from explore.data.synthetic.clothes import SKIN_TONES, hsv

Rng = np.random.Generator
CROWDED_P = 0.6  # probability of many bars, grids and shapes in a cluttered background


def fractal_noise(rng: Rng, size: int, octaves: int = 5, base: int = 2) -> np.ndarray:
    """Return fractal noise (size, size) float32 of about unit variance."""
    noise: np.ndarray = np.zeros((size, size), np.float32)
    amplitude = 1.0
    for octave in range(octaves):
        cells = base * 2**octave
        if cells > size:
            break
        grid = rng.standard_normal((cells + 2, cells + 2), np.float32) * amplitude
        noise += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        amplitude *= 0.55
    return noise


def background(rng: Rng, size: int, easy: bool) -> np.ndarray:
    """Return a background (size, size, 3), float32 RGB 0 to 255. Easy: a gradient, noise, or a wall and a floor."""
    kind = rng.integers(3 if easy else 5)
    first, second = hsv(rng, (0, 0.35)), hsv(rng, (0, 0.4))
    if kind == 0:
        mix = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
        image: np.ndarray = np.broadcast_to(first * (1 - mix) + second * mix, (size, size, 3)).copy()
    elif kind == 1:
        cloud = np.clip(fractal_noise(rng, size) * 0.35 + 0.5, 0, 1)[..., None]
        image = first * (1 - cloud) + second * cloud
    else:
        image = _room(rng, size, first, second, shapes=0 if easy else int(rng.integers(0, 9)))
    if rng.random() < 0.5:
        image += fractal_noise(rng, size, 7, 4)[..., None] * rng.uniform(2, 14)
    if rng.random() < 0.4:
        cell = max(int(rng.integers(6, 24) * size / 256), 2)
        tiles = np.arange(size) // cell
        chequer = (np.add.outer(tiles, tiles) % 2) * rng.uniform(-25, 25)
        top = size // 2 if rng.random() < 0.5 else 0
        image[top:] += chequer[top:, :, None].astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 2.2) * max(size / 256, 0.5))
    return np.clip(image, 0, 255)


def _room(rng: Rng, size: int, wall: np.ndarray, floor: np.ndarray, shapes: int) -> np.ndarray:
    horizon = int(size * rng.uniform(0.35, 0.75))
    image = np.empty((size, size, 3), np.float32)
    image[:horizon], image[horizon:] = wall, floor
    image += fractal_noise(rng, size)[..., None] * rng.uniform(3, 22)
    # the floor darkens towards the wall, the wall towards one side
    ramp = np.linspace(0.8, 1.08, size - horizon, dtype=np.float32)
    image[horizon:] *= ramp[:, None, None]
    for _ in range(shapes):
        _draw_shape(rng, image, size // 16, size // 2, saturation=(0, 0.6))
    slope = np.linspace(-1, 1, size, dtype=np.float32)[None, :, None]
    return image * (1 + 0.25 * slope * float(rng.normal()))


def _draw_shape(
    rng: Rng, image: np.ndarray, smallest: int, largest: int, saturation: tuple[float, float], textured_p: float = 0.0
) -> None:
    """Draw a shaded rectangle or ellipse onto the image, in place. textured_p: probability of a photo on it."""
    size = len(image)
    x, y = (int(value) for value in rng.integers(-size // 6, size, 2))
    w, h = (int(value) for value in rng.integers(smallest, largest, 2))
    colour = hsv(rng, saturation)
    shape = np.zeros((size, size), np.float32)
    if rng.random() < 0.6:
        cv2.rectangle(shape, (x, y), (x + w, y + h), 1.0, -1 if rng.random() < 0.8 else max(size // 90, 1))
    else:
        cv2.ellipse(shape, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
    light = np.linspace(1 - 0.3 * rng.random(), 1.1, size, dtype=np.float32)[:, None, None]
    if textured_p and rng.random() < textured_p:
        colour = panorama.texture(rng, size, size).astype(np.float32)
    image += shape[..., None] * (colour * light - image)


def clutter(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Draw sharp shapes onto a background, such as posters and boxes, often also bars and grids, and fine noise.

    Without them, sharp edges would tell people from the views of the panoramas, which have few pixels.
    """
    size = len(image)
    for _ in range(rng.integers(0, 5)):
        _draw_shape(rng, image, size // 16, size // 2, saturation=(0, 0.7), textured_p=0.6)
    if rng.random() < CROWDED_P:
        for _ in range(rng.integers(3, 14)):
            draw = rng.random()
            if draw < 0.3:
                _draw_shape(rng, image, size // 24, size // 3, saturation=(0, 0.7), textured_p=0.8)
            elif draw < 0.75:
                _draw_bar(rng, image)
            else:
                _draw_grid(rng, image)
    if rng.random() < 0.5:
        image += fractal_noise(rng, size, 7, 8)[..., None] * rng.uniform(1, 10)
    return np.clip(image, 0, 255)


def _draw_bar(rng: Rng, image: np.ndarray) -> None:
    """Draw a straight or bent bar with round ends, such as a pole, a cable or a limb, onto the image, in place."""
    size = len(image)
    colour = SKIN_TONES[rng.integers(len(SKIN_TONES))] if rng.random() < 0.3 else hsv(rng, (0, 0.6))
    points = rng.uniform(-0.1, 1.1, 2) * size + np.cumsum(rng.normal(0, 0.22 * size, (rng.integers(2, 4), 2)), 0)
    thickness = max(round(size * 2.0 ** rng.uniform(-7.5, -3.8)), 1)
    cv2.polylines(image, [np.rint(points).astype(np.int32)], False, colour.tolist(), thickness, cv2.LINE_AA)


def _draw_grid(rng: Rng, image: np.ndarray) -> None:
    """Draw parallel lines, such as blinds, shelves, fences or tiles, onto a part of the image, in place."""
    size = len(image)
    lines = np.zeros((size, size), np.float32)
    spacing, thickness = size * rng.uniform(0.02, 0.12), int(rng.integers(1, max(size // 64, 2) + 1))
    for angle in rng.uniform(0, np.pi) + np.array([0, np.pi / 2])[: rng.integers(1, 3)]:
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        for step in range(-int(size / spacing), int(size / spacing) + 1):
            middle = size / 2 + step * spacing * across
            start, end = (np.rint(middle + sign * size * along).astype(int).tolist() for sign in (-1, 1))
            cv2.line(lines, start, end, 1.0, thickness, cv2.LINE_AA)
    x, y = rng.integers(-size // 4, size * 3 // 4, 2)
    w, h = rng.integers(size // 8, size * 2 // 3, 2)
    part = slice(max(y, 0), y + h), slice(max(x, 0), x + w)
    alpha = lines[part][..., None] * np.float32(rng.uniform(0.4, 1))
    image[part] += alpha * (hsv(rng, (0, 0.5)) - image[part])


def occluders(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Draw one or two shapes in front of the person."""
    size = len(image)
    for _ in range(rng.integers(1, 3)):
        _draw_shape(rng, image, size // 12, size // 3, saturation=(0, 1), textured_p=0.5)
    return image


def floor_shadow(points: np.ndarray, size: int, strength: float) -> np.ndarray:
    """Return the shadow's darkness (size, size, 1) from the points (N, 2) px of the body projected onto the floor."""
    scale = 2 if size <= 160 else 4
    small = max(size // scale, 16)
    cells = np.floor(points * (small / size)).astype(np.int32)
    inside = ((cells >= 0) & (cells < small)).all(1)
    mask: np.ndarray = np.zeros((small, small), np.float32)
    mask[cells[inside, 1], cells[inside, 0]] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), small / 45)
    mask = np.minimum(mask * 1.4, 1) * strength
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR)[..., None]


def apply_camera(rng: Rng, image: np.ndarray, easy: bool) -> np.ndarray:
    """Apply blur, exposure and noise of a camera; return uint8."""
    size = len(image)
    if not easy and rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3) * size / 256)
    image = (image - 127) * rng.uniform(0.75, 1.2) + 127 + rng.uniform(-20, 20)
    image = image + rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 7))
    return np.clip(image, 0, 255).astype(np.uint8)
