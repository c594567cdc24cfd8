"""Paired comparisons of the files of a study: the difference of their errors on the same frames, with its interval.

The comparisons are made when a report is written with the data at hand, and kept in page/study.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from explore.evaluation.intervals import Interval, paired_bootstrap
from explore.report.rows import AnyRow, ExportedRow, Row, TrialRow
from explore.search.config import SearchConfig
from explore.search.storage.records import StudyRecords, joints_files, stored_frame_errors

if TYPE_CHECKING:
    from explore.evaluation.evaluator import Evaluator

STALE_MM = 0.05  # a kept comparison that differs by more from the rows' errors belongs to earlier files
NOT_TESTED = "yes, not tested"
NEIGHBOURS = 3  # members of a front with the next lower and the next higher errors that a member is compared with


class Comparison(BaseModel):
    """Error of file `a` minus that of file `b`, mm, with its 95% interval. a, b: see `Row.file_key`."""

    model_config = ConfigDict(frozen=True)

    a: str
    b: str
    difference: Interval


@dataclass(frozen=True)
class Comparisons:
    """The comparisons of a study, by the files' keys."""

    found: Mapping[tuple[str, str], Interval]

    @classmethod
    def of(cls, comparisons: Iterable[Comparison]) -> Comparisons:
        return cls({(one.a, one.b): one.difference for one in comparisons})

    def difference(self, a: Row, b: Row) -> Interval | None:
        """Return the error of `a` minus that of `b` with its interval; None if they were not compared."""
        found, other = self.found.get((a.file_key, b.file_key)), self.found.get((b.file_key, a.file_key))
        if found is None and other is not None:
            found = replace(other, value=-other.value, low=-other.high, high=-other.low)
        stale = found is not None and not abs(found.value - (a.mpjpe_mm - b.mpjpe_mm)) <= STALE_MM
        return None if stale else found

    def label_front(self, rows: Sequence[AnyRow], costs: Sequence[str] = ("latency_ms",)) -> list[AnyRow]:
        """Set `front` of the rows that are on it.

        rows: all of one kind and runtime
        costs: column keys of the objectives besides the error
        """
        near: dict[str, list[Row]] = {row.file_key: [] for row in rows}
        for a, b in _neighbours(rows):
            near[a.file_key].append(b)
            near[b.file_key].append(a)
        return [
            replace(row, front=self._status(row, near[row.file_key], costs) if row.on_front else "") for row in rows
        ]

    def _status(self, row: Row, others: Sequence[Row], costs: Sequence[str]) -> str:
        differences = [self.difference(row, other) for other in others]
        if not row.has_interval or None in differences:
            return NOT_TESTED
        same = [
            other.name
            for other, difference in zip(others, differences, strict=True)
            if difference is not None and not (difference.excludes_zero and _costs_support(row, other, costs))
        ]
        return f"yes, indistinguishable from {', '.join(dict.fromkeys(same))}" if same else "yes"


def _neighbours(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return the pairs of files on the front of `rows` that are near each other in error."""
    front = {row.file_key: row for row in sorted(rows, key=lambda row: row.mpjpe_mm) if row.on_front}
    members = list(front.values())
    return [(a, b) for place, a in enumerate(members) for b in members[place + 1 : place + 1 + NEIGHBOURS]]


def _costs_support(row: Row, other: Row, costs: Sequence[str]) -> bool:
    """Return whether the row is more accurate than the other, or cheaper; latencies count beyond both intervals."""
    if row.mpjpe_mm < other.mpjpe_mm or not (isinstance(row, ExportedRow) and isinstance(other, ExportedRow)):
        return True
    exact = [key for key in costs if key != "latency_ms"]
    return any(row.get(key) < other.get(key) for key in exact) or (
        "latency_ms" in costs and row.ratio_high < other.ratio_low
    )


def compare_files(
    config: SearchConfig,
    records: StudyRecords,
    trials: Sequence[TrialRow],
    exported: Sequence[ExportedRow],
    evaluators: Mapping[str, Evaluator],
    known: Sequence[Comparison],
    costs: Sequence[str],
) -> list[Comparison]:
    """Compare the files that reports make statements about, by a paired bootstrap on the frames of their part.

    Files whose predicted joints are not stored, or belong to another part, are compared as in `known`.

    evaluators: by part
    known: comparisons of an earlier report
    costs: column keys of the objectives besides the error
    """
    paths = joints_files(config, records)
    errors: dict[str, NDArray[np.float64] | None] = {}

    def errors_of(row: Row, evaluator: Evaluator) -> NDArray[np.float64] | None:
        if row.file_key not in errors:
            path = paths.get((row.kind, row.arch_id, row.runtime, row.recipe))
            errors[row.file_key] = stored_frame_errors(path, evaluator) if path and row.has_interval else None
        return errors[row.file_key]

    files = {row.file_key for row in (*trials, *exported)}
    found = {frozenset((one.a, one.b)): one for one in known if {one.a, one.b} <= files}
    for a, b in [*_pairs(trials, costs), *_pairs(exported, costs)]:
        evaluator = evaluators.get(a.part)
        if evaluator is None or a.part != b.part:
            continue
        errors_a, errors_b = errors_of(a, evaluator), errors_of(b, evaluator)
        if errors_a is not None and errors_b is not None:
            difference = paired_bootstrap(errors_a, errors_b, evaluator.units)
            if math.isfinite(difference.low) and math.isfinite(difference.high):
                found[frozenset((a.file_key, b.file_key))] = Comparison(
                    a=a.file_key, b=b.file_key, difference=difference
                )
    return list(found.values())


def dominates(row: Row, other: Row, costs: Sequence[str]) -> bool:
    """Return whether a row has a lower error and lower costs than another, by point estimates."""
    return row.mpjpe_mm < other.mpjpe_mm and all(row.get(key) < other.get(key) for key in costs)


def _pairs(rows: Sequence[Row], costs: Sequence[str]) -> list[tuple[Row, Row]]:
    """Return the pairs to compare: neighbours on a front, and each network with each baseline.

    Of candidates, only those that dominate a baseline are compared with it.
    """
    pairs: list[tuple[Row, Row]] = []
    for runtime in dict.fromkeys(row.runtime for row in rows):
        mine = [row for row in rows if row.runtime == runtime and row.mpjpe_mm > 0]
        pairs += _neighbours(mine)
        pairs += [
            (row, baseline)
            for baseline in mine
            for row in mine
            if baseline.baseline
            and not row.baseline
            and (isinstance(row, ExportedRow) or dominates(row, baseline, costs))
        ]
    return pairs
