"""Names beside the points of a plot, each where it hides least."""

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

Place = tuple[float, float, str]  # x and y in points from the mark, and which part of the text is there
PLACES: list[Place] = [
    (7, -11, "left"), (7, 5, "left"), (-7, -11, "right"), (-7, 5, "right"), (0, 9, "center"), (0, -17, "center"),
]  # fmt: skip
OUTSIDE, TEXT = 1000, 10  # what a name outside the plot and one over another text count as, in points that it hides


@dataclass(frozen=True)
class Name:
    """A text beside a point of the plot."""

    text: str
    x: float
    y: float
    colour: str
    size: float = 8


def write_names(axes: Axes, names: Sequence[Name]) -> None:
    """Write names into a plot that has everything else, clear of its marks, lines and texts as far as that goes."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # settles where everything is
    points, legend = _points(axes), axes.get_legend()
    texts = [text.get_window_extent() for text in axes.texts] + ([legend.get_window_extent()] if legend else [])
    inside = axes.get_window_extent()
    for name in names:
        text = axes.annotate(
            name.text, (name.x, name.y), (0, 0), textcoords="offset points", color=name.colour, fontsize=name.size
        )
        put(text, min(PLACES, key=lambda place: _hides(put(text, place), points, texts, inside)))
        texts.append(text.get_window_extent())


def put(text: Annotation, place: Place) -> Bbox:
    """Move the text; returns where it is now, px."""
    text.set_position(place[:2])
    text.set(horizontalalignment=place[2])
    return text.get_window_extent().padded(2)


def _hides(box: Bbox, points: NDArray[np.float64], texts: list[Bbox], inside: Bbox) -> int:
    within = ((points > box.min) & (points < box.max)).all(1).sum()
    whole = inside.contains(*box.min) and inside.contains(*box.max)
    return int(within) + TEXT * box.count_overlaps(texts) + OUTSIDE * (not whole)


def _points(axes: Axes) -> NDArray[np.float64]:
    """Marks, and lines as the points along them, px."""
    marks: list[Any] = [axes.transData.transform(marks.get_offsets()) for marks in axes.collections]
    lines = [line.get_transform().transform_path(line.get_path()).interpolated(100).vertices for line in axes.lines]
    return np.concatenate([*marks, *lines])
