"""All reports of a study: tables, README, plot, page and the files that the page is made from."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from arch.errors import InputError
from arch.files import write_atomic
from explore.evaluation.evaluator import (
    Evaluator,
    Evaluators,
    evaluation_note,
    is_rendered,
    open_evaluator,
    open_evaluators,
)
from explore.report.page import write_page
from explore.report.plot import plot_front
from explore.report.predictions import bundles_of, load_predictions, write_predictions
from explore.report.readme import readme
from explore.report.snapshot import save_snapshot
from explore.report.study_folder import ENVIRONMENT, config_of, read_mapping, read_summary, with_references
from explore.report.summarise import summarise
from explore.report.summary import Summary
from explore.report.tables import write_tables
from explore.search.config import SearchConfig
from explore.search.storage.fingerprint import chooses_on_test
from explore.search.storage.records import StudyRecords, read_records, train_minutes
from quantize.environment import machine, versions


def write_study_report(
    config: SearchConfig, data: Evaluators, baselines: Collection[str], records: StudyRecords, seconds: float
) -> Summary:
    """Write all reports of a study into its folder; return what they show.

    data: the parts that candidates and exported files were evaluated on; their files are compared on these
    baselines: names of the presets to compare with
    seconds: duration of this run
    """
    environment = {
        "machine": machine(),
        "versions": versions(),
        "data": data.train.name,
        "data_hash": data.train.hash,
        "test_note": evaluation_note(config.data_config),
        "train_frames": len(data.train),
        "validation_frames": len(data.validation.data),
        "test_frames": len(data.test.data),
        "train_minutes": round(train_minutes(config.folder), 2),
        "seed": config.seed,
        "config_hash": config.hash,
    }
    write_atomic(config.folder / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")
    write_predictions(config.folder, data.test, bundles_of(config, config.folder))
    evaluators = {"validation": data.validation, "test": data.test}
    summary = summarise(config, records, baselines, environment, evaluators, run_minutes=seconds / 60)
    save_snapshot(config.folder, summary.snapshot)
    _write_files(summary)
    write_page(summary)
    return summary


def refresh(folder: Path, page: Path | None = None, references: Sequence[str] = ()) -> Summary:
    """Write the reports of the study in `folder` again, from its storage or else from its tables.

    Predictions are added for bundles that have none if the data set is there. The page goes to `page` (default:
    index.html in the folder) and shows `references` as well (see `with_references`). `notes` of the summary say what
    is missing.

    Raises:
        InputError: no study, or a file of it is broken.
    """
    if not os.access(folder, os.W_OK):
        summary = read_summary(folder, (f"{folder} is read-only: only the page is written, from its tables",))
        return _with_page(summary, page, references)
    try:
        config = config_of(folder)
    except InputError as error:  # of another version, or missing: the tables suffice for the page
        summary = read_summary(folder, (f"{error}; the page shows only what the tables contain",))
    else:
        summary = _refreshed(config, folder)
        if summary.exported:
            _write_files(summary)
    return _with_page(summary, page, references)


def _with_page(summary: Summary, page: Path | None, references: Sequence[str]) -> Summary:
    """Write the page of a study and of the user's own models; return what it shows."""
    summary = with_references(summary, references)
    write_page(summary, page)
    return summary


def _refreshed(config: SearchConfig, folder: Path) -> Summary:
    """Return the summary from the storage if there is one, else from the tables; complete the predictions."""
    stored = all((folder / name).exists() for name in ("study.db", "candidates"))
    stored &= (folder / "finalists").exists() or not (folder / "finalists.json").exists()  # copied without the results
    bundles = bundles_of(config, folder)
    missing = sorted(set(bundles) - set(load_predictions(folder).predictions))
    evaluators, problems = {}, []
    if missing or stored:
        try:
            evaluators = _open_parts(config)
        except InputError as error:
            problems.append(f"data: {error}")
    if missing and evaluators:
        write_predictions(folder, evaluators["test"], bundles)
    elif missing:
        problems.append(f"{config.data} is not available: no predictions of {', '.join(missing)}")
    if not stored:
        return read_summary(folder, tuple(problems))
    records = read_records(config, stored=True)
    summary = summarise(config, records, None, read_mapping(folder / ENVIRONMENT), evaluators)
    save_snapshot(folder, summary.snapshot)
    write_tables(summary)
    return replace(summary, problems=tuple(problems))


def _open_parts(config: SearchConfig) -> dict[str, Evaluator]:
    """Return the evaluators of the parts that can be opened without rendering frames, by part."""
    if is_rendered(config.data_config, validation=True):
        data = open_evaluators(config.data_config, config.processes, choose_on_test=chooses_on_test(config))
        return {"validation": data.validation, "test": data.test}
    return {"test": open_evaluator(config.data_config)} if is_rendered(config.data_config) else {}


def _write_files(summary: Summary) -> None:
    write_tables(summary)
    plot_front(summary)
    write_atomic(summary.folder / "README.md", readme(summary))
