"""The figure of a photo: boxes and skeletons over the photo, and beside it a 3D view of all people."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from explore.data.colours import LEFT, MIDDLE, RIGHT, person_colour, rgb
from explore.predict import view3d
from explore.predict.drawing import (
    FRACTION_BITS,
    WHITE,
    draw_bones,
    draw_box,
    draw_ground,
    draw_joints,
    draw_label,
    draw_line,
    fixed,
    write,
)
from explore.predict.pipeline import Person, Prediction
from quantize.manifest import Skeleton

HEIGHT, MIN_WIDTH, MAX_WIDTH, MIN_HEIGHT = 760, 420, 1240, 460  # px of the photo's panel
VIEW_WIDTH = (620, 820)  # px, smallest and largest width of the 3D panel
TITLE, MARGIN = 34, 14  # px
FAINT = "#7d8997"
SMALL = 11  # px, height of the legend's font


def render_figure(prediction: Prediction, skeleton: Skeleton, title: str) -> np.ndarray:
    """Draw a prediction and return RGB uint8 (H, W, 3). title: description of the model, above the 3D view."""
    height, width = prediction.image.shape[:2]
    photo_w = round(np.clip(HEIGHT * width / height, MIN_WIDTH, MAX_WIDTH))
    scale = min(photo_w / width, HEIGHT / height)
    panel_h = max(round(height * scale), MIN_HEIGHT)
    view_w = round(np.clip(panel_h * 0.98, *VIEW_WIDTH))
    canvas = np.full((panel_h + TITLE + MARGIN, photo_w + view_w + 3 * MARGIN, 3), rgb(WHITE), np.uint8)
    view_x = photo_w + 2 * MARGIN
    photo = canvas[TITLE : TITLE + panel_h, MARGIN : MARGIN + photo_w]
    view = canvas[TITLE : TITLE + panel_h, view_x : view_x + view_w]
    photo[:] = view[:] = rgb(view3d.BACKGROUND)
    _draw_photo(photo, prediction, skeleton, scale)
    _draw_view(view, prediction.people, skeleton)

    name, camera = prediction.photo.name, prediction.camera
    write(canvas, (MARGIN, TITLE // 2), name if len(name) <= 48 else f"{name[:36]}…{name[-11:]}", view3d.INK)
    subtitle = f"{title} · focal length {camera.f[0]:.0f} px ({camera.focal_from.split(',')[0]})"
    write(canvas, (view_x, TITLE // 2), subtitle, view3d.INK)
    return canvas


def _draw_photo(panel: np.ndarray, prediction: Prediction, skeleton: Skeleton, scale: float) -> None:
    height, width = prediction.image.shape[:2]
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    left, top = (panel.shape[1] - size[0]) // 2, (panel.shape[0] - size[1]) // 2
    image = panel[top : top + size[1], left : left + size[0]]
    image[:] = cv2.resize(prediction.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for index in np.argsort([-person.root_depth for person in prediction.people]):  # nearest person on top
        person = prediction.people[index]
        colour, bbox = person_colour(int(index)), person.bbox * scale
        draw_box(image, bbox, colour, 2)
        thickness = round(np.clip(bbox[2:].max() / 85, 2, 6))
        joints = person.px * scale
        draw_bones(image, joints, skeleton, thickness)
        draw_joints(image, joints, colour, 0.7 * thickness + 1)
        draw_label(image, bbox[:2] + 10, str(person.number), colour)


def _draw_view(panel: np.ndarray, people: list[Person], skeleton: Skeleton) -> None:
    """Draw all people on one ground plane, in perspective, from the side and from above."""
    height, width = panel.shape[:2]
    if not people:
        write(panel, (width // 2, height // 2), "no person found", FAINT, "middle")
        return
    ground = view3d.fit_ground([person.mm for person in people])
    world = np.stack([ground.to_world(person.mm) for person in people])
    points = world.reshape(-1, 3)
    view = view3d.best_view(world)
    seen, _ = view.project(np.concatenate([points * [1, 1, 0], points + np.array([0, 0, 150])]))
    low, high = seen.min(0), seen.max(0)
    zoom = (np.array([width - 150, height - 150]) / (high - low)).min()
    shift = np.array([width, height - 20]) / 2 - zoom * (low + high) / 2

    def project(points: np.ndarray) -> np.ndarray:
        positions: np.ndarray = view.project(points)[0] * zoom + shift
        return positions

    _draw_ground(panel, project, points[:, :2])
    for joints in world:
        for edge in view3d.lines_of(skeleton):
            start, end = project(joints[list(edge)] * [1, 1, 0])
            draw_line(panel, start, end, view3d.SHADOW, 3)
    distance = view.project(world)[1]
    for index in np.argsort(-distance.mean(1), kind="stable"):
        colour, joints = person_colour(int(index)), project(world[index])
        root = world[index, skeleton.root]
        metre = zoom * 1000 / distance[index, skeleton.root]  # px of a metre at the root joint
        thickness = round(np.clip(metre / 38, 3, 7))
        foot = project(root * [1, 1, 0])
        draw_line(panel, joints[skeleton.root], foot, colour, 1)
        draw_joints(panel, foot[None], colour, 2.5)
        draw_bones(panel, joints, skeleton, thickness, distance[index])
        draw_joints(panel, joints, colour, 0.5 * thickness + 1)
        label = f"{people[index].number} · {people[index].root_depth / 1000:.1f} m"
        draw_label(panel, joints[joints[:, 1].argmin()] - (0, 22), label, colour)
    _draw_legend(panel)
    middle = points.mean(0) * [1, 1, 0]
    start, end = project(np.stack([middle, middle + np.array([0, 500, 0])]))
    _draw_direction(panel, end - start)


def _draw_ground(panel: np.ndarray, project: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> None:
    """Draw the grid around points (N, 2) in world mm, in whole tiles, at least four tiles wide."""
    middle = (points.min(0) + points.max(0)) / 2
    half = np.maximum((points.max(0) - points.min(0)) / 2 + 350, 900)
    low = np.floor((middle - half) / view3d.TILE) * view3d.TILE
    high = np.ceil((middle + half) / view3d.TILE) * view3d.TILE
    draw_ground(panel, project, low, high)


def _draw_direction(panel: np.ndarray, ahead: np.ndarray) -> None:
    """Draw an arrow in the direction (2,) in which the photo's camera looks."""
    x, arrow = panel.shape[1] - 40, 30 * ahead / np.linalg.norm(ahead)
    tail = np.array([x, 34]) - arrow / 2
    cv2.arrowedLine(panel, fixed(tail), fixed(tail + arrow), rgb(FAINT), 2, cv2.LINE_AA, FRACTION_BITS, 0.35)
    write(panel, (x - 26, 34), "camera direction", FAINT, "right", SMALL)


def _draw_legend(panel: np.ndarray) -> None:
    x, y = 16, panel.shape[0] - 16
    for colour, text in ((LEFT, "left"), (RIGHT, "right"), (MIDDLE, "middle")):
        for thickness, shade in ((7, view3d.OUTLINE), (5, colour)):
            draw_line(panel, np.array([x, y]), np.array([x + 18, y]), shade, thickness)
        write(panel, (x + 28, y), text, view3d.INK, size=SMALL)
        x += 44 + 7 * len(text)
    write(panel, (panel.shape[1] - 14, y), "grid spacing 0.5 m", FAINT, "right", SMALL)
