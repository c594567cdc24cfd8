"""Reports of studies with other objectives than error and latency, and of those on a machine that was busy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from explore.pareto import non_dominated_rank
from explore.report.page import render
from explore.report.plot import plot_front
from explore.report.readme import readme
from explore.report.summarise import summarise
from explore.report.summary import Summary
from explore.report.tables import front_table, read_rows, to_markdown, write_tables
from tests.helpers.studies import MadeFile, write_compared_study

FILES = (MadeFile("paper-XS-relu", 150, 0.6), MadeFile("a", 120, 0.5), MadeFile("b", 140, 0.3), MadeFile("c", 160, 0.2))


def summary_of(folder: Path, files: tuple[MadeFile, ...] = FILES, **settings: tuple[str, ...]) -> Summary:
    config, records, evaluators = write_compared_study(folder, files, **settings)
    return summarise(config, records, None, {"machine": {}}, evaluators)


@pytest.mark.parametrize("costs", [("macs",), ("peak-memory", "latency"), ("size", "params", "macs")])
def test_the_front_is_that_of_all_objectives(costs: tuple[str, ...], tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "s", objectives=("mpjpe", *costs), limits=("macs=2L",))
    keys = summary.objectives
    assert len(keys) == 1 + len(costs)
    for rows in (summary.complete, summary.exported):
        expected = non_dominated_rank(np.array([[row.get(key) for key in keys] for row in rows])) == 0
        assert [row.on_front for row in rows] == expected.tolist()
        assert all(bool(row.front) is row.on_front for row in rows)
    heading, *cells = front_table(summary.exported, "litert", keys)
    assert len(cells) == 4 and ("peak memory MB" in heading) is ("peak-memory" in costs)
    write_tables(summary)
    trials, exported = read_rows(summary.folder, "litert")
    assert [row.memory for row in trials] == [row.memory for row in summary.trials]
    assert [[row.get(key) for key in keys] for row in exported] == [
        [r.get(key) for key in keys] for r in summary.exported
    ]
    plot_front(summary)
    assert f"Objectives: mpjpe, {', '.join(costs)}; limits: macs=2L." in readme(summary)


def test_what_is_above_a_limit_is_not_on_the_front(tmp_path: Path) -> None:
    free = summary_of(tmp_path / "free", limits=("macs=2L",))
    most = sorted(row.macs for row in free.complete)[1]
    limited = summary_of(tmp_path / "limited", limits=(f"macs={most}",))
    assert {row.name for row in limited.complete if row.on_front} <= {r.name for r in free.complete if r.macs <= most}
    assert limited.limits == {"macs": most}
    above = [row for row in limited.exported if row.macs > most]
    assert above and not any(row.on_front for row in above), "references are trained whatever they cost"
    least = min((row for row in limited.exported if row.macs <= most), key=lambda row: row.mpjpe_mm)
    assert least.on_front, "nothing above a limit dominates it"


def test_predicted_latencies_are_marked_everywhere(tmp_path: Path) -> None:
    busy = tuple(replace(file, source="MACs" if file.name == "b" else "measured") for file in FILES)
    summary = summary_of(tmp_path / "s", busy, limits=("macs=2L",))
    (row,) = (row for row in summary.exported if row.name == "b")
    assert not row.is_measured("latency_ms") and row.ratio_high != row.ratio_high
    table = to_markdown(front_table(summary.exported, "litert"))
    assert "~0.300" in table and table.count("~") == 1
    assert "2 of 8 rows is not measured" in summary.latency_note and "--remeasure" in readme(summary)
    assert all(point.file is None or point.file.name != "b" for point in summary.iso_accuracy), "no speed-up of a guess"
    assert any("b, " in line and "~0.300 ms" in line for line in _findings_of_b(summary))
    write_tables(summary)
    trials, exported = read_rows(summary.folder, "litert")
    for rows in (trials, exported):
        assert {r.name for r in rows if not r.is_measured("latency_ms")} == {"b"}
    assert "latency from" in (summary.folder / "trials.csv").read_text().splitlines()[0]
    plot_front(summary)
    render(summary)


def test_nothing_is_compared_without_measured_latencies(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    summary = summary_of(tmp_path / "s", tuple(replace(file, source="MACs") for file in FILES))
    assert "Nothing is compared, because that needs" in readme(summary)
    plot_front(summary)
    assert not recwarn.list, "open marks have one colour"


def _findings_of_b(summary: Summary) -> list[str]:
    """Return the findings of a study in which `b` alone dominates the baseline."""
    rows = tuple(row for row in summary.trials if row.name in ("b", "paper-XS-relu"))
    return replace(summary, trials=rows).findings


def test_measured_studies_have_no_note(tmp_path: Path) -> None:
    assert summary_of(tmp_path / "s").latency_note == ""
    loaded = tuple(replace(file, source="measured under load") for file in FILES)
    summary = summary_of(tmp_path / "loaded", loaded)
    assert "EDGEPOSE_BACKGROUND_LOAD" in summary.latency_note
    assert "~" not in to_markdown(front_table(summary.exported, "litert"))
