"""trials.csv and front.csv, and the same rows as tables for the terminal and for Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from arch.errors import InputError
from arch.files import write_atomic
from explore.report.columns import (
    COUNT_PREFIX,
    DEVICE_PREFIX,
    EXPORTED_KEYS,
    SOURCE_PREFIX,
    TRIAL_KEYS,
    column,
    key_of,
    with_devices,
)
from explore.report.comparisons import NOT_TESTED
from explore.report.rows import AnyRow, EqualSamplesRow, ExportedRow, Row, TrialRow
from explore.report.summary import Summary

TRIALS, FRONT, EQUAL_SAMPLES = "trials.csv", "front.csv", "equal_samples.csv"
NOT_MEASURED = "~"  # before a predicted latency
FRONT_TABLE_KEYS = (
    "mpjpe_mm", "pa_mpjpe_mm", "float_mpjpe_mm", "latency_ms", "float_latency_ms", "macs", "params", "bytes", "front",
)  # fmt: skip
Table = list[tuple[str, ...]]  # cells, header first


def write_tables(summary: Summary) -> None:
    """Write trials.csv and front.csv of a study, and equal_samples.csv if its finalists are compared on these, too."""
    stamp = {"seed": summary.settings.get("seed"), "config_hash": summary.settings.get("hash")}
    for name, keys, rows in ((TRIALS, TRIAL_KEYS, summary.trials), (FRONT, EXPORTED_KEYS, summary.exported)):
        write_atomic(summary.folder / name, to_csv(with_devices(keys, summary.devices, sources=True), rows, stamp))
    if summary.equal_samples:
        write_atomic(summary.folder / EQUAL_SAMPLES, to_csv(EXPORTED_KEYS, summary.equal_samples, stamp))
    else:
        (summary.folder / EQUAL_SAMPLES).unlink(missing_ok=True)


def to_csv(keys: Sequence[str], rows: Sequence[Row], stamp: dict[str, Any]) -> str:
    """Return rows as CSV under the headers of `explore.report.columns`. stamp: values that all rows share."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column(key).header for key in keys])
    for row in rows:
        writer.writerow([_cell(key, stamp[key] if key in stamp else row.get(key)) for key in keys])
    return file.getvalue()


def _cell(key: str, value: Any) -> Any:
    """Return a value in the unit of the column's header, exactly; empty if missing."""
    if value is None or value != value:
        return ""
    scale = column(key).scale
    return value if scale == 1 else f"{value / scale:.6f}".rstrip("0").rstrip(".")


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of trials.csv or front.csv by column key, values in the unit of the key.

    Reads the headers of version 0.1, too. A missing file has no rows.

    Raises:
        InputError: the file is no CSV table, or has a word in place of a number.
    """
    if not path.exists():
        return []
    if path.is_dir():
        raise InputError(f"{path}: a folder, not a CSV table; copy the study again")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = [{header: value or "" for header, value in row.items() if header} for row in csv.DictReader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV table ({error}); copy the study again") from None
    return [{key_of(header): _in_key_unit(path, header, text) for header, text in line.items()} for line in lines]


def _in_key_unit(path: Path, header: str, text: str) -> str:
    key = key_of(header)
    if key == header or not text or (scale := column(key).scale) == 1:
        return text
    return str(round(_number(path, header, text) * scale))


def read_rows(folder: Path, runtime: str = "") -> tuple[tuple[TrialRow, ...], tuple[ExportedRow, ...]]:
    """Return the rows of a study's tables. runtime: of the trials, whose table does not name it.

    Raises:
        InputError: see `read_table`.
    """
    trials, front = folder / TRIALS, folder / FRONT
    return (
        tuple(
            _row(TrialRow, trials, _of_version_0_1(line) | {"runtime": runtime, "state": "complete"} | line)
            for line in read_table(trials)
        ),
        tuple(_row(ExportedRow, front, _of_version_0_1(line) | line) for line in read_table(front)),
    )


def read_equal_samples(folder: Path) -> tuple[EqualSamplesRow, ...]:
    """Return the rows of equal_samples.csv; none if there is no such table.

    Raises:
        InputError: see `read_table`.
    """
    path = folder / EQUAL_SAMPLES
    return tuple(_row(EqualSamplesRow, path, line) for line in read_table(path))


def equal_samples_table(rows: Sequence[ExportedRow]) -> Table:
    """Return the table of the finalists after equal samples."""
    keys = ("name", "samples", "mpjpe_mm", "pa_mpjpe_mm", "latency_ms", "macs", "front")
    headers = {"mpjpe_mm": "float MPJPE mm", "pa_mpjpe_mm": "float PA-MPJPE mm"}
    return [
        tuple(headers.get(key, column(key).header) for key in keys),
        *(tuple(_text(row, key) for key in keys) for row in rows),
    ]


def _of_version_0_1(line: dict[str, str]) -> dict[str, str]:
    """Return the part and the place on the front of a row of version 0.1, whose tables do not name them."""
    is_evaluated, is_on_front = bool(line.get("mpjpe_mm")), line.get("on_front") == "True"
    return {"part": "test" if is_evaluated else "", "front": NOT_TESTED if is_on_front else ""}


def _row(kind: type[AnyRow], path: Path, line: dict[str, str]) -> AnyRow:
    values: dict[str, Any] = {}
    for each in fields(kind):
        text = line.get(each.name, "")
        if each.type == "float" and text:
            values[each.name] = _number(path, each.name, text)
        elif each.type == "str":
            values[each.name] = text
        elif each.type == "bool":
            values[each.name] = text == "True"
    costs = {key: text for key, text in line.items() if key.startswith((DEVICE_PREFIX, COUNT_PREFIX)) and text}
    remote = {key: _number(path, key, text) for key, text in costs.items()}
    sources: dict[str, Any] = {
        key.removeprefix(SOURCE_PREFIX): text for key, text in line.items() if key.startswith(SOURCE_PREFIX) and text
    }
    return kind(**values, remote=remote, sources=sources)


def _number(path: Path, key: str, text: str) -> float:
    with suppress(ValueError):
        if math.isfinite(value := float(text)):
            return int(value) if value.is_integer() else value
    raise InputError(f"{path}: {key}: '{text[:40]}' is not a number; copy the study again")


def front_table(exported: Sequence[ExportedRow], runtime: str, objectives: Sequence[str] = ()) -> Table:
    """Return the table of one runtime's files; with columns for recipe and training samples if these differ.

    objectives: column keys, which the table contains in any case
    """
    rows = [row for row in exported if row.runtime == runtime]
    devices = tuple(dict.fromkeys(key for row in rows for key in row.remote))
    several = len({row.recipe for row in exported}) > 1
    further = ("samples",) if len({row.samples for row in exported}) > 1 else ()
    keys = with_devices(("name", *(("recipe",) if several else ()), *FRONT_TABLE_KEYS), devices)
    keys = (*keys[:-1], *(key for key in (*objectives, *further) if key not in keys), keys[-1])
    return [tuple(column(key).header for key in keys), *(tuple(_text(row, key) for key in keys) for row in rows)]


def _text(row: Row, key: str) -> str:
    if key == "mpjpe_mm":
        return row.mpjpe_text
    value = row.get(key)
    return value if isinstance(value, str) else NOT_MEASURED * (not row.is_measured(key)) + column(key).text(value)


def to_markdown(table: Table) -> str:
    """Return a table in Markdown: first column left-aligned, the others right-aligned."""
    lines = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([lines[0], "|---" + "|---:" * (len(table[0]) - 1) + "|", *lines[1:]])
