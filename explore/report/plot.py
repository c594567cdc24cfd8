"""The picture of a front: error against latency, candidates, shipped files and the paper's models."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from arch.files import write_atomic
from explore.config import SearchConfig
from explore.report.equal_error import Faster
from explore.report.names import Name, write_names
from explore.search import devices

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from explore.report.study import Shipped, Summary

MARKERS = "osv^P"  # a recipe each
GREY, BLUE, RED = "#9aa3ad", "#1565c0", "#c62828"


def plot_front(path: Path, config: SearchConfig, summary: Summary) -> None:
    """Write a PNG of all finished candidates and of the shipped files of the study's own runtime, a panel a device."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    keys = ["latency_ms", *map(devices.column, devices.further(config))]
    figure, panels = pyplot.subplots(
        1, len(keys), figsize=(9 * len(keys), 5.5), dpi=120, layout="constrained", squeeze=False
    )
    for axes, key in zip(panels[0], keys, strict=True):
        _panel(axes, key, config, summary)
    figure.suptitle(f"{config.name}: networks at {config.scale} px", x=0.01, ha="left", fontsize=11)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    pyplot.close(figure)
    write_atomic(path, image.getvalue())


def _panel(axes: Axes, key: str, config: SearchConfig, summary: Summary) -> None:
    """Error against the latency of one device."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    place = "" if key == "latency_ms" else key.removeprefix("latency_ms ") + ": "
    limits = {devices.column(d): ms for d, ms in devices.limits(config).items()}
    done = [row for row in summary.trials if row["state"] == "complete"]
    others = [row for row in done if row["name"] not in summary.baselines]
    paper = [row for row in done if row["name"] in summary.baselines]
    shipped = sorted((r for r in summary.shipped if r.runtime == config.runtime), key=lambda r: _ms(r, key))
    recipes = list(dict.fromkeys(r["recipe"] for r in others)) or [config.recipe]
    for index, name in enumerate(recipes):
        axes.scatter(
            [r[key] for r in others if r["recipe"] == name],
            [r["mpjpe_mm"] for r in others if r["recipe"] == name],
            s=26,
            c=GREY,
            marker=MARKERS[index % len(MARKERS)],
            label=f"candidates, {config.candidate.samples} samples" + f", {name}" * (name != config.recipe),
        )
    axes.scatter(
        [r[key] for r in paper],
        [r["mpjpe_mm"] for r in paper],
        s=40,
        marker="D",
        c="none",
        edgecolors=RED,
        label=f"the paper's models, {config.candidate.samples} samples",
    )
    total = config.candidate.samples + config.final.samples
    kinds = ", ".join(dict.fromkeys(r.recipe for r in summary.shipped)) or config.recipe
    own = [r for r in shipped if r.name not in summary.baselines]
    theirs = [r for r in shipped if r.name in summary.baselines]
    front = [r for r in shipped if r.on_front]
    if not devices.further(config):  # a front of three objectives is no line
        axes.plot([_ms(r, key) for r in front], [r.mpjpe_mm for r in front], c=BLUE, lw=1.2)
    axes.scatter(
        [_ms(r, key) for r in own],
        [r.mpjpe_mm for r in own],
        s=52,
        c=BLUE,
        zorder=3,
        label=f"shipped {kinds} files, {total} samples",
    )
    if theirs:
        axes.scatter(
            [_ms(r, key) for r in theirs],
            [r.mpjpe_mm for r in theirs],
            s=60,
            marker="D",
            c=RED,
            zorder=3,
            label=f"to compare with, shipped alike, {total} samples",
        )
    if key == "latency_ms" and not devices.further(config):
        _equal_error(axes, [found for found in summary.equal_error if isinstance(found, Faster)])
    axes.axhline(summary.mean_pose_mm, c=GREY, lw=0.8, ls=":")
    axes.text(
        0.995,
        summary.mean_pose_mm,
        "mean pose",
        ha="right",
        va="bottom",
        color=GREY,
        fontsize=8,
        transform=axes.get_yaxis_transform(),
    )
    if key in limits:
        axes.axvline(limits[key], c=RED, lw=0.9, ls="--")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12)  # room for the names of the fastest and the slowest
    same = kinds if recipes == [kinds] else ""  # candidates may be judged by other recipes than they ship by
    named = " ".join(filter(None, (config.runtime, same)))
    axes.set_xlabel(f"{place}latency of the {named} file, ms, {config.measure.threads} thread(s)")
    axes.set_ylabel(f"MPJPE of the same file, mm, {config.data}")
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8, loc="best")
    alike = {r.name for r in theirs}
    names = [Name(r["name"], r[key], r["mpjpe_mm"], RED) for r in paper if r["name"] not in alike]
    names += [Name(r.name, _ms(r, key), r.mpjpe_mm, RED) for r in theirs]
    for file in [r for r in own if r.on_front]:
        name = f"{file.name} {file.recipe}" if "," in kinds else file.name
        names.append(Name(name, _ms(file, key), file.mpjpe_mm, BLUE, 7))
    write_names(axes, names)


def _equal_error(axes: Axes, found: list[Faster]) -> None:
    """A line from each network that is compared with to the front at its error, with how many times faster that is."""
    for one in found:
        axes.plot([one.ms, one.other.ms], [one.other.mm] * 2, c=RED, lw=0.9, ls=(0, (3, 3)), zorder=2)
        middle = (one.ms * one.other.ms) ** 0.5
        axes.annotate(
            f"{one.times:.1f}x faster" if one.times >= 1 else f"{1 / one.times:.1f}x slower",
            (middle, one.other.mm),
            textcoords="offset points",
            xytext=(0, 3),
            ha="center",
            color=RED,
            fontsize=8,
        )


def _ms(file: Shipped, key: str) -> float:
    return file.latency_ms if key == "latency_ms" else file.elsewhere[key]
