"""Labels beside the points of a plot, placed where they overlap least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

Place = tuple[float, float, str]  # offset from the point in points (1/72 inch), and horizontal alignment
PLACES: list[Place] = [
    (7, -11, "left"), (7, 5, "left"), (-7, -11, "right"), (-7, 5, "right"), (0, 9, "center"), (0, -17, "center"),
    (4, -22, "left"), (4, 15, "left"), (-4, -22, "right"), (-4, 15, "right"),
]  # fmt: skip
OUTSIDE_COST, TEXT_COST = 10_000, 200  # of leaving the plot and of covering another text, in covered points


@dataclass(frozen=True)
class Label:
    """A text for the point (x, y), in data coordinates."""

    text: str
    x: float
    y: float
    colour: str
    size: float = 8


def place_labels(axes: Axes, labels: Sequence[Label]) -> None:
    """Add labels to a finished plot, one after the other where they cover the fewest marks, lines and texts."""
    from matplotlib.patheffects import withStroke

    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # computes the layout
    halo = [withStroke(linewidth=2.5, foreground="white")]
    points, legend = _points(axes), axes.get_legend()
    texts = [text.get_window_extent() for text in axes.texts] + ([legend.get_window_extent()] if legend else [])
    inside = axes.get_window_extent()
    for label in sorted(labels, key=lambda label: -label.x):
        text = axes.annotate(
            label.text, (label.x, label.y), (0, 0), textcoords="offset points", color=label.colour, fontsize=label.size,
            path_effects=halo,
        )  # fmt: skip
        _move(text, min(PLACES, key=lambda place: _cost(_move(text, place), points, texts, inside)))
        texts.append(text.get_window_extent())


def _move(text: Annotation, place: Place) -> Bbox:
    """Move a text; return its box in px."""
    text.set_position(place[:2])
    text.set(horizontalalignment=place[2])
    return text.get_window_extent().padded(2)


def _cost(box: Bbox, points: NDArray[np.float64], texts: list[Bbox], inside: Bbox) -> int:
    covered = ((points > box.min) & (points < box.max)).all(1).sum()
    is_inside = inside.contains(*box.min) and inside.contains(*box.max)
    return int(covered) + TEXT_COST * box.count_overlaps(texts) + OUTSIDE_COST * (not is_inside)


def _points(axes: Axes) -> NDArray[np.float64]:
    """Return the marks, and points along the lines but dotted ones, in px."""
    marks: list[Any] = [axes.transData.transform(marks.get_offsets()) for marks in axes.collections]
    lines = [
        line.get_transform().transform_path(line.get_path()).interpolated(100).vertices
        for line in axes.lines
        if line.get_linestyle() != ":"
    ]
    return np.concatenate([*marks, *lines])
