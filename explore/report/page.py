"""One self-contained index.html of a study: opens from disk, asks the network for nothing.

All that comes from a study travels as compressed JSON in base64, which no name in it can break out of, and is shown as
text only; a content security policy forbids everything but the page's own scripts.
"""

from __future__ import annotations

import base64
import datetime
import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from arch.files import content_hash, write_atomic
from explore.data.colours import LEFT, MIDDLE, RIGHT, limb_colour
from explore.report.gather import NUMBERS, TEXTS, Gathered, gather, stages
from explore.report.kept import short_fields
from explore.report.reproduce import commands

TEMPLATES = Path(__file__).with_name("templates")
SCRIPTS = ("unpack.js", "study.js", "skeleton.js", "card.js", "plots.js", "table.js", "main.js")
DIGITS = 6  # significant ones of a figure


def write_page(
    folder: Path, path: Path | None = None, references: list[str] | None = None, live: bool = False
) -> Gathered:
    """Write the page of a study, `folder`/index.html unless `path` says otherwise, from what the folder holds.

    live: the page loads itself again now and then. Returns what it shows.

    Raises:
        InputError: see `gather`.
    """
    found = gather(folder, references)
    write_atomic(path or folder / "index.html", render(found, live))
    return found


def render(found: Gathered, live: bool = False) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    first = json.dumps(_first(found, live), separators=(",", ":"), allow_nan=False)
    later = json.dumps(_later(found), separators=(",", ":"), allow_nan=False)
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("study.html").render(
        title=found.folder.resolve().name,
        style=(TEMPLATES / "page.css").read_text(),
        scripts="\n".join((TEMPLATES / name).read_text() for name in SCRIPTS),
        plotly=_plotly(),
        first=_packed(first),
        later=_packed(later),
        nonce=content_hash(first + later, 32),
    )


def _first(found: Gathered, live: bool) -> dict[str, Any]:
    """What the page needs at once: the rows as columns, and the small facts."""
    columns: dict[str, list[Any]] = {
        key: [_short(row.numbers.get(key)) for row in found.rows] for key in (*NUMBERS, *found.elsewhere)
    }
    columns |= {key: [row.texts[key] for row in found.rows] for key in TEXTS}
    columns["kind"] = [row.kind for row in found.rows]
    columns["paper"] = [row.paper for row in found.rows]
    # Repeated texts as places in a list: 5,000 rows name one runtime and a handful of recipes.
    for key in ("kind", "runtime", "recipe"):
        values = list(dict.fromkeys(columns[key]))
        columns[key] = [values.index(value) for value in columns[key]]
        columns[f"{key}_values"] = values
    config = found.config
    return {
        "study": found.folder.resolve().name,
        "columns": columns,
        "states": found.states,
        "elsewhere": found.elsewhere,
        "live": live,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "about": {key: config[key] for key in ("data", "scale", "space", "runtime", "recipe", "hash") if key in config}
        | {key: found.environment[key] for key in ("machine", "versions", "data_hash") if key in found.environment}
        | {"mean_pose_mm": found.kept.mean_pose_mm, "seed": config.get("seed"), "trials": config.get("trials")},
        "importances": found.kept.importances,
        "history": [[round(minute, 2), _short(volume)] for minute, volume in found.history],
        "equal_error": found.equal_error,
        "notes": found.notes,
    }


def _later(found: Gathered) -> dict[str, Any]:
    """What the page unpacks when a network is looked at."""
    people = found.people.model_dump(mode="json")
    names = found.people.joints
    colours = {LEFT: "left", RIGHT: "right", MIDDLE: "middle"}
    people["sides"] = [colours[limb_colour(names[start], names[end])] for start, end in found.people.edges]
    return {
        "stages": stages(found.networks),
        "networks": {name: short_fields(arch) for name, arch in found.networks.items()},
        "certificates": found.certificates,
        "people": people,
        "commands": commands(found.config, str(found.folder)),
    }


def _short(value: float | None) -> float | None:
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.{DIGITS}g}")


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


@lru_cache(maxsize=1)
def _plotly() -> str:
    """plotly.js, 4.8 MB, as 2 MB of text."""
    from plotly.offline import get_plotlyjs

    return _packed(get_plotlyjs())
