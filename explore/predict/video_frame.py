"""The frames of an output video, drawn with OpenCV in milliseconds: boxes and skeletons, and beside them a 3D view."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from explore.data.colours import person_colour, rgb
from explore.predict import view3d
from explore.predict.drawing import WHITE, draw_bones, draw_box, draw_ground, draw_joints, draw_label, draw_line, write
from explore.predict.pipeline import Person
from explore.predict.view3d import GroundPlane
from quantize.manifest import Skeleton

HEIGHT, MAX_WIDTH = 540, 960  # px of the image's panel
TITLE = 30  # px
SWING, PERIOD = 38.0, 12.0  # degrees to both sides, and seconds, of the turning view
SMOOTHING, LEVEL_SMOOTHING = 0.08, 0.3  # weight of a new frame in the view, and in the level of the ground


class SmoothedView:
    """The people's surroundings, averaged over frames: ground, middle (3,) and radius of the people in world mm."""

    def __init__(self) -> None:
        self.ground: GroundPlane | None = None
        self.middle: np.ndarray | None = None
        self.radius = 0.0

    def update(self, people: Sequence[Person]) -> np.ndarray:
        """Take in the people of a frame and return their joints (N, J, 3) in world mm."""
        joints = [person.mm for person in people]
        fitted = view3d.fit_ground(joints)
        weight = 1.0 if self.ground is None else SMOOTHING
        old = self.ground or fitted
        slope = old.slope + weight * (fitted.slope - old.slope)
        level = old.level + max(weight, LEVEL_SMOOTHING) * (view3d.ground_level(joints, slope) - old.level)
        self.ground = GroundPlane(level, slope)
        world = np.stack([self.ground.to_world(person) for person in joints])
        points = world.reshape(-1, 3)
        middle = (points.min(0) + points.max(0)) / 2
        self.middle = middle if self.middle is None else self.middle + weight * (middle - self.middle)
        self.radius = max(float(np.linalg.norm(points - self.middle, axis=1).max()), self.radius * 0.99, 900.0)
        return world


class FrameRenderer:
    """Draws the frames (width x height px) of one video for one of `models` models.

    `size` (w, h) px of the drawn frames is even, as video encoders require.
    """

    def __init__(self, skeleton: Skeleton, width: int, height: int, title: str, models: int) -> None:
        self.skeleton, self.title, self.view = skeleton, title, SmoothedView()
        self.scale = min(HEIGHT / height, MAX_WIDTH / width) / (1 if models == 1 else 1.35)
        self.image_size = tuple(2 * max(round(side * self.scale / 2), 1) for side in (width, height))
        panel_h = max(self.image_size[1], 320)
        self.size = (self.image_size[0] + 2 * round(0.46 * panel_h), panel_h + TITLE)

    def render(self, image: np.ndarray, people: Sequence[Person], time_s: float, note: str) -> np.ndarray:
        """Return a frame (h, w, 3) RGB uint8. note: text at the right of the title."""
        canvas = np.full((self.size[1], self.size[0], 3), rgb(WHITE), np.uint8)
        write(canvas, (10, TITLE // 2), self.title, view3d.INK)
        write(canvas, (self.size[0] - 10, TITLE // 2), note, view3d.INK, "right")
        canvas[TITLE:] = rgb(view3d.BACKGROUND)
        self._draw_image(canvas[TITLE:, : self.image_size[0]], image, people)
        self._draw_view(canvas[TITLE:, self.image_size[0] :], people, time_s)
        return canvas

    def _draw_image(self, panel: np.ndarray, image: np.ndarray, people: Sequence[Person]) -> None:
        top = (panel.shape[0] - self.image_size[1]) // 2
        panel = panel[top : top + self.image_size[1]]
        interpolation = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        panel[:] = cv2.resize(image, self.image_size, interpolation=interpolation)
        for person in sorted(people, key=lambda person: -person.root_depth):
            colour = person_colour(person.number - 1)
            x, y, w, h = person.bbox * self.scale
            draw_box(panel, person.bbox * self.scale, colour)
            thickness = int(np.clip(max(w, h) / 90, 2, 5))
            joints = person.px * self.scale
            draw_bones(panel, joints, self.skeleton, thickness)
            draw_joints(panel, joints, colour, 0.75 * thickness + 1)
            draw_label(panel, (x + 9, y + 9), str(person.number), colour)

    def _draw_view(self, panel: np.ndarray, people: Sequence[Person], time_s: float) -> None:
        world = self.view.update(people) if people else np.zeros((0, len(self.skeleton.joints), 3))
        middle = self.view.middle
        if middle is None:
            write(panel, (panel.shape[1] // 2, panel.shape[0] // 2), "no person found yet", view3d.INK, "middle")
            return
        diameter = middle + self.view.radius * np.array([[-1.0, 0, 0], [1, 0, 0]])
        view = view3d.look_at(diameter, SWING * math.sin(2 * math.pi * time_s / PERIOD))
        zoom = 1.42 * min(panel.shape[:2])
        centre = np.array([panel.shape[1] / 2, panel.shape[0] / 2])

        def project(points: np.ndarray) -> np.ndarray:
            positions: np.ndarray = view.project(points)[0] * zoom + centre
            return positions

        self._draw_ground(panel, project, middle)
        distances = view.project(world)[1]
        for index in np.argsort(-distances.mean(1), kind="stable"):
            person, distance = people[index], distances[index]
            shadow, joints = project(world[index] * [1, 1, 0]), project(world[index])
            for start, end in view3d.lines_of(self.skeleton):
                draw_line(panel, shadow[start], shadow[end], view3d.SHADOW, 2)
            thickness = int(np.clip(zoom * 1000 / distance.mean() / 42, 2, 6))
            colour = person_colour(person.number - 1)
            draw_bones(panel, joints, self.skeleton, thickness, distance)
            draw_joints(panel, joints, colour, 0.6 * thickness + 1)
            x, y = joints[joints[:, 1].argmin()] - (0, 16)
            draw_label(panel, (x, max(y, 9)), f"{person.number} · {person.root_depth / 1000:.1f} m", colour)

    def _draw_ground(self, panel: np.ndarray, project: Callable[[np.ndarray], np.ndarray], middle: np.ndarray) -> None:
        half = view3d.TILE * math.ceil((1.1 * self.view.radius + 300) / view3d.TILE)
        low = np.floor((middle[:2] - half) / view3d.TILE) * view3d.TILE
        high = low + 2 * half
        draw_ground(panel, project, low, high)
