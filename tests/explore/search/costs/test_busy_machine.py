"""Searches without latency, and searches beside processes that keep the machine busy."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arch.space import preset
from explore.measure import latency as measure_latency
from explore.measure.config import MeasureConfig
from explore.measure.latency import Disturbed, Latency
from explore.measure.probe.protocol import ProtocolSettings
from explore.progress import Display
from explore.report.study_folder import config_of
from explore.report.study_report import write_study_report
from explore.report.tables import read_table
from explore.search.config import SearchConfig
from explore.search.costs import latency
from explore.search.costs.latency import measured_source
from explore.search.costs.predicted_latency import predicted_ratio
from explore.search.costs.remeasure import remeasure
from explore.search.storage.records import read_records
from tests.helpers.search import RENDERED, busy_processes, command, environment, run_command, trials
from tests.helpers.studies import write_candidate

# Busy processes disturb the measurements of other tests.
pytestmark = [pytest.mark.alone, pytest.mark.timeout(1500)]
# the fastest export
ONE = (*RENDERED, "--runtime=onnxruntime", "--runtimes=onnxruntime", "--finalists=1", "--workers=1")


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What measurements need of a worker's context; pauses take no time."""
    monkeypatch.setattr(latency, "PAUSE_S", 0.0)
    config = SearchConfig(results=str(tmp_path), study="s")
    lock = SimpleNamespace(exclusive=nullcontext)
    return SimpleNamespace(config=config, lock=lock, report=lambda *stage: None)


def test_a_busy_machine_is_tried_once_until_it_is_idle(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts, is_busy = [], True

    def measure(calls: dict[str, Callable[[], None]], settings: MeasureConfig, reference: str) -> dict[str, Any]:
        attempts.append(reference)
        if is_busy:
            raise Disturbed("busy")
        return {}

    monkeypatch.setattr(latency, "measure", measure)
    monkeypatch.setattr(latency, "background_cpu_s", lambda: 0.0)

    def measured() -> int:
        """Return the number of attempts at one file."""
        before = len(attempts)
        with pytest.raises(Disturbed) if is_busy else nullcontext():
            latency.measure_calls(context, {}, MeasureConfig())
        return len(attempts) - before

    assert [measured(), measured(), measured()] == [latency.ATTEMPTS, 1, 1]
    monkeypatch.setattr(latency, "background_cpu_s", iter(range(0, 1000, 100)).__next__)
    assert measured() == 0, "the load of other processes is checked first"
    monkeypatch.setattr(latency, "background_cpu_s", lambda: None)
    is_busy = False
    assert measured() == 1
    is_busy = True
    assert measured() == latency.ATTEMPTS, "once it was idle, the search is as patient as before"


def test_the_reference_network_has_a_rough_latency_on_a_busy_machine(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "FASTEST_OF_S", 0.2)
    waits = iter([0.05, 0.01, *[0.03] * 100])
    found = latency._estimated_reference(context, lambda: time.sleep(next(waits)))
    assert found["median_ms"] == pytest.approx(10, abs=5) and found[latency.SOURCE] == "fastest call"
    path = context.config.folder / "reference" / "reference.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"litert": found}))
    measured = Latency(7.0, 7.0, 7.0, 7.0, 1.0, 1.0, 1.0, 1, 1, 0, 1.0, 0.0, 1, True)
    for _ in range(2):
        latency.take_reference(context.config, measured)
        assert json.loads(path.read_text())["litert"]["median_ms"] == 7.0
        measured = replace(measured, median_ms=8.0)  # a measured one stays


def test_latency_from_macs_goes_through_the_measured_files(tmp_path: Path) -> None:
    config = SearchConfig(results=str(tmp_path), study="s")
    small, large = preset("paper-XS-relu@64"), preset("paper-L-relu@64")
    ratio, source = predicted_ratio(config, "int8-static")
    assert source == "MACs" and ratio(small) == pytest.approx(1.0) and ratio(large) > 5
    figures = {"latency_ms": 1.0, "latency": {"ratio": 2 * ratio(large)}}
    write_candidate(config, large, **figures)
    again, _ = predicted_ratio(config, "int8-static")
    assert again(small) == pytest.approx(2.0)
    write_candidate(config, large, **figures, latency_source="MACs")
    again, _ = predicted_ratio(config, "int8-static")
    assert again(small) == pytest.approx(1.0), "predictions teach nothing"


@pytest.mark.slow
def test_a_search_for_macs_and_size_measures_no_candidate(tmp_path: Path) -> None:
    options = (*ONE, "--objectives=mpjpe,macs,size", "--limit=macs=60M", "--limit=size=3MB", "--trials=3", "--json")
    done = run_command(tmp_path, *options, timeout=1200)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["objectives"] == ["mpjpe_mm", "macs", "bytes"]
    complete = [trial for trial in trials(tmp_path) if trial.state.name == "COMPLETE"]
    assert len(complete) == 3 and all(len(trial.values) == 3 for trial in complete)
    rows = [row for row in read_table(tmp_path / "s" / "trials.csv") if row["state"] == "complete"]
    for trial, row in zip(complete, rows, strict=True):
        assert trial.values == [float(row["mpjpe_mm"]), float(row["macs"]), float(row["bytes"])]
        assert row["latency_ms"] == row["source latency_ms"] == ""
    within = [row for row in rows if float(row["macs"]) <= 60e6 and float(row["bytes"]) <= 3e6]
    assert {row["name"] for row in rows if row["on_front"] == "True"} <= {row["name"] for row in within}
    (exported, *_) = read_table(tmp_path / "s" / "front.csv")
    assert float(exported["latency_ms"]) > 0, "exported files are measured"
    assert "macs=60M" in (tmp_path / "s" / "README.md").read_text()


@pytest.mark.slow
def test_a_search_beside_busy_processes_ends_with_a_marked_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = environment(tmp_path) | {"EDGEPOSE_BACKGROUND_LOAD": "0.25", "OMP_NUM_THREADS": "1"}
    call = command(tmp_path, *ONE, "--trials=2")
    with busy_processes(max(2, len(os.sched_getaffinity(0)))):
        done = subprocess.run(call, cwd=tmp_path, env=strict, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("other processes keep the machine busy") == 1, done.stderr
    assert "~" in done.stdout and "--remeasure" in done.stdout
    folder = tmp_path / "s"
    for name in ("trials.csv", "front.csv"):
        rows = [row for row in read_table(folder / name) if row["mpjpe_mm"]]
        assert rows and {row["source latency_ms"] for row in rows} == {"MACs"}, name
        assert {row.get("stage", "evaluated") for row in rows} == {"evaluated"}, name
        assert all(float(row["latency_ms"]) > 0 for row in rows)
    assert any(row["on_front"] == "True" for row in read_table(folder / "front.csv"))
    (exported,) = read_table(folder / "front.csv")
    manifest = json.loads((folder / exported["bundle"] / "manifest.json").read_text())
    assert "latency_ms" not in manifest["metrics"], "a bundle states no prediction"

    # Tests run beside others, so that only the protocol is asked to accept that.
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(measure_latency, "ProtocolSettings", partial(ProtocolSettings, min_cpu_share=-9.0))
    config = config_of(folder)
    outcome = remeasure(config, Display())
    summary = write_study_report(config, outcome.data, outcome.references, read_records(config), outcome.seconds)
    assert "not measured" not in summary.latency_note
    for name in ("trials.csv", "front.csv"):
        rows = [row for row in read_table(folder / name) if row["mpjpe_mm"]]
        assert {row["source latency_ms"] for row in rows} == {measured_source()}, name
    (exported,) = read_table(folder / "front.csv")
    manifest = json.loads((folder / exported["bundle"] / "manifest.json").read_text())
    assert manifest["metrics"]["latency_ms"] == pytest.approx(float(exported["latency_ms"]))
