"""Rendering: visible surface by the painter's algorithm in numpy, and shading."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from explore.data.synthetic import clothes, panorama, scene
from explore.data.synthetic.body import Body, dot, normalised, skin
from explore.data.synthetic.clothes import Outfit
from explore.data.synthetic.panorama import Surroundings

Rng = np.random.Generator
PANORAMA_P = 0.8  # probability of a panorama as surroundings at the level full; else a drawn room
SUPERSAMPLE = 2  # samples per px and axis of the person
CLUTTER_P = 0.75  # probability of clutter in front of a panorama


@dataclass(frozen=True)
class View:
    """Camera view of a person: x_cam = rotation @ x_model + shift, m; f (2,) and c (2,) px."""

    rotation: np.ndarray
    shift: np.ndarray
    f: np.ndarray
    c: np.ndarray

    def place(self, points: np.ndarray) -> np.ndarray:
        """Transform model coordinates (N, 3) to camera coordinates, m."""
        x, y, z = points.T
        out = np.empty_like(points)
        for axis, (row, shift) in enumerate(zip(self.rotation.tolist(), self.shift.tolist(), strict=True)):
            out[:, axis] = x * row[0] + y * row[1] + z * row[2] + shift
        return out

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project camera coordinates (N, 3) to px (N, 2)."""
        uv = np.empty((len(points), 2), points.dtype)
        for axis in range(2):
            uv[:, axis] = points[:, axis] / points[:, 2] * float(self.f[axis]) + float(self.c[axis])
        return uv


@dataclass(frozen=True)
class Fragments:
    """Visible surface. pixel: (M,) flat index; triangle: (M,) index of the face; weight: (M, 3) of its corners."""

    pixel: np.ndarray
    triangle: np.ndarray
    weight: np.ndarray


def rasterise(uv: np.ndarray, depth: np.ndarray, faces: np.ndarray, size: int) -> Fragments:
    """Return the triangle that is visible at each pixel centre of a size x size image.

    Triangles are painted from far to near by their mean depth. On a fine mesh this equals a z-buffer and avoids its
    scattered minimum.

    uv: (V, 2) px; depth: (V,) in any unit; faces: (F, 3), only those that face the camera
    """
    u, v = np.ascontiguousarray(uv[:, 0]), np.ascontiguousarray(uv[:, 1])
    i, j, k = (np.ascontiguousarray(column) for column in faces.T)
    u0, u1, u2, v0, v1, v2 = u[i], u[j], u[k], v[i], v[j], v[k]
    left = np.maximum(np.ceil(np.minimum(np.minimum(u0, u1), u2) - 0.5), 0).astype(np.int32)
    right = np.minimum(np.floor(np.maximum(np.maximum(u0, u1), u2) - 0.5), size - 1).astype(np.int32)
    top = np.maximum(np.ceil(np.minimum(np.minimum(v0, v1), v2) - 0.5), 0).astype(np.int32)
    bottom = np.minimum(np.floor(np.maximum(np.maximum(v0, v1), v2) - 0.5), size - 1).astype(np.int32)
    wide, high = np.maximum(right - left + 1, 0), np.maximum(bottom - top + 1, 0)
    seen = np.nonzero(wide * high)[0]
    distance = depth[i[seen]] + depth[j[seen]] + depth[k[seen]]
    near, far = distance.min(initial=np.inf), distance.max(initial=-np.inf)
    steps = (far - distance) * np.float32(65535 / max(far - near, 1e-6))
    seen = seen[np.argsort(steps.astype(np.uint16), kind="stable")]  # 16 bits: a radix sort

    # every pixel of every triangle's bounding box, far triangles first
    count = (wide * high)[seen]
    owner = np.repeat(np.arange(len(seen), dtype=np.int32), count)
    within = np.arange(len(owner), dtype=np.int32) - np.repeat(np.cumsum(count, dtype=np.int32) - count, count)
    width = wide[seen][owner]
    row = within // width
    x = left[seen][owner] + within - row * width
    y = top[seen][owner] + row

    u0, v0 = u0[seen], v0[seen]
    e1u, e1v, e2u, e2v = u1[seen] - u0, v1[seen] - v0, u2[seen] - u0, v2[seen] - v0
    area = e1u * e2v - e1v * e2u
    scale = 1 / np.where(np.abs(area) < 1e-12, np.float32(1e-12), area)
    dx, dy = x + np.float32(0.5) - u0[owner], y + np.float32(0.5) - v0[owner]
    w1 = dx * (e2v * scale)[owner] - dy * (e2u * scale)[owner]
    w2 = dy * (e1u * scale)[owner] - dx * (e1v * scale)[owner]
    hit = np.nonzero((w1 >= 0) & (w2 >= 0) & (w1 + w2 <= 1))[0]

    last = np.full(size * size, -1, np.int32)
    last[y[hit] * size + x[hit]] = hit  # the nearest triangle is painted last
    pixel = np.nonzero(last >= 0)[0]
    winner = last[pixel]
    w1, w2 = w1[winner], w2[winner]
    return Fragments(pixel, seen[owner[winner]], np.stack([1 - w1 - w2, w1, w2], 1))


@dataclass(frozen=True)
class Light:
    """Light. toward: unit vector to the lamp in camera axes; ambient, gloss, shadow: strengths; tint: RGB factors.

    surroundings: replace ambient and tint, if the light is that of a panorama
    """

    toward: np.ndarray
    ambient: float
    tint: np.ndarray
    gloss: float
    shadow: float
    surroundings: Surroundings | None = None


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


@dataclass(frozen=True)
class Figure:
    """A posed person in front of a camera. rest (V, 3), heads (B, 3), transforms (V, 3, 4): as from Body, m."""

    rest: np.ndarray
    heads: np.ndarray
    transforms: np.ndarray
    view: View

    def outfit(self, rng: Rng, body: Body, easy: bool) -> Outfit:
        """Sample clothes and appearance."""
        outfit = clothes.sample_outfit(rng, clothes.landmarks(body, self.rest, self.heads))
        return outfit if easy else clothes.vary(rng, outfit, panorama.texture(rng, 128, 256))

    def dressed(self, body: Body, outfit: Outfit) -> tuple[np.ndarray, np.ndarray]:
        """Return the surface points (V, 12) of `clothes.surface`, and the vertices with clothes in camera axes."""
        points = clothes.surface(body, self.rest, self.heads)
        thickness = body.smooth(outfit.thickness[clothes.materials(points, outfit)], 2)
        dressed = self.rest + body.mean_normals * thickness[:, None]
        return points, self.view.place(skin(self.transforms, dressed))


def render(rng: Rng, body: Body, figure: Figure, size: int, easy: bool, bystander: Figure | None = None) -> np.ndarray:
    """Render a posed person with random clothes, light and surroundings to RGB uint8 (size, size, 3).

    bystander: a second person, behind the first
    """
    outfit = figure.outfit(rng, body, easy)
    light = sample_light(rng)
    if not easy and rng.random() < PANORAMA_P:
        around = panorama.surroundings(rng, figure.view.rotation @ np.array([0.0, 0.0, 1.0]), size)
        light = replace(light, toward=around.toward, gloss=0.3 * light.gloss, surroundings=around)
    points, vertices = figure.dressed(body, outfit)
    uv = figure.view.project(vertices)

    person, alpha = _person(body, vertices, uv * np.float32(SUPERSAMPLE), points, outfit, light, size * SUPERSAMPLE)
    person = cv2.resize(person, (size, size), interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA)[..., None]
    if light.surroundings is None:
        image = scene.background(rng, size, easy)
    else:
        image = light.surroundings.background
        image = scene.clutter(rng, image) if rng.random() < CLUTTER_P else image
    if bystander is not None:
        other = bystander.outfit(rng, body, easy)
        surface, place = bystander.dressed(body, other)
        layer, cover = _person(body, place, bystander.view.project(place), surface, other, light, size)
        image += layer - image * cover[..., None]
    image *= 1 - scene.floor_shadow(_floor_shadow_points(vertices, figure.view, light), size, light.shadow)
    image += person - image * alpha
    if not easy and rng.random() < 0.3:
        image = scene.occluders(rng, image)
    return scene.apply_camera(rng, image, easy)


def _person(
    body: Body,
    vertices: np.ndarray,
    uv: np.ndarray,
    points: np.ndarray,
    outfit: Outfit,
    light: Light,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return premultiplied RGB (size, size, 3) and coverage (size, size) of the person, float32."""
    vectors = body.face_vectors(vertices)
    faces = body.faces[dot(vectors, np.take(vertices, body.corners[0], axis=0)) < 0]
    found = rasterise(uv, vertices[:, 2], faces, size)

    normals = body.normals(vectors)
    attributes = np.concatenate([points, normals, vertices[:, 2:], _shadow_map(body, vertices, light)[:, None]], 1)
    if light.surroundings is not None:
        attributes = np.concatenate([attributes, light.surroundings.sky(normals)], 1)
    corners = faces[found.triangle]
    value = np.zeros((len(corners), attributes.shape[1]), np.float32)
    for corner in range(3):
        value += np.take(attributes, corners[:, corner], axis=0) * found.weight[:, corner, None]
    surface, normal, depth, lit = value[:, :12], normalised(value[:, 12:15]), value[:, 15], value[:, 16]

    materials = clothes.materials(surface, outfit)
    albedo = clothes.colours(surface, materials, outfit) * clothes.creases(surface, materials, outfit)[:, None]
    lambert = np.clip(normal @ light.toward, 0, 1) * lit
    occlusion = _ambient_occlusion(found.pixel, depth, size)
    sky = 0.8 - 0.2 * normal[:, 1]
    shade = light.ambient * sky + (1.15 - light.ambient) * lambert
    halfway = light.toward + np.array([0, 0, -1], np.float32)
    gloss = np.clip(normal @ (halfway / np.linalg.norm(halfway)), 0, 1) ** 30 * lit * light.gloss
    if light.surroundings is None:
        rgb = albedo * shade[:, None] * light.tint * (1 - 0.55 * occlusion[:, None]) + gloss[:, None]
    else:
        received = value[:, 17:] * (1 - 0.8 * occlusion[:, None]) + lambert[:, None] * light.surroundings.lamp
        rgb = panorama.exposed(np.square(np.clip(albedo, 0, 255) / 255) * received) + gloss[:, None]

    image, alpha = np.zeros((size * size, 3), np.float32), np.zeros(size * size, np.float32)
    image[found.pixel], alpha[found.pixel] = rgb, 1
    return image.reshape(size, size, 3), alpha.reshape(size, size)


def _ambient_occlusion(pixel: np.ndarray, depth: np.ndarray, size: int) -> np.ndarray:
    """Return the ambient occlusion (M,), 0 to 1, of visible points: how far they lie behind their surroundings."""
    field: np.ndarray = np.full(size * size, depth.max(initial=0.0) + 0.3, np.float32)
    field[pixel] = depth
    field = field.reshape(size, size)
    around = cv2.blur(field, (size // 12 | 1, size // 12 | 1))
    return np.clip((field - around) / 0.12, 0, 1).ravel()[pixel]


def _shadow_map(body: Body, vertices: np.ndarray, light: Light) -> np.ndarray:
    """Return whether the lamp reaches each vertex (V,), 0 to 1, from a coarse shadow map."""
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


def _floor_shadow_points(vertices: np.ndarray, view: View, light: Light) -> np.ndarray:
    """Return the image px (V', 2) of the vertices' shadows on the floor below the lowest vertex."""
    up = (view.rotation @ np.array([0.0, 0.0, 1.0])).astype(np.float32)
    ray = light.toward + 0.8 * up  # steeper than the shading light, to keep the shadow near the feet
    height = vertices @ up
    height -= height.min()
    fallen = vertices - height[:, None] * (ray / (ray @ up))
    return view.project(fallen[fallen[:, 2] > 0.1])
