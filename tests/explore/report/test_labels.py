"""Labels in plots stay readable where points are close."""

from __future__ import annotations

from itertools import combinations

import matplotlib
from matplotlib import pyplot

from explore.report.labels import Label, place_labels

matplotlib.use("Agg")


def test_labels_cover_nothing() -> None:
    figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    places = [(1.0, 10.0), (1.12, 10.2), (1.02, 30.0), (3.0, 10.1), (3.0, 30.0)]
    axes.scatter(*zip(*places, strict=True))
    axes.axhline(30.5)
    axes.margins(0.1)
    axes.text(1.05, 28.8, "an earlier text")
    place_labels(axes, [Label(f"network-{i}", x, y, "red") for i, (x, y) in enumerate(places)])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    marks = axes.transData.transform(places)
    assert not [1 for box in boxes for mark in marks if box.contains(*mark)]
    assert not [box for box in boxes if box.y0 < axes.transData.transform((0, 30.5))[1] < box.y1]
    inside = axes.get_window_extent()
    assert all(inside.x0 < box.x0 and box.x1 < inside.x1 for box in boxes[1:])
    pyplot.close(figure)
