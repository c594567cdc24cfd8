"""One figure for all people of a photo: the photo with boxes and skeletons, and beside it the room in 3D."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from explore.data.colours import LEFT, MIDDLE, RIGHT, limb_colour, person_colour
from explore.predict.pipeline import Prediction
from explore.predict.scene import best_eye, find_floor
from quantize.manifest import Skeleton

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
HEIGHT, WIDEST, NARROWEST = 760, 1240, 420  # px of the photo's panel
ROOM_WIDTH = (620, 820)  # px of the 3D panel
TITLE, MARGIN = 34, 14  # px
INK, PAPER, FLOOR, LINE, LINE_1M, SHADOW = "#27303a", "#ffffff", "#eef1f5", "#d9dfe7", "#bcc6d2", "#aeb8c4"
CASING, FAINT = "#1b222b", "#7d8997"
TILE = 500.0  # mm of a floor tile


def draw(prediction: Prediction, skeleton: Skeleton, title: str) -> bytes:
    """The figure as PNG. title: a few words about the model, above the 3D view."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = prediction.image.shape[:2]
    panel_w = float(np.clip(HEIGHT * width / height, NARROWEST, WIDEST))
    scale = min(panel_w / width, HEIGHT / height)
    panel_h = max(round(height * scale), 460)
    room_w = float(np.clip(panel_h * 0.98, *ROOM_WIDTH))
    total_w, total_h = panel_w + room_w + 3 * MARGIN, panel_h + TITLE + MARGIN
    figure = Figure((total_w / DPI, total_h / DPI), DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)

    photo = _panel(figure, MARGIN, MARGIN, panel_w, panel_h, total_w, total_h)
    _draw_photo(photo, prediction, skeleton, scale, panel_w, panel_h)
    room = _panel(figure, panel_w + 2 * MARGIN, MARGIN, room_w, panel_h, total_w, total_h)
    _draw_room(room, prediction, skeleton, room_w, panel_h)
    focal = f"{prediction.camera.f[0]:.0f} px focal length, {prediction.camera.focal_from.split(',')[0]}"
    for x, text in ((MARGIN, _shortened(prediction.photo.name)), (panel_w + 2 * MARGIN, f"{title} · {focal}")):
        figure.text(x / total_w, 1 - TITLE / 2 / total_h, text, color=INK, fontsize=9.5, va="center_baseline")
    data = io.BytesIO()
    figure.savefig(data, format="png", facecolor=PAPER)
    return data.getvalue()


def _shortened(name: str, longest: int = 48) -> str:
    return name if len(name) <= longest else f"{name[: longest - 12]}…{name[-11:]}"


def _panel(figure: Figure, x: float, y: float, width: float, height: float, total_w: float, total_h: float) -> Axes:
    """Axes whose units are px of the figure, y down."""
    axes = figure.add_axes((x / total_w, y / total_h, width / total_w, height / total_h))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return axes


def _points(px: float) -> float:
    """Line width in px of the figure, in matplotlib's points."""
    return px * 72 / DPI


# ---- photo ----


def _draw_photo(
    axes: Axes, prediction: Prediction, skeleton: Skeleton, scale: float, panel_w: float, panel_h: float
) -> None:
    height, width = prediction.image.shape[:2]
    shown = (round(width * scale), round(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(prediction.image, shown, interpolation=way)
    origin = np.array([(panel_w - shown[0]) / 2, (panel_h - shown[1]) / 2])
    axes.add_patch(_rectangle(0, 0, panel_w, panel_h, facecolor=FLOOR, zorder=0))
    left, top = origin
    extent = (left, left + shown[0], top + shown[1], top)
    axes.imshow(picture, extent=extent, interpolation="antialiased", aspect="auto", zorder=1)
    axes.set_xlim(0, panel_w)
    axes.set_ylim(panel_h, 0)
    order = np.argsort([-person.root_depth for person in prediction.people])  # the nearest on top
    for rank, index in enumerate(order):
        person = prediction.people[index]
        colour = person_colour(int(index))
        x, y, w, h = person.bbox * scale
        thick = float(np.clip(max(w, h) / 85, 1.8, 6.5))
        z = 2 + 4 * rank
        axes.add_patch(
            _rectangle(x + left, y + top, w, h, fill=False, edgecolor=colour, linewidth=_points(1.6), zorder=z)
        )
        joints = person.px * scale + origin
        _draw_bones(axes, joints, skeleton, thick, [z + 1] * len(skeleton.edges), CASING)
        _draw_joints(axes, joints, colour, thick, z + 2)
        corner = np.array([min(x + left, panel_w - 22), max(y + top, 0)])
        _badge(axes, corner + 10, str(index + 1), colour, z + 3)


def _rectangle(x: float, y: float, w: float, h: float, **look: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), w, h, **look)


def _draw_bones(
    axes: Axes, joints: np.ndarray, skeleton: Skeleton, thick: float, z: Sequence[float], casing: str
) -> None:
    """Bones as lines with a casing around them, so that they stand out from any ground."""
    names = skeleton.joints
    for (start, end), order in zip(skeleton.edges, z, strict=True):
        x, y = joints[[start, end]].T
        colour = limb_colour(names[start], names[end])
        for width, shade, above in ((thick + 2, casing, 0.0), (thick, colour, 0.01)):
            axes.plot(x, y, color=shade, linewidth=_points(width), solid_capstyle="round", zorder=order + above)


def _draw_joints(axes: Axes, joints: np.ndarray, colour: str, thick: float, z: float) -> None:
    size, edge = _points(thick * 1.35 + 1.5) ** 2, _points(max(0.8, thick / 5))
    axes.scatter(joints[:, 0], joints[:, 1], s=size, c=colour, edgecolors="white", linewidths=edge, zorder=z)


def _badge(axes: Axes, place: np.ndarray, text: str, colour: str, z: float) -> None:
    look = {"boxstyle": "round,pad=0.28", "facecolor": colour, "edgecolor": "white", "linewidth": 0.8}
    axes.text(
        place[0], place[1], text, color="white", fontsize=8.5, fontweight="bold", ha="center", va="center_baseline",
        zorder=z, clip_on=True, bbox=look,
    )  # fmt: skip


# ---- room ----


def _draw_room(axes: Axes, prediction: Prediction, skeleton: Skeleton, width: float, height: float) -> None:
    """Everybody at their place on one floor, seen from the side and from above in perspective."""
    axes.add_patch(_rectangle(0, 0, width, height, facecolor=FLOOR, zorder=0))
    people = prediction.people
    if not people:
        axes.text(width / 2, height / 2, "nobody found", color=FAINT, fontsize=12, ha="center", va="center")
        return
    floor = find_floor([person.mm for person in people])
    room = np.stack([floor.to_room(person.mm) for person in people])
    low, high = _tiles(room)
    heads = room.reshape(-1, 3) + np.array([0, 0, 150])
    eye = best_eye(room)
    seen, _ = eye.project(np.concatenate([room.reshape(-1, 3) * [1, 1, 0], heads]))
    least, most = seen.min(0), seen.max(0)
    zoom = (np.array([width - 150, height - 150]) / (most - least)).min()
    shift = np.array([width, height - 20]) / 2 - zoom * (least + most) / 2

    def place(points: np.ndarray) -> np.ndarray:
        return eye.project(points)[0] * zoom + shift

    _draw_floor(axes, place, low, high)
    for person in room:
        flat = person * [1, 1, 0]
        for edge in skeleton.edges:
            axes.plot(*place(flat[list(edge)]).T, color=SHADOW, linewidth=_points(3), solid_capstyle="round", zorder=2)
    distance = eye.project(room)[1]
    far, near = distance.max(), distance.min()
    depth_order = 3 + 10 * (far - distance) / max(far - near, 1.0)
    pelvis = skeleton.root
    for index, person in enumerate(room):
        colour = person_colour(index)
        joints = place(person)
        around = zoom * 1000 / distance[index, pelvis]  # px of a metre where the person stands
        thick = float(np.clip(around / 38, 2.6, 7.0))
        order = [float(depth_order[index, list(edge)].mean()) for edge in skeleton.edges]
        foot = place(np.stack([person[pelvis], person[pelvis] * [1, 1, 0]]))
        axes.plot(*foot.T, color=colour, linewidth=_points(1.2), linestyle=(0, (2, 2)), zorder=2.5)
        axes.scatter(foot[1, 0], foot[1, 1], s=26, c=colour, zorder=2.5)
        _draw_bones(axes, joints, skeleton, thick, order, CASING)
        for joint, spot in enumerate(joints):
            above = max(z for z, edge in zip(order, skeleton.edges, strict=True) if joint in edge)
            _draw_joints(axes, spot[None], colour, 0.7 * thick, above + 0.02)
        top = joints[joints[:, 1].argmin()] - (0, 22)
        _badge(axes, top, f"{index + 1} · {people[index].root_depth / 1000:.1f} m", colour, 14)
    _draw_legend(axes, width, height)
    middle = room.reshape(-1, 3).mean(0) * [1, 1, 0]
    ahead = place(np.stack([middle, middle + np.array([0, 500, 0])]))
    _draw_compass(axes, ahead[1] - ahead[0], width)


def _tiles(room: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the tiled floor around everybody, in whole tiles, at least four tiles wide."""
    points = room.reshape(-1, 3)[:, :2]
    middle = (points.min(0) + points.max(0)) / 2
    half = np.maximum((points.max(0) - points.min(0)) / 2 + 350, 900)
    return np.floor((middle - half) / TILE) * TILE, np.ceil((middle + half) / TILE) * TILE


def _draw_floor(axes: Axes, place: Any, low: np.ndarray, high: np.ndarray) -> None:
    from matplotlib.patches import Polygon

    outline = np.array([[low[0], low[1], 0], [high[0], low[1], 0], [high[0], high[1], 0], [low[0], high[1], 0]])
    axes.add_patch(Polygon(place(outline), facecolor="#fbfcfd", edgecolor="none", zorder=0.5))
    for axis in (0, 1):
        for value in np.arange(low[axis], high[axis] + 1, TILE):
            ends = np.array([[*low, 0.0], [*high, 0.0]])
            ends[:, axis] = value
            whole = round(value / TILE) % 2 == 0
            axes.plot(
                *place(ends).T, color=LINE_1M if whole else LINE, linewidth=_points(1.3 if whole else 0.9), zorder=1
            )


def _draw_compass(axes: Axes, ahead: np.ndarray, width: float) -> None:
    """An arrow on the floor that points where the photo's camera looked."""
    arrow = 30 * ahead / np.linalg.norm(ahead)
    tail = np.array([width - 40, 34]) - arrow / 2
    axes.annotate(
        "", tail + arrow, tail, annotation_clip=False, zorder=15,
        arrowprops={"arrowstyle": "-|>", "color": FAINT, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    axes.text(width - 66, 34, "the photo looks this way", color=FAINT, fontsize=8, ha="right", va="center_baseline")


def _draw_legend(axes: Axes, width: float, height: float) -> None:
    y = height - 16
    x = 16.0
    for colour, text in ((LEFT, "left"), (RIGHT, "right"), (MIDDLE, "middle")):
        for thick, shade in ((7.0, CASING), (5.0, colour)):
            axes.plot([x, x + 18], [y, y], color=shade, linewidth=_points(thick), solid_capstyle="round", zorder=15)
        axes.text(x + 28, y, text, color=INK, fontsize=8, va="center_baseline", zorder=15)
        x += 44 + 7 * len(text)
    axes.text(width - 14, y, "floor lines 0.5 m apart", color=FAINT, fontsize=8, ha="right", va="center_baseline")
