"""A z-buffer in numpy, and the light that falls on what it finds."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from explore.data.synthetic import clothes, scene
from explore.data.synthetic.body import Body, skin
from explore.data.synthetic.clothes import Outfit

Rng = np.random.Generator


@dataclass(frozen=True)
class View:
    """A person before a camera: x_cam = rotation @ x_model + shift, m; f (2,) and c (2,) px."""

    rotation: np.ndarray
    shift: np.ndarray
    f: np.ndarray
    c: np.ndarray

    def place(self, points: np.ndarray) -> np.ndarray:
        """Model coordinates (N, 3) to camera coordinates, float32, m."""
        return points @ self.rotation.T.astype(np.float32) + self.shift.astype(np.float32)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Camera coordinates (N, 3) to px (N, 2)."""
        return points[:, :2] / points[:, 2:] * self.f.astype(np.float32) + self.c.astype(np.float32)


@dataclass(frozen=True)
class Fragments:
    """Visible surface. pixel: (M,) flat index; triangle: (M,) row of the faces; weight: (M, 3) of its corners."""

    pixel: np.ndarray
    triangle: np.ndarray
    weight: np.ndarray


def rasterise(uv: np.ndarray, depth: np.ndarray, faces: np.ndarray, size: int) -> Fragments:
    """Which triangle each pixel centre of a size x size picture sees.

    uv: (V, 2) px, depth: (V,) any unit; faces (F, 3), only those that face the camera. Triangles are painted
    from far to near by their mean depth: on a fine mesh that equals a z-buffer, and needs no scattered minimum.
    """
    corner = uv[faces]
    low = np.maximum(np.ceil(corner.min(1) - 0.5), 0).astype(np.int32)
    high = np.minimum(np.floor(corner.max(1) - 0.5), size - 1).astype(np.int32)
    extent = np.maximum(high - low + 1, 0)
    count = extent[:, 0] * extent[:, 1]
    seen = np.nonzero(count)[0]
    seen = seen[np.argsort(-depth[faces[seen]].sum(1), kind="stable")]

    # every pixel of every triangle's bounding box, far triangles first
    count = count[seen]
    owner = np.repeat(np.arange(len(seen), dtype=np.int32), count)
    within = np.arange(len(owner), dtype=np.int32) - np.repeat(np.cumsum(count, dtype=np.int32) - count, count)
    width = extent[seen, 0][owner]
    row = within // width
    x = low[seen, 0][owner] + within - row * width
    y = low[seen, 1][owner] + row

    a = corner[seen, 0]
    e1, e2 = corner[seen, 1] - a, corner[seen, 2] - a
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    inverse = 1 / np.where(np.abs(area) < 1e-12, np.float32(1e-12), area)
    edges = np.concatenate([a, e1 * inverse[:, None], e2 * inverse[:, None]], 1)[owner]
    dx, dy = x + np.float32(0.5) - edges[:, 0], y + np.float32(0.5) - edges[:, 1]
    w1 = dx * edges[:, 5] - dy * edges[:, 4]
    w2 = dy * edges[:, 2] - dx * edges[:, 3]
    hit = np.nonzero((w1 >= 0) & (w2 >= 0) & (w1 + w2 <= 1))[0]

    last = np.full(size * size, -1, np.int32)
    last[y[hit] * size + x[hit]] = hit  # the nearest, painted last, stays
    pixel = np.nonzero(last >= 0)[0]
    winner = last[pixel]
    w1, w2 = w1[winner], w2[winner]
    return Fragments(pixel, seen[owner[winner]], np.stack([1 - w1 - w2, w1, w2], 1))


@dataclass(frozen=True)
class Light:
    """toward: unit vector to the lamp in camera axes; the rest are shares and colours of what it gives."""

    toward: np.ndarray
    ambient: float
    tint: np.ndarray
    gloss: float
    shadow: float


def sample_light(rng: Rng) -> Light:
    toward = rng.standard_normal(3)
    toward[1] = -abs(toward[1]) - 0.4
    toward[2] = -0.8 * abs(toward[2]) - 0.2
    return Light(
        toward=(toward / np.linalg.norm(toward)).astype(np.float32),
        ambient=rng.uniform(0.35, 0.65),
        tint=(1 + rng.normal(0, 0.025, 3)).astype(np.float32),
        gloss=rng.uniform(0, 40),
        shadow=rng.uniform(0.25, 0.6),
    )


def render(
    rng: Rng,
    body: Body,
    rest: np.ndarray,
    heads: np.ndarray,
    transforms: np.ndarray,
    view: View,
    size: int,
    easy: bool,
    supersample: int = 2,
) -> np.ndarray:
    """RGB uint8 (size, size, 3) of a posed person; rest (V, 3), heads (B, 3), transforms (V, 3, 4) as from Body."""
    outfit = clothes.sample_outfit(rng, clothes.landmarks(body, rest, heads))
    light = sample_light(rng)
    points = clothes.surface(body, rest, heads)
    thickness = body.smooth(outfit.thickness[clothes.cover(points, outfit)], 2)
    dressed = rest + body.normals(rest) * thickness[:, None]
    vertices = view.place(skin(transforms, dressed))
    uv = view.project(vertices)

    person, alpha = _person(body, vertices, uv * np.float32(supersample), points, outfit, light, size * supersample)
    person = cv2.resize(person, (size, size), interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA)[..., None]
    image = scene.background(rng, size, easy)
    image *= 1 - scene.floor_shadow(_cast(vertices, view, light), size, light.shadow)
    image += person - image * alpha
    if not easy and rng.random() < 0.3:
        image = scene.occluders(rng, image)
    return scene.develop(rng, image, easy)


def _person(
    body: Body,
    vertices: np.ndarray,
    uv: np.ndarray,
    points: np.ndarray,
    outfit: Outfit,
    light: Light,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Premultiplied RGB (size, size, 3) and coverage (size, size) of the person alone, float32."""
    vectors = body.face_vectors(vertices)
    front = np.nonzero((vectors * vertices[body.faces[:, 0]]).sum(1) < 0)[0]
    faces = body.faces[front]
    found = rasterise(uv, vertices[:, 2], faces, size)

    normals = body.normals(vertices, vectors)
    attributes = np.concatenate([points, normals, vertices[:, 2:], _lit(body, vertices, light)[:, None]], 1)
    corners = faces[found.triangle]
    value = sum(attributes[corners[:, corner]] * found.weight[:, corner, None] for corner in range(3))
    surface, normal, depth, lit = value[:, :12], value[:, 12:15], value[:, 15], value[:, 16]
    normal /= np.sqrt((normal**2).sum(1, keepdims=True)) + 1e-9

    covers = clothes.cover(surface, outfit)
    albedo = clothes.colours(surface, covers, outfit) * clothes.folds(surface, covers, outfit)[:, None]
    lambert = np.clip(normal @ light.toward, 0, 1) * lit
    sky = 0.8 - 0.2 * normal[:, 1]
    shade = light.ambient * sky + (1.15 - light.ambient) * lambert
    halfway = light.toward + np.array([0, 0, -1], np.float32)
    gloss = np.clip(normal @ (halfway / np.linalg.norm(halfway)), 0, 1) ** 30 * lit * light.gloss
    hollow = _hollows(found.pixel, depth, size)
    rgb = albedo * shade[:, None] * light.tint * (1 - 0.55 * hollow[:, None]) + gloss[:, None]

    image, alpha = np.zeros((size * size, 3), np.float32), np.zeros(size * size, np.float32)
    image[found.pixel], alpha[found.pixel] = rgb, 1
    return image.reshape(size, size, 3), alpha.reshape(size, size)


def _hollows(pixel: np.ndarray, depth: np.ndarray, size: int) -> np.ndarray:
    """0 to 1 (M,): how far each visible point lies behind what surrounds it, where less light comes in."""
    field: np.ndarray = np.full(size * size, depth.max(initial=0.0) + 0.3, np.float32)
    field[pixel] = depth
    field = field.reshape(size, size)
    around = cv2.blur(field, (size // 12 | 1, size // 12 | 1))
    return np.clip((field - around) / 0.12, 0, 1).ravel()[pixel]


def _lit(body: Body, vertices: np.ndarray, light: Light) -> np.ndarray:
    """0 to 1 (V,): whether the lamp sees each vertex, from a coarse map of what is nearest to the lamp."""
    cell, clearance = 0.025, 0.05  # m
    side = np.cross(light.toward, (0.0, 0.0, 1.0)).astype(np.float32)
    side /= np.linalg.norm(side)
    plane = np.stack([side, np.cross(light.toward, side)], 1).astype(np.float32)
    grid = np.floor(vertices @ plane / np.float32(cell)).astype(np.int32)
    grid -= grid.min(0)
    width, height = (int(value) + 1 for value in grid.max(0))
    where = grid[:, 1] * width + grid[:, 0]
    nearness = vertices @ light.toward
    order = np.argsort(nearness, kind="stable")
    nearest = np.full(width * height, -np.inf, np.float32)
    nearest[where[order]] = nearness[order]
    return body.smooth((nearest[where] - nearness < clearance).astype(np.float32), 1)


def _cast(vertices: np.ndarray, view: View, light: Light) -> np.ndarray:
    """Picture px (V', 2) where the body's vertices throw their shadows on the floor under its lowest point."""
    up = (view.rotation @ np.array([0.0, 0.0, 1.0])).astype(np.float32)
    ray = light.toward + 0.8 * up  # a steeper lamp than the one that shades keeps the shadow near the feet
    height = vertices @ up
    height -= height.min()
    fallen = vertices - height[:, None] * (ray / (ray @ up))
    return view.project(fallen[fallen[:, 2] > 0.1])
