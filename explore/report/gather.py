"""What the page shows, read from a study's folder: its tables, what was kept beside them, and its bundles' manifests.

Any part may be missing; what is then not shown is said in `notes`. Nothing here trusts a file: values are numbers,
or text that the page shows as text.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from arch.cost import cost
from arch.describe import describe
from arch.errors import InputError
from arch.space import FAMILIES, Arch, make_arch, preset
from explore.report.equal_error import Point, at_equal_error, spread
from explore.report.kept import Kept, load_kept
from explore.report.people import People, load_people
from explore.report.words import short
from explore.search.front import volumes
from quantize import manifest
from quantize.bundle import load

NUMBERS = (
    "mpjpe_mm", "latency_ms", "macs", "params", "bytes", "memory", "pa_mpjpe_mm", "float_mpjpe_mm", "float_latency_ms",
    "samples", "trial",
)  # fmt: skip
ELSEWHERE = "latency_ms "  # then the device
TEXTS = ("name", "id", "runtime", "recipe", "network", "bundle")


@dataclass(frozen=True)
class Row:
    """One file, or one reference of the user's: `kind` is candidate, shipped or reference.

    paper: a preset, of the paper or of its comparison.
    """

    kind: str
    paper: bool
    texts: dict[str, str]
    numbers: dict[str, float | None]


@dataclass
class Gathered:
    """Everything that the page shows of a study. states: trials by how they ended; history: (minute, volume).

    elsewhere: columns of latency on further devices; equal_error: how the shipped files stand to the presets, in words.
    """

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    rows: list[Row]
    states: dict[str, int]
    kept: Kept
    people: People
    networks: dict[str, Arch]
    certificates: dict[str, dict[str, Any]]
    history: list[tuple[float, float]]
    elsewhere: list[str] = field(default_factory=list)
    equal_error: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def gather(folder: Path, references: list[str] | None = None) -> Gathered:
    """Read a study's folder. references: `NAME:mm:ms`, or the path of a bundle.

    Raises:
        InputError: no study, a file of it that is broken, or a reference that is none.
    """
    if not (folder / "trials.csv").is_file():
        raise InputError(f"{folder}: holds no trials.csv; give the folder of a study, such as results/NAME")
    config = _mapping(folder / "config.yaml")
    kept, people = load_kept(folder), load_people(folder)
    trials, shipped = _table(folder / "trials.csv"), _table(folder / "front.csv")
    networks = _networks(kept, trials + shipped)
    certificates: dict[str, dict[str, Any]] = {}
    for line in shipped:
        path = folder / line.get("bundle", "") / manifest.FILE
        if line.get("bundle") and path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            about = manifest.parse(path)
            networks[about.arch.id] = about.arch
            certificates[line["bundle"]] = {"metrics": about.metrics, "certificate": about.certificate}
    runtime, recipe = str(config.get("runtime", "")), str(config.get("recipe", ""))
    done = [line for line in trials if line.get("state", "complete") == "complete"]
    rows = [_row("candidate", {"runtime": runtime, "recipe": recipe} | line, networks, "trials.csv") for line in done]
    rows += [_row("shipped", line, networks, "front.csv") for line in shipped]
    rows += [_reference(text, networks, certificates) for text in references or []]
    states: dict[str, int] = {}
    for line in trials:
        state = line.get("state", "complete")
        states[state] = states.get(state, 0) + 1
    made = Gathered(
        folder, config, _mapping(folder / "environment.json"), rows, states, kept, people, networks, certificates, []
    )
    made.elsewhere = list(dict.fromkeys(key for line in done + shipped for key in line if key.startswith(ELSEWHERE)))
    made.equal_error = _equal_error(shipped, runtime)
    made.history = _history(made)
    made.notes = _notes(made)
    return made


def stages(networks: dict[str, Arch]) -> dict[str, Any]:
    """Networks stage by stage, each distinct stage once: `rows`, and for each arch id the places `of` its stages."""
    places: dict[tuple[Any, ...], int] = {}
    of = {}
    for name, arch in networks.items():
        steps = [(s.name, s.reads, s.channels, s.size, s.params, s.macs, s.memory_int8) for s in describe(arch)]
        of[name] = [places.setdefault(step, len(places)) for step in steps]
    return {"rows": list(places), "of": of}


def _networks(kept: Kept, lines: list[dict[str, str]]) -> dict[str, Arch]:
    """The networks of the rows as far as they are known: kept by the search, or the paper's by their names."""
    found = {}
    for name, values in kept.networks.items():
        arch = make_arch(values, f"page/study.json: networks: {name[:40]}")
        found[arch.id] = arch
    for line in lines:
        if line.get("arch_id") not in found and line.get("name", "").startswith(FAMILIES):
            try:
                arch = preset(line["name"])
            except InputError:
                continue  # someone else's name for a network
            if arch.id == line["arch_id"]:
                found[arch.id] = arch
    return found


def _row(kind: str, line: dict[str, str], networks: dict[str, Arch], where: str) -> Row:
    numbers = {key: _number(line.get(key, ""), f"{where}: {key}") for key in NUMBERS}
    numbers |= {key: _number(line[key], f"{where}: {key}") for key in line if key.startswith(ELSEWHERE)}
    arch = networks.get(line.get("arch_id", ""))
    if arch is not None:
        numbers["memory"] = cost(arch).peak_activation_bytes_int8
    texts = {key: line.get("arch_id" if key == "id" else key, "") for key in TEXTS}
    texts["network"] = short(arch) if arch is not None else texts["network"]
    return Row(kind, texts["name"].startswith(FAMILIES), texts, numbers)


def _reference(text: str, networks: dict[str, Arch], certificates: dict[str, dict[str, Any]]) -> Row:
    """A row for `NAME:mm:ms`, or for a bundle with what its manifest says was measured."""
    blank: dict[str, float | None] = dict.fromkeys(NUMBERS)
    parts = text.rsplit(":", 2)
    if len(parts) == 3 and not Path(text).exists():
        try:
            mm, ms = float(parts[1]), float(parts[2])
        except ValueError:
            raise InputError(f"reference: '{text}': mm and ms must be numbers; write NAME:mm:ms") from None
        if not (0 < mm < math.inf and 0 < ms < math.inf):
            raise InputError(f"reference: '{text}': mm and ms must be above 0")
        texts = dict.fromkeys(TEXTS, "") | {"name": parts[0]}
        return Row("reference", False, texts, blank | {"mpjpe_mm": mm, "latency_ms": ms})
    if not Path(text).exists():
        raise InputError(f"reference: '{text}' is no bundle; give the path of one, or NAME:mm:ms")
    bundle = load(text)
    arch, metrics, spent = bundle.arch, bundle.manifest.metrics, cost(bundle.arch)
    networks[arch.id] = arch
    certificates[text] = {"metrics": metrics, "certificate": bundle.manifest.certificate}
    texts = {
        "name": arch.name, "id": arch.id, "runtime": bundle.manifest.runtime, "recipe": bundle.manifest.recipe.name,
        "network": short(arch), "bundle": text,
    }  # fmt: skip
    numbers = blank | {
        key: metrics.get(key) for key in ("mpjpe_mm", "pa_mpjpe_mm", "float_mpjpe_mm", "latency_ms", "float_latency_ms")
    }
    numbers |= {
        "macs": spent.macs, "params": spent.params, "bytes": bundle.bytes, "memory": spent.peak_activation_bytes_int8,
    }  # fmt: skip
    return Row("reference", False, texts, numbers)


def _equal_error(shipped: list[dict[str, str]], runtime: str) -> list[str]:
    """Of the files of one runtime whose figures are all there."""
    own: list[Point] = []
    others: list[Point] = []
    for line in shipped:
        keys = ("mpjpe_mm", "latency_ms", "ratio_low", "ratio_high")
        mm, ms, low, high = (_number(line.get(key, ""), f"front.csv: {key}") for key in keys)
        if line.get("runtime") == runtime and mm and ms and low and high:
            kind = others if line["name"].startswith(FAMILIES) else own
            kind.append(Point(line["name"], mm, ms, spread(low, high)))
    return [found.text for found in at_equal_error(own, others)]


def _history(made: Gathered) -> list[tuple[float, float]]:
    """(minute, hypervolume) after each candidate in the order they ended.

    Hypervolume: mm x decades of latency, between the front and the mean pose at the slowest candidate's latency.
    """
    minutes = made.kept.minutes
    done = sorted(
        (minutes[int(trial)], r.numbers["mpjpe_mm"], r.numbers["latency_ms"])
        for r in made.rows
        if r.kind == "candidate" and (trial := r.numbers["trial"]) is not None and int(trial) in minutes
        if r.numbers["mpjpe_mm"] and r.numbers["latency_ms"]
    )
    if not done:
        return []
    ceiling = made.kept.mean_pose_mm or max(mm for _, mm, _ in done)  # type: ignore[type-var]
    grown = volumes([(mm, ms) for _, mm, ms in done], float(ceiling))  # type: ignore[misc]
    return [(minute, volume) for (minute, _, _), volume in zip(done, grown, strict=True)]


def _notes(made: Gathered) -> list[str]:
    notes = []
    unknown = {row.texts["id"] for row in made.rows if row.texts["id"] and row.texts["id"] not in made.networks}
    if unknown:
        notes.append(f"stages of {len(unknown)} networks are unknown: page/study.json is not in this folder")
    if not made.kept.importances:
        notes.append("parameter importances are not known: too few trials, or page/study.json is not in this folder")
    if not made.people.people:
        notes.append("predictions are not shown: page/people.json is not in this folder")
    return notes


def _table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV; none where there is no file."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no CSV table ({error}); copy the study again") from None


def _mapping(path: Path) -> dict[str, Any]:
    """Keys of a YAML or JSON file; none where there is no file."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())}); copy the study again") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no keys; copy the study again")
    return values


def _number(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{where}: '{text[:40]}' is no number; copy the study again") from None
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value
