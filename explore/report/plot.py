"""front.png: error and costs of the candidates, the exported files and the baselines of a study."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arch.files import write_atomic
from explore.report.columns import column
from explore.report.labels import Label, place_labels
from explore.report.rows import Row
from explore.report.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2  # of panels
MARKERS = "osv^P"  # one for each quantization recipe
GREY, BLUE, RED = "#9aa3ad", "#1565c0", "#c62828"


def plot_front(summary: Summary) -> None:
    """Write front.png of a study: complete candidates and exported files of its runtime, a panel for each cost."""
    from matplotlib.figure import Figure

    keys = tuple(dict.fromkeys((*summary.costs, *summary.devices)))
    columns = min(len(keys), COLUMNS)
    lines = -(-len(keys) // columns)
    figure = Figure(figsize=(9 * columns, 5.5 * lines), dpi=120, layout="constrained")
    for axes, key in zip_longest(figure.subplots(lines, columns, squeeze=False).flat, keys):
        if key is None:
            axes.axis("off")
        else:
            _plot_panel(axes, key, summary)
    figure.suptitle(
        f"{summary.name}: networks at {summary.settings['input_size']} px on {summary.settings['data']}",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    write_figure(summary.folder / "front.png", figure)


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG, atomically."""
    image = io.BytesIO()
    figure.savefig(image, format="png")
    write_atomic(path, image.getvalue())


def _plot_panel(axes: Axes, key: str, summary: Summary) -> None:
    """Draw the error against one cost."""
    settings = summary.settings
    short, total = settings["candidate"]["samples"], settings["candidate"]["samples"] + settings["final"]["samples"]
    training = "equal training compute" if summary.has_equal_compute else f"{total} samples"
    candidates = [row for row in summary.complete if not row.baseline]
    baselines = [row for row in summary.complete if row.baseline]
    exported = sorted(
        (r for r in summary.exported if r.runtime == settings["runtime"] and r.get(key) == r.get(key)),
        key=lambda r: float(r.get(key)),
    )
    own, exported_baselines = ([r for r in exported if r.baseline is known] for known in (False, True))
    part = summary.candidates_part
    recipes = list(dict.fromkeys(row.recipe for row in candidates)) or [settings["quantization"]]
    exported_recipes = ", ".join(dict.fromkeys(row.recipe for row in exported)) or settings["quantization"]

    def x(row: Row) -> float:
        return float(row.get(key)) / column(key).scale

    def scatter(rows: Sequence[Row], label: str, **style: Any) -> None:
        """Draw rows, with open marks where the cost is a prediction."""
        known = [r for r in rows if r.is_measured(key)]
        for mine in (known, [r for r in rows if not r.is_measured(key)]):
            if mine and mine is not known:
                filled = style.pop("c")
                label = f"{label}; latency predicted"
                style |= {"facecolors": "white", "edgecolors": style["edgecolors"] if filled == "none" else filled}
            if mine:
                axes.scatter([x(r) for r in mine], [r.mpjpe_mm for r in mine], label=label, **style)

    def bars(rows: Sequence[Row], colour: str) -> None:
        """Draw the 95% intervals of the errors."""
        for row in rows:
            if row.has_interval:
                axes.plot([x(row)] * 2, [row.mpjpe_low_mm, row.mpjpe_high_mm], c=colour, lw=0.9, zorder=2)

    for index, recipe in enumerate(recipes):
        mine = [row for row in candidates if row.recipe == recipe]
        label = f"candidates, {part} part, {short} samples" + f", {recipe}" * (recipe != settings["quantization"])
        scatter(mine, label, s=26, c=GREY, marker=MARKERS[index % len(MARKERS)])
    scatter(baselines, f"baselines, {part} part, {short} samples", s=40, c="none", edgecolors=RED, marker="D")
    front = [row for row in exported if row.on_front]
    if len(summary.objectives) == 2 and key in summary.costs:  # a front of three objectives is not a line
        axes.step([x(r) for r in front], [r.mpjpe_mm for r in front], where="post", c=BLUE, lw=1.2)
    scatter(own, f"exported {exported_recipes} files, test part, {training}", s=52, c=BLUE, zorder=3)
    scatter(exported_baselines, f"exported baselines, test part, {training}", s=60, c=RED, marker="D", zorder=3)
    bars(own, BLUE)
    bars(exported_baselines, RED)
    if summary.snapshot.mean_pose_mm is not None:
        axes.axhline(summary.snapshot.mean_pose_mm, c=GREY, lw=0.8, ls=":")
        place = axes.get_yaxis_transform()
        axes.text(0.995, summary.snapshot.mean_pose_mm, "mean-pose baseline, test part", ha="right", va="bottom", color=GREY, fontsize=8, transform=place)  # fmt: skip
    if key in summary.limits:
        limit = summary.limits[key] / column(key).scale
        axes.axvline(limit, c=RED, lw=0.9, ls="--", label=f"limit, {limit:.4g} {column(key).unit}")
    threads = settings["measure"]["threads"]
    file = f"{settings['runtime']} {exported_recipes if recipes == [exported_recipes] else ''}".strip()
    _label_axes(
        axes,
        f"{column(key).header} of the {file} file"
        + (f", {threads} {'thread' if threads == 1 else 'threads'}" if "latency" in key else ""),
    )
    named = {row.name for row in exported_baselines}
    labels = [Label(r.name, x(r), r.mpjpe_mm, RED) for r in baselines if r.name not in named]
    labels += [Label(r.name, x(r), r.mpjpe_mm, RED) for r in exported_baselines]
    for row in own:
        if row.on_front:
            name = f"{row.name} {row.recipe}" if "," in exported_recipes else row.name
            labels.append(Label(name, x(row), row.mpjpe_mm, BLUE, 7))
    place_labels(axes, labels)


def _label_axes(axes: Axes, x: str) -> None:
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12)  # room for the names of the fastest and the slowest
    axes.set_xlabel(f"{x} (log scale, lower is better)")
    axes.set_ylabel("MPJPE mm of the same file (linear scale, lower is better)")
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8, loc="best")
