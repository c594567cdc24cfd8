"""Tables 7, 8 and 9 of the paper as printed, and results of `train` as additional rows.

Choi, Choi and Kim: MobileHumanPose, CVPR Workshops 2021. Tables 7 and 8: PA-MPJPE (protocol 1) and MPJPE (protocol 2)
on Human3.6M by action, in mm. Table 9: 3DPCK_rel on MuPoTS-3D by sequence, in percent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arch.errors import InputError
from explore.report.rows import with_interval

ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting", "SittingDown",
    "Smoking", "Photo", "Waiting", "Walking", "WalkDog", "WalkTogether",
)  # fmt: skip
SHORT = (
    "Dir.", "Dis.", "Eat.", "Gre.", "Phon.", "Pose", "Pur.", "Sit.", "SitD.", "Smo.", "Phot.", "Wait", "Walk", "WalkD.",
    "WalkP.",
)  # fmt: skip
SEQUENCES = tuple(f"TS{number}" for number in range(1, 21))

RESULT_KEYS = {
    "name", "test", "protocol", "params", "mpjpe_mm", "per_action_mm", "rigid_mpjpe_mm", "rigid_per_action_mm",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One method.

    values: by column, None if missing; average: as printed; params: in millions
    interval: 95% bootstrap interval of the average, for own results; units: what was resampled, such as "236 clips"
    """

    method: str
    values: tuple[float | None, ...]
    average: float
    params: float | None = None
    interval: tuple[float, float] | None = None
    units: str = ""


@dataclass(frozen=True)
class Table:
    """One table of the paper."""

    name: str
    about: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def _row(method: str, numbers: str, params: float | None = None) -> Row:
    *values, average = (float(number) for number in numbers.split())
    return Row(method, tuple(values), average, params)


TABLE_7 = Table(
    "Table 7",
    "Human3.6M, protocol 1, PA-MPJPE in mm",
    SHORT,
    (
        _row("Martinez", "39.5 43.2 46.4 47.0 51.0 56.0 41.4 40.6 56.5 69.4 49.2 45.0 49.5 38.0 43.1 47.7"),
        _row("Fang", "38.0 41.7 43.7 44.9 48.5 55.3 40.2 38.2 54.5 64.4 47.2 44.3 47.3 36.7 41.7 45.7"),
        _row("Sun", "36.9 36.2 40.6 40.4 41.9 34.9 35.7 50.1 59.4 40.4 44.9 39.0 30.8 39.8 36.7 40.6", 34.00),
        _row("Moon", "31.0 30.6 39.9 35.5 34.8 30.2 32.1 35.0 43.8 35.7 37.6 30.1 24.6 35.7 29.3 34.0", 34.34),
        _row("Chen", "27.5 30.9 34.0 35.5 32.4 30.8 31.9 32.7 41.9 36.3 39.1 28.4 23.3 37.1 27.0 32.7", 20.40),
        _row("Ours-S", "30.3 32.9 38.4 35.4 34.9 32.1 32.3 37.6 49.6 38.2 42.2 31.3 26.9 37.8 31.6 35.7", 2.24),
        _row("Ours-L", "31.0 32.7 37.5 34.3 35.1 31.4 32.1 37.3 47.9 38.7 40.6 30.6 26.2 37.5 30.6 35.2", 4.07),
    ),
)
TABLE_8 = Table(
    "Table 8",
    "Human3.6M, protocol 2, MPJPE in mm",
    SHORT,
    (
        _row("Hwang", "72.4 83.4 76.9 82.1 101.9 70.4 91.8 156.5 193.0 92.8 108.4 85.1 76.8 97.2 70.5 97.3", 1.03),
        _row("Mehta", "62.6 78.1 63.4 72.5 88.3 63.1 74.8 106.6 138.7 78.8 93.8 73.9 55.8 82.0 59.6 80.5", 14.60),
        _row("Martinez", "51.8 56.2 58.1 59.0 69.5 55.2 58.1 74.0 94.6 62.3 78.4 59.1 49.5 65.1 52.4 62.9"),
        _row("Fang", "50.1 54.3 57.0 57.1 66.6 53.4 55.7 72.8 88.6 60.3 73.3 57.7 47.5 62.7 50.6 60.4"),
        _row("Moon", "50.5 55.7 50.1 51.7 53.9 46.8 50.0 61.9 68.0 52.5 55.9 49.9 41.8 56.1 46.9 53.3", 34.34),
        _row("Sun", "47.5 47.7 49.5 50.2 51.4 43.8 46.4 58.9 65.7 49.4 55.8 47.8 38.9 49.0 43.8 49.6", 34.00),
        _row("Chen", "41.4 48.6 42.0 45.3 47.1 42.3 46.0 57.9 62.1 47.8 51.2 43.6 36.1 51.1 41.4 47.3", 20.40),
        _row("Ours-S", "51.1 58.7 49.9 53.0 58.3 48.9 53.0 70.9 77.5 58.2 61.0 51.9 42.9 58.6 50.0 56.9", 2.24),
        _row("Ours-L", "45.5 51.8 45.9 48.4 52.1 43.7 48.2 63.6 70.2 52.4 56.2 46.2 40.2 54.9 45.4 51.4", 4.07),
    ),
)
TABLE_9 = Table(
    "Table 9",
    "MuPoTS-3D, all ground truth, 3DPCK_rel in %",
    tuple(f"S{number}" for number in range(1, 21)),
    (
        _row("Mehta (stage ii)", "89.7 65.4 67.8 73.3 77.4 47.8 67.4 63.1 78.1 85.1 75.6 73.1 65.0 59.2 74.1 84.6 87.8 73.0 78.1 71.2 72.8"),
        _row("Chen (small)", "93.1 76.7 79.9 78.2 83.6 64.6 79.0 72.5 87.6 88.3 76.1 79.4 71.1 70.6 77.7 86.6 87.1 80.3 79.5 72.0 79.2"),
        _row("Moon", "94.4 77.5 79.0 81.9 85.3 72.8 81.9 75.7 90.2 90.4 79.2 79.9 75.1 72.7 81.1 89.9 89.6 81.8 81.7 76.2 81.8"),
        _row("Ours-S", "89.5 72.1 72.4 75.4 81.0 67.1 80.2 64.0 83.7 89.6 76.5 80.9 68.4 68.2 80.9 89.5 88.4 82.8 72.8 68.7 77.6"),
        _row("Ours-L", "91.0 82.5 77.1 74.3 84.1 67.9 79.2 76.0 84.0 90.7 74.5 77.5 68.1 76.0 77.7 88.0 87.9 82.7 78.3 75.0 79.6"),
    ),
)  # fmt: skip
TABLES = (TABLE_7, TABLE_8, TABLE_9)


def load_result(path: str | Path) -> dict[str, Any]:
    """Read the result file that `train` writes beside its checkpoint.

    Raises:
        InputError: the file is missing, broken, or not a result.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the .json that train writes beside its checkpoint") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); train again") from None
    missing = sorted(RESULT_KEYS - set(value)) if isinstance(value, dict) else sorted(RESULT_KEYS)
    if missing:
        raise InputError(f"{path}: {missing[0]}: missing; give the .json that train writes beside its checkpoint")
    return dict(value)


def own_row(result: dict[str, Any]) -> tuple[Table, Row]:
    """Return the table of a result's data set, and the result as a row.

    Table 7 uses the error after alignment by rotation and translation only, as the authors' evaluation does.

    Raises:
        InputError: no table of the paper is for this data set.
    """
    name, params = str(result["name"]), float(result["params"]) / 1e6
    if result["test"] == "human36m":
        if result["protocol"] is None:
            raise InputError(
                f"{name}: protocol: none, because subjects or steps were chosen; train with those of a protocol"
            )
        first = result["protocol"] == 1
        by_action = result["rigid_per_action_mm" if first else "per_action_mm"]
        average = float(result["rigid_mpjpe_mm" if first else "mpjpe_mm"])
        values = tuple(by_action.get(action) for action in ACTIONS)
        if first:
            return TABLE_7, Row(name, values, average, params)
        return TABLE_8, Row(name, values, average, params, *_interval(result))
    if result["test"] == "mupots":
        found = result.get("sequences") or {}
        percent = {sequence: 100 * float(scores["pck_rel"]) for sequence, scores in found.items()}
        if not percent:
            raise InputError(f"{name}: sequences: empty; scores by sequence need the joints of MuCo-3DHP")
        values = tuple(percent.get(sequence) for sequence in SEQUENCES)
        return TABLE_9, Row(name, values, sum(percent.values()) / len(percent), params)
    raise InputError(f"{name}: test: no table of the paper is for {result['test']}; use human36m or mupots")


def _interval(result: dict[str, Any]) -> tuple[tuple[float, float] | None, str]:
    """Return the interval of a result's MPJPE and its units; results of version 0.1 have none."""
    found = result.get("mpjpe_interval")
    return ((found["low"], found["high"]), f"{found['units']} {found['unit']}s") if found else (None, "")


def render(table: Table, own: Sequence[Row], markdown: bool = False) -> str:
    """Return the table as text or Markdown, `own` rows last."""
    cells = [["Methods", *table.columns, "Avg.", "Param."]]
    for row in (*table.rows, *own):
        params = "-" if row.params is None else f"{row.params:.2f}M"
        shown = ["-" if value is None else f"{value:.1f}" for value in row.values]
        average = with_interval(row.average, *(row.interval or (math.nan, math.nan)))
        cells.append([row.method + (" *" if row in own else ""), *shown, average, params])
    if markdown:
        lines = [f"| {' | '.join(line)} |" for line in cells]
        lines.insert(1, "|---" + "|---:" * (len(cells[0]) - 1) + "|")
    else:
        widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in cells
        ]
    units = ", ".join(dict.fromkeys(row.units for row in own if row.units))
    intervals = f"; in brackets: 95% bootstrap interval over {units}" if units else "; intervals are not available"
    aligned = "; aligned by rotation and translation, without scale" if table is TABLE_7 else ""
    note = [f"* measured here, on the test part{aligned}{intervals}"] if own else []
    return "\n".join([f"{table.name}: {table.about}", "", *lines, *note])
