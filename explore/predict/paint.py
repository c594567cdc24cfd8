"""Pictures of a film: the frame with boxes and skeletons, and beside it the room in 3D, by OpenCV, in milliseconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from explore.data.colours import limb_colour, person_colour, rgb
from explore.predict.pipeline import Person
from explore.predict.scene import Floor, find_floor, look_at
from quantize.manifest import Skeleton

HEIGHT, WIDEST = 540, 960  # px of a frame's panel
TITLE = 30  # px
INK, FLOOR, LINE, LINE_1M, SHADOW = (rgb(c) for c in ("#27303a", "#eef1f5", "#d9dfe7", "#bcc6d2", "#aeb8c4"))
CASING, WHITE, TILES = rgb("#1b222b"), (255, 255, 255), rgb("#fbfcfd")
TILE = 500.0  # mm of a floor tile
SWING, PERIOD = 38.0, 12.0  # degrees to both sides, seconds there and back
CALM, STEP = 0.08, 0.3  # shares of a new frame in where the room is, and in the height of its floor
BITS = 4  # of a px's fraction, for OpenCV
Colour = tuple[int, int, int]


@dataclass
class Room:
    """What the 3D view looks at, followed calmly: middle (3,) mm and radius mm of the people, and their floor."""

    floor: Floor | None = None
    middle: np.ndarray | None = None
    radius: float = 0.0

    def follow(self, people: Sequence[Person]) -> np.ndarray:
        """Joints (N, J, 3) room mm."""
        seen = find_floor([person.mm for person in people])
        calm = 1.0 if self.floor is None else CALM
        old = self.floor or seen
        slope = old.slope + calm * (seen.slope - old.slope)
        lowest = max(float((person.mm[:, 1] - slope * person.mm[:, 2]).max()) for person in people)
        self.floor = Floor(old.level + max(calm, STEP) * (lowest - old.level), slope)
        room = np.stack([self.floor.to_room(person.mm) for person in people])
        points = room.reshape(-1, 3)
        middle = (points.min(0) + points.max(0)) / 2
        self.middle = middle if self.middle is None else self.middle + calm * (middle - self.middle)
        self.radius = max(float(np.linalg.norm(points - self.middle, axis=1).max()), self.radius * 0.99, 900.0)
        return room


class Painter:
    """Paints the frames (width x height px) of one film for one model. `size` (w, h) px of what it makes, even."""

    def __init__(self, skeleton: Skeleton, width: int, height: int, title: str, rows: int = 1) -> None:
        self.skeleton, self.title, self.room = skeleton, title, Room()
        self.scale = min(HEIGHT / height, WIDEST / width) / (1 if rows == 1 else 1.35)
        self.shown = tuple(2 * max(round(side * self.scale / 2), 1) for side in (width, height))
        self.tall = max(self.shown[1], 320)
        self.room_w = 2 * round(0.46 * self.tall)
        self.size = (self.shown[0] + self.room_w, self.tall + TITLE)

    def frame(self, image: np.ndarray, people: Sequence[Person], time_s: float, note: str) -> np.ndarray:
        """RGB (h, w, 3) uint8. note: a few words at the right of the title."""
        canvas = np.empty((self.size[1], self.size[0], 3), np.uint8)
        canvas[:] = WHITE
        _write(canvas, (10, TITLE // 2), self.title, INK)
        _write(canvas, (self.size[0] - 10, TITLE // 2), note, INK, "right")
        self._picture(canvas[TITLE:, : self.shown[0]], image, people)
        self._space(canvas[TITLE:, self.shown[0] :], people, time_s)
        return canvas

    def _picture(self, panel: np.ndarray, image: np.ndarray, people: Sequence[Person]) -> None:
        way = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        panel[:] = FLOOR
        top = (panel.shape[0] - self.shown[1]) // 2
        panel = panel[top : top + self.shown[1]]
        panel[:] = cv2.resize(image, self.shown, interpolation=way)
        for person in sorted(people, key=lambda one: -one.root_depth):
            colour = rgb(person_colour(person.number - 1))
            x, y, w, h = person.bbox * self.scale
            cv2.rectangle(panel, _fixed((x, y)), _fixed((x + w, y + h)), colour, 1, cv2.LINE_AA, BITS)
            thick = int(np.clip(max(w, h) / 90, 2, 5))
            self._bones(panel, person.px * self.scale, thick, range(len(self.skeleton.edges)))
            self._joints(panel, person.px * self.scale, colour, 0.75 * thick + 1)
            _badge(panel, (x + 9, y + 9), str(person.number), colour)

    def _space(self, panel: np.ndarray, people: Sequence[Person], time_s: float) -> None:
        panel[:] = FLOOR
        room = self.room.follow(people) if people else None
        middle = self.room.middle
        if middle is None:
            _write(panel, (panel.shape[1] // 2, panel.shape[0] // 2), "nobody found yet", INK, "middle")
            return
        ball = middle + self.room.radius * np.array([[-1.0, 0, 0], [1, 0, 0]])
        eye = look_at(ball, SWING * math.sin(2 * math.pi * time_s / PERIOD))
        zoom = 1.42 * min(panel.shape[:2])
        centre = np.array([panel.shape[1] / 2, panel.shape[0] / 2])

        def place(points: np.ndarray) -> np.ndarray:
            spots: np.ndarray = eye.project(points)[0] * zoom + centre
            return spots

        self._floor(panel, place, middle)
        if room is None:
            return
        distance = eye.project(room)[1]
        for person, far in sorted(zip(people, distance, strict=True), key=lambda pair: -pair[1].mean()):
            index = [one is person for one in people].index(True)
            colour, joints = rgb(person_colour(person.number - 1)), place(room[index])
            flat = place(room[index] * [1, 1, 0])
            for edge in self.skeleton.edges:
                _line(panel, flat[edge[0]], flat[edge[1]], SHADOW, 2)
            order = sorted(range(len(self.skeleton.edges)), key=lambda at: -far[list(self.skeleton.edges[at])].mean())
            thick = int(np.clip(zoom * 1000 / far.mean() / 42, 2, 6))
            self._bones(panel, joints, thick, order)
            self._joints(panel, joints, colour, 0.6 * thick + 1)
            top = joints[joints[:, 1].argmin()] - (0, 16)
            _badge(panel, (top[0], max(top[1], 9)), f"{person.number} · {person.root_depth / 1000:.1f} m", colour)

    def _floor(self, panel: np.ndarray, place: Callable[[np.ndarray], np.ndarray], middle: np.ndarray) -> None:
        half = TILE * math.ceil((1.1 * self.room.radius + 300) / TILE)
        low = np.floor((middle[:2] - half) / TILE) * TILE
        high = low + 2 * half
        corners = np.array([[low[0], low[1], 0], [high[0], low[1], 0], [high[0], high[1], 0], [low[0], high[1], 0]])
        cv2.fillPoly(panel, [np.round(place(corners)).astype(np.int32)], TILES, cv2.LINE_AA)
        for axis in (0, 1):
            for value in np.arange(low[axis], high[axis] + 1, TILE):
                ends = np.array([[*low, 0.0], [*high, 0.0]])
                ends[:, axis] = value
                start, end = place(ends)
                _line(panel, start, end, LINE_1M if round(value / TILE) % 2 == 0 else LINE, 1)

    def _bones(self, panel: np.ndarray, joints: np.ndarray, thick: int, order: Sequence[int]) -> None:
        names = self.skeleton.joints
        for at in order:
            start, end = self.skeleton.edges[at]
            _line(panel, joints[start], joints[end], CASING, thick + 2)
            _line(panel, joints[start], joints[end], rgb(limb_colour(names[start], names[end])), thick)

    def _joints(self, panel: np.ndarray, joints: np.ndarray, colour: Colour, radius: float) -> None:
        for spot in joints:
            cv2.circle(panel, _fixed(spot), round((radius + 0.8) * 2**BITS), WHITE, -1, cv2.LINE_AA, BITS)
            cv2.circle(panel, _fixed(spot), round(radius * 2**BITS), colour, -1, cv2.LINE_AA, BITS)


def _fixed(spot: Sequence[float] | np.ndarray) -> tuple[int, int]:
    """A place as OpenCV takes it; far outside is outside."""
    x, y = (round(float(np.clip(value, -9999, 9999)) * 2**BITS) for value in spot)
    return x, y


def _line(panel: np.ndarray, start: np.ndarray, end: np.ndarray, colour: Colour, thick: int) -> None:
    cv2.line(panel, _fixed(start), _fixed(end), colour, thick, cv2.LINE_AA, BITS)


def _badge(panel: np.ndarray, place: Sequence[float], text: str, colour: Colour) -> None:
    height, width = _letters(text).shape
    x, y = (int(np.clip(value, half, side - half)) for value, half, side in zip(
        place, (width / 2 + 4, height / 2 + 1), (panel.shape[1], panel.shape[0]), strict=True
    ))  # fmt: skip
    left, top = x - width // 2 - 3, y - height // 2
    cv2.rectangle(panel, (left, top), (left + width + 6, top + height), colour, -1, cv2.LINE_AA)
    _write(panel, (x, y), text, WHITE, "middle")


def _write(panel: np.ndarray, place: tuple[int, int], text: str, colour: Colour, side: str = "left") -> None:
    """Text whose left end, middle or right end is at a place; what does not fit is cut off."""
    letters = _letters(text)
    height, width = letters.shape
    left = max(place[0] - {"left": 0, "middle": width // 2, "right": width}[side], 0)
    top = max(place[1] - height // 2, 0)
    spot = panel[top : top + height, left : left + width]
    share = letters[: spot.shape[0], : spot.shape[1], None]
    spot[:] = np.round(spot * (1 - share) + np.array(colour) * share)


@lru_cache(512)
def _letters(text: str) -> np.ndarray:
    """How much of every px (h, w) the letters cover."""
    font = ImageFont.load_default(13)
    _, top, right, bottom = (math.ceil(edge) for edge in font.getbbox(text or " "))
    mask = Image.new("L", (max(right, 1), max(bottom + 3, 1)))
    ImageDraw.Draw(mask).text((0, (3 - top) // 2 + 1), text, 255, font)
    return np.asarray(mask, np.float32) / 255
