"""The page of a running search, and the reports of a study from its storage."""

from __future__ import annotations

import datetime
import json
import random
import time
from pathlib import Path

import optuna
import pytest

from arch.errors import InputError
from arch.search_space import Space
from explore.report.live import live_page
from explore.report.snapshot import load_snapshot
from explore.report.study_report import refresh
from explore.report.summarise import ended_minutes
from explore.search.config import SearchConfig
from explore.search.storage.records import TrialRecord
from explore.search.study import open_study
from tests.helpers.studies import write_candidate


def write_storage(folder: Path, count: int) -> SearchConfig:
    """Write a study whose storage has `count` complete trials, with their results."""
    config = SearchConfig(study=folder.name, results=str(folder.parent))
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    study = open_study(config)
    space = Space.named("mobile").at(64)
    for number in range(count):
        trial = study.ask({"width": optuna.distributions.CategoricalDistribution([0.25, 0.5, 1.0])})
        mm, ms = 200 - 50 * trial.params["width"] + number / 10, 0.1 + trial.params["width"]
        arch = space.sample(random.Random(number))
        trial.set_user_attr("arch", arch.id)
        write_candidate(config, arch, mpjpe_mm=mm, latency_ms=ms)
        study.tell(trial, [mm, ms])
    return config


def test_a_running_page_reloads_and_the_last_one_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    config = write_storage(folder, 12)
    log: list[str] = []
    with live_page(config, 222.0, log.append):
        deadline = time.monotonic() + 60
        while not (folder / "index.html").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        live = (folder / "index.html").read_bytes()
    assert log == [f"live page: {folder / 'index.html'}; open it in a browser"]
    assert live != (folder / "index.html").read_bytes()
    snapshot = load_snapshot(folder)
    assert snapshot.validation_mean_pose_mm == 222.0 and len(snapshot.minutes) == len(snapshot.networks) == 12
    assert set(snapshot.importances) == {"mpjpe_mm", "latency_ms"} and set(snapshot.importances["mpjpe_mm"]) == {
        "width"
    }


def test_reports_of_a_moved_study_are_written_from_its_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    write_storage(tmp_path / "s", 12)
    moved = tmp_path / "moved"
    (tmp_path / "s").rename(moved)
    summary = refresh(moved)
    assert len(summary.complete) == 12 and summary.states == {"complete": 12}
    assert len((moved / "trials.csv").read_text().splitlines()) == 13
    (moved / "page" / "study.json").write_text('{"mean_pose_mm": 222.0}')
    refresh(moved)
    assert load_snapshot(moved).mean_pose_mm == 222.0, "the storage does not contain it"
    (moved / "study.db").write_text("no storage")
    with pytest.raises(InputError, match=r"study\.db: cannot be opened"):
        refresh(moved)


def test_a_search_continues_without_its_page(tmp_path: Path) -> None:
    config = write_storage(tmp_path / "s", 2)
    (tmp_path / "s" / "page").write_text("in the way")
    log: list[str] = []
    with live_page(config, 222.0, log.append):
        pass
    assert log and "index.html is not written" in log[-1] and "\n" not in log[-1]


def test_the_clock_stands_still_while_no_trial_runs() -> None:
    def record(number: int, start: int, stop: int) -> TrialRecord:
        first, last = (datetime.datetime(2026, 1, 1) + datetime.timedelta(minutes=minute) for minute in (start, stop))
        return TrialRecord(number, "complete", "", "", "", "", started=first, ended=last)

    trials = (record(0, 0, 10), record(1, 5, 12), record(2, 600, 604), record(3, 601, 603))
    assert ended_minutes(trials) == {0: 10.0, 1: 12.0, 2: 16.0, 3: 15.0}
