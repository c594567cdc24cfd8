"""The summary of a finished study from the files in its folder, also without its storage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from arch.cost import cost
from arch.documents import load_mapping
from arch.errors import InputError, describe
from arch.space import PRESET_PREFIXES, Arch, preset
from explore.evaluation.intervals import Interval
from explore.report.predictions import load_predictions
from explore.report.rows import Row
from explore.report.snapshot import load_snapshot
from explore.report.summary import Summary, architecture, label_rows, settings_of
from explore.report.tables import TRIALS, read_equal_samples, read_rows
from explore.search.config import SearchConfig
from explore.search.costs.quantities import peak_memory
from explore.search.storage.records import interval_figures
from quantize import manifest
from quantize.bundle import load

CONFIG, ENVIRONMENT = "config.yaml", "environment.json"
MAX_WRITTEN = 1_000_000  # bytes of such a file; searches write them


def read_summary(folder: Path, problems: tuple[str, ...] = ()) -> Summary:
    """Read the tables of a study, `page/`, the manifests of its bundles, its configuration and its environment.

    Everything but trials.csv may be missing.

    problems: what could not be read or made before

    Raises:
        InputError: no study, or a file of it is broken.
    """
    if not (folder / TRIALS).is_file():
        raise InputError(f"{folder}: contains no trials.csv; give the folder of a study, such as results/NAME")
    snapshot, settings = load_snapshot(folder), read_settings(folder)
    trials, exported = read_rows(folder, str(settings.get("runtime", "")))
    networks = _presets([*trials, *exported]) | snapshot.networks
    certificates = {}
    for row in exported:
        path = folder / row.bundle / manifest.FILE
        if row.bundle and path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            about = manifest.parse(path)
            networks[about.arch.id] = about.arch
            certificates[row.bundle] = about.certificate
    return Summary(
        folder=folder,
        settings=settings,
        environment=read_mapping(folder / ENVIRONMENT),
        trials=label_rows(trials, networks),
        exported=label_rows(exported, networks),
        equal_samples=label_rows(read_equal_samples(folder), networks),
        certificates=certificates,
        snapshot=snapshot.model_copy(update={"networks": networks}),
        predictions=load_predictions(folder),
        problems=problems,
    )


def config_of(folder: Path) -> SearchConfig:
    """Return the configuration of the study in `folder`, with `results` and `study` set to where it is now.

    Raises:
        InputError: no configuration, or one of another version.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    place = folder.resolve()
    values = read_mapping(path) | {"results": str(place.parent), "study": place.name}
    values.pop("hash", None)
    try:
        return SearchConfig(**values)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, SearchConfig)}") from None


def read_settings(folder: Path) -> dict[str, Any]:
    """Return config.yaml as plain values: under present key names if it is valid, else as it is."""
    values = read_mapping(folder / CONFIG)
    try:
        config = config_of(folder)
    except InputError:
        return values
    return settings_of(config) | ({"hash": values["hash"]} if "hash" in values else {})


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the keys of a YAML or JSON file; empty if there is no file.

    Raises:
        InputError: the file is broken.
    """
    return load_mapping(path, "its keys again, or copy the study again", MAX_WRITTEN) if path.is_file() else {}


def with_references(summary: Summary, references: Sequence[str]) -> Summary:
    """Return the summary with the user's own models, each `NAME:mm:ms` or the path of a bundle.

    Raises:
        InputError: a reference is neither.
    """
    rows, networks, certificates = [], dict(summary.snapshot.networks), dict(summary.certificates)
    for text in references:
        if text.count(":") >= 2 and not Path(text).exists():
            rows.append(_reference(text))
            continue
        if not Path(text).exists():
            raise InputError(f"reference: '{text}' is not a bundle; give the path of one, or NAME:mm:ms")
        bundle = load(text)
        arch, about, spent = bundle.arch, bundle.manifest, cost(bundle.arch)
        networks[arch.id], certificates[text] = arch, about.certificate
        keys = ("mpjpe_mm", "pa_mpjpe_mm", "float_mpjpe_mm", "latency_ms", "float_latency_ms")
        metrics: dict[str, Any] = {key: about.metrics.get(key, math.nan) for key in keys}
        row = Row(
            name=arch.name,
            arch_id=arch.id,
            runtime=about.runtime,
            recipe=about.recipe.name,
            part=about.evaluation.part if about.evaluation else "test",
            bundle=text,
            **metrics,
            **_interval(about.evaluation),
        )
        row = replace(row, macs=spent.macs, params=spent.params, bytes=bundle.bytes, network=architecture(arch))
        rows.append(replace(row, memory=round(peak_memory(arch, about.recipe))))
    snapshot = summary.snapshot.model_copy(update={"networks": networks})
    return replace(summary, references=tuple(rows), snapshot=snapshot, certificates=certificates)


def _interval(evaluation: manifest.Evaluation | None) -> dict[str, Any]:
    """Return the figures of the interval in a manifest; those of version 0.1 have none."""
    found = evaluation.mpjpe_interval if evaluation else None
    return interval_figures(Interval(**found.model_dump())) if found else {}


def _reference(text: str) -> Row:
    name, mm_text, ms_text = text.rsplit(":", 2)
    try:
        mm, ms = float(mm_text), float(ms_text)
    except ValueError:
        raise InputError(f"reference: '{text}': mm and ms must be numbers; write NAME:mm:ms") from None
    if not (0 < mm < math.inf and 0 < ms < math.inf):
        raise InputError(f"reference: '{text}': mm and ms must be above 0")
    return Row(name=name, mpjpe_mm=mm, latency_ms=ms)


def _presets(rows: Sequence[Row]) -> dict[str, Arch]:
    """Return the networks of rows that are named like their presets."""
    found = {}
    for row in rows:
        if row.name.startswith(PRESET_PREFIXES):
            try:
                arch = preset(row.name)
            except InputError:
                continue  # a name of the user's
            if arch.id == row.arch_id:
                found[arch.id] = arch
    return found
