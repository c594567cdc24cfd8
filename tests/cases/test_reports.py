"""What a search prints and recommends: parts, intervals, and bundles whose checks passed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from explore.commands import search as command
from explore.data.config import DataConfig, DatasetConfig
from explore.evaluation.evaluator import evaluation_note
from explore.report.readme import readme
from explore.report.summarise import summarise
from explore.report.summary import Summary
from explore.search.config import SearchConfig
from tests.helpers.studies import MadeFile, write_compared_study

XS = MadeFile("paper-XS-relu", 155.0, 0.16)


def summary_of(folder: Path, *files: MadeFile) -> Summary:
    config, records, evaluators = write_compared_study(folder / "s", files)
    summary = summarise(config, records, None, {}, evaluators)
    for row in summary.exported:
        (summary.folder / row.bundle).mkdir(parents=True, exist_ok=True)
    return summary


def test_the_note_on_parts_names_their_data(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, XS)
    mixed = replace(summary, settings={**summary.settings, "data": "custom:mine*0.5+synthetic:full*0.5"})
    assert "validation part of custom:mine, exported files on the test part of custom:mine." in mixed.parts_note
    config = DataConfig(data="human36m:/", dataset=DatasetConfig(protocol=1))
    noted = replace(summary, environment={"test_note": evaluation_note(config)})
    given = "annotated boxes and root depths"
    assert f"(Human3.6M, protocol 1: tested on S11, every 64th frame; {given})" in readme(noted)
    chosen = config.model_copy(update={"dataset": DatasetConfig(test_subjects=(7, 8), detected="boxes.json")})
    assert evaluation_note(chosen).endswith(
        "chosen subjects or steps: tested on S7, S8; detected boxes and root depths"
    )
    assert evaluation_note(DataConfig()) == given


def test_only_a_study_with_its_storage_is_to_be_resumed(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, XS)
    (summary.folder / "study.db").unlink(missing_ok=True)
    assert "resume with more trials" not in readme(summary)
    assert f"--config {summary.folder}/config.yaml --study NAME" in readme(summary)
    assert "resume" in readme(replace(summary, settings={**summary.settings, "storage": "postgresql://server/studies"}))
    (summary.folder / "study.db").touch()
    assert "resume with more trials" in readme(summary)


def test_only_bundles_whose_checks_passed_are_recommended(tmp_path: Path) -> None:
    best = MadeFile("best", 120.0, 0.5, checks_failed=("accuracy drop",))
    summary = summary_of(tmp_path / "one", best, MadeFile("sound", 140.0, 0.4), XS)
    assert summary.best == summary.folder / "bundles/sound/litert"
    assert "--model " + str(summary.best) in readme(summary) and "bundles/best/litert\n" not in readme(summary)
    summary = summary_of(tmp_path / "two", best, XS)
    assert summary.best == summary.folder / "bundles/paper-XS-relu/litert", "a baseline is better than none"
    summary = summary_of(tmp_path / "three", best)
    assert summary.best is None and "no bundle passed all checks" in readme(summary)
    assert summary.as_dict()["next"].startswith("no bundle passed all checks") and "predict" not in summary.next_step


def test_the_readme_says_if_nothing_was_learned(tmp_path: Path) -> None:
    assert "No exported file has a lower error" not in readme(summary_of(tmp_path / "good", XS))
    assert "220.0 mm on the test part. No exported" in readme(summary_of(tmp_path / "bad", replace(XS, mm=230.0)))


def test_the_readme_of_a_study_in_the_clone_has_no_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explore.report.readme.ROOT", tmp_path)
    summary = summary_of(tmp_path / "results", XS)
    (summary.folder / "study.db").touch()
    text = readme(summary)
    assert "--model results/s/bundles/paper-XS-relu/litert" in text and "--study s" in text
    assert str(tmp_path) not in text and "--results" not in text


def test_the_command_prints_parts_intervals_and_a_sound_recommendation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    best = MadeFile("best", 120.0, 0.5, checks_failed=("accuracy drop",))
    summary = replace(summary_of(tmp_path, best, MadeFile("sound", 140.0, 0.1), XS), run_minutes=1.0)
    config = SearchConfig(study="s", results=str(tmp_path), runtimes=("litert",))
    data = SimpleNamespace(test=SimpleNamespace(mean_pose_mm=220.0))
    outcome = SimpleNamespace(config=config, data=data, references={}, seconds=1)

    @contextmanager
    def no_page(*args: Any) -> Iterator[None]:
        yield

    def found(*args: Any, **more: Any) -> Callable[..., Any]:
        return outcome

    monkeypatch.setattr("explore.search.run.search", found)
    monkeypatch.setattr("explore.report.live.live_page", no_page)
    monkeypatch.setattr("explore.search.storage.records.read_records", lambda config: None)
    monkeypatch.setattr("explore.report.study_report.write_study_report", lambda *args: summary)
    monkeypatch.setattr(command, "from_options", lambda args, model: config)
    assert command.run(argparse.Namespace(remeasure=False, train_supernet=False, json=False)) == 0
    printed = capsys.readouterr().out
    row = summary.exported[0]
    assert row.mpjpe_text in printed and "test part" in printed and "candidates, on the validation part:" in printed
    assert "95% bootstrap interval" in printed and "test: 200 frames" in printed
    assert (
        f"next: python explore.py predict PHOTO --bbox x,y,w,h --model {summary.folder}/bundles/sound/litert" in printed
    )
    assert "…" not in printed
    print(printed)
