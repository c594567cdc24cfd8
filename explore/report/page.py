"""One self-contained index.html for a study: it opens from disk and makes no network requests.

Data travels as gzipped JSON in base64, so that no name in it can end a script element, and is shown as text only. A
content security policy forbids all scripts but the page's own.
"""

from __future__ import annotations

import base64
import datetime
import gzip
import json
from dataclasses import asdict
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from arch.cost import cost
from arch.describe import describe
from arch.files import content_hash, write_atomic
from arch.space import Arch
from explore.data.colours import LEFT, MIDDLE, RIGHT, limb_colour
from explore.report.columns import COUNT_PREFIX, PLOTTED, SOURCE_PREFIX, column, with_devices
from explore.report.comparisons import Comparison
from explore.report.reproduce import commands
from explore.report.snapshot import short_fields
from explore.report.summary import Summary
from explore.search.costs.quantities import is_measured

SCRIPTS = ("unpack.js", "study.js", "skeleton.js", "card.js", "plots.js", "table.js", "main.js")
TABLE_KEYS = (
    "name", "kind", "part", "runtime", "recipe", "mpjpe_mm", "latency_ms", "front", "checks_failed", "bytes", "macs", "params",
    "pa_mpjpe_mm", "float_mpjpe_mm", "float_latency_ms", "memory", "samples", "network",
)  # fmt: skip
OTHER_KEYS = ("arch_id", "trial", "bundle", "mpjpe_low_mm", "mpjpe_high_mm", "units")  # of the download and for details
DIGITS = 6  # significant digits of a figure


def write_page(summary: Summary, path: Path | None = None, live: bool = False) -> None:
    """Write the page of a study to `path` (default: index.html in its folder). live: the page reloads itself."""
    write_atomic(path or summary.folder / "index.html", render(summary, live))


def render(summary: Summary, live: bool = False) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    first = json.dumps(_first(summary, live), separators=(",", ":"), allow_nan=False)
    later = json.dumps(_later(summary), separators=(",", ":"), allow_nan=False)
    templates = files("explore.report") / "templates"
    environment = Environment(loader=PackageLoader("explore.report"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("study.html").render(
        title=summary.name,
        style=(templates / "page.css").read_text(),
        scripts="\n".join((templates / name).read_text() for name in SCRIPTS),
        plotly=_plotly(),
        first=_packed(first),
        later=_packed(later),
        nonce=content_hash(first + later, 32),
    )


def _first(summary: Summary, live: bool) -> dict[str, Any]:
    """Return what the page needs to draw itself: the rows by column, and the facts about the study."""
    rows = [*summary.complete, *summary.exported, *summary.references]
    memory = {arch_id: cost(arch).peak_activation_bytes_int8 for arch_id, arch in summary.snapshot.networks.items()}
    latencies = ("latency_ms", *summary.devices)
    keys = with_devices(TABLE_KEYS, summary.devices, sources=True)
    values: dict[str, list[Any]] = {key: [_value(row.get(key)) for row in rows] for key in (*keys, *OTHER_KEYS)}
    values["memory"] = [memory.get(row.arch_id) if row.memory != row.memory else row.memory for row in rows]
    values["baseline"] = [row.baseline for row in rows]
    for key in ("kind", "runtime", "recipe"):  # texts that repeat travel as places in a list
        distinct = list(dict.fromkeys(values[key]))
        values[key] = [distinct.index(value) for value in values[key]]
        values[f"{key}_values"] = distinct
    settings, environment = summary.settings, summary.environment
    shown = ("data", "input_size", "space", "objectives", "limits", "runtime", "quantization", "hash", "seed", "trials")
    return {
        "study": summary.name,
        "values": values,
        "columns": [asdict(column(key)) | {"header": column(key).header} for key in (*keys, *OTHER_KEYS)],
        "plotted": [*PLOTTED, *summary.devices],
        "objectives": summary.objectives,
        "sources": {key: SOURCE_PREFIX + key for key in latencies if not key.startswith(COUNT_PREFIX)},
        "predicted": sorted({source for row in rows for source in row.sources.values() if not is_measured(source)}),
        "states": summary.states,
        "live": live,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "about": {key: settings[key] for key in shown if key in settings}
        | {key: environment[key] for key in ("machine", "versions", "data_hash") if key in environment}
        | {"mean_pose_mm": summary.snapshot.mean_pose_mm, "candidates_mean_pose_mm": summary.candidates_mean_pose_mm},
        "parts": summary.parts_note,
        "intervals": summary.interval_note,
        "latencies": summary.latency_note,
        "importances": summary.snapshot.importances,
        "history": [[round(minute, 2), _value(volume)] for minute, volume in summary.history],
        "iso_accuracy": comparison_lines(summary),
        "notes": summary.problems if live else summary.notes,  # a running study lacks nothing yet
    }


def comparison_lines(summary: Summary) -> list[str]:
    """Return the comparisons with the baselines, each with its condition: equal training compute or equal samples."""
    if not summary.equal_samples:
        return [found.text for found in summary.iso_accuracy]
    return [f"Equal training compute: {found.text}" for found in summary.iso_accuracy] + [
        f"Equal samples, float networks: {found.text}" for found in summary.iso_accuracy_at_equal_samples
    ]


def _later(summary: Summary) -> dict[str, Any]:
    """Return what the page needs for the details of one row."""
    rows = {row.file_key: row for row in (*summary.trials, *summary.exported, *summary.equal_samples)}

    def is_current(one: Comparison) -> bool:
        """Return whether a comparison is one of the rows, not of earlier files."""
        return {one.a, one.b} <= rows.keys() and bool(summary.comparisons.difference(rows[one.a], rows[one.b]))

    predictions = summary.predictions.model_dump(mode="json")
    joints, colours = summary.predictions.joints, {LEFT: "left", RIGHT: "right", MIDDLE: "middle"}
    predictions["sides"] = [
        colours[limb_colour(joints[start], joints[end])] for start, end in summary.predictions.edges
    ]
    return {
        "stages": stages(summary.snapshot.networks),
        "networks": {name: short_fields(arch) for name, arch in summary.snapshot.networks.items()},
        "certificates": summary.certificates,
        "comparisons": [one.model_dump(mode="json") for one in summary.snapshot.comparisons if is_current(one)],
        "people": predictions,
        "commands": commands(summary.settings, str(summary.folder)),
    }


def stages(networks: dict[str, Arch]) -> dict[str, Any]:
    """Return the distinct stages of all networks as `rows`, and the places of each network's stages by id as `of`."""
    places: dict[tuple[Any, ...], int] = {}
    of = {}
    for name, arch in networks.items():
        steps = [(s.name, s.reads, s.channels, s.size, s.params, s.macs, s.memory_int8) for s in describe(arch)]
        of[name] = [places.setdefault(step, len(places)) for step in steps]
    return {"rows": list(places), "of": of}


def _value(value: Any) -> Any:
    """Return a value for JSON: floats with few digits, NaN and infinity as null."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{DIGITS}g}") if abs(value) < float("inf") else None


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


@lru_cache(maxsize=1)
def _plotly() -> str:
    """Return plotly.js, 4.8 MB, packed to 2 MB."""
    from plotly.offline import get_plotlyjs

    return _packed(get_plotlyjs())
