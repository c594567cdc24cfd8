"""`worker`: more workers for a study that a `search` leads, from any shell or machine, at any time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna

from arch.errors import InputError
from explore.config import SearchConfig
from explore.progress import Display
from explore.redact import redacted
from explore.search import worker
from explore.search.board import Board
from explore.search.crew import run_crew
from explore.search.identity import FOLDER, carried, check_folder, differences
from explore.search.presence import Absence
from explore.search.run import PHASE, completed
from explore.search.storage import check_url, file_of, is_search, open_storage
from explore.search.workload import Workload

BREATHS = 20  # readings in one lease


def join(
    name: str, url: str, results: str, workers: int, display: Display, main: worker.Main = worker.main
) -> dict[str, Any]:
    """Work on the study until it is done or nobody leads it any more.

    Raises:
        InputError: no such study, or not its folder.
        SearchFailed, StorageLost: the search cannot go on, with the reason.
    """
    study = _find(name, url or _own(name, results))
    config = carried(study).model_copy(
        update={
            "study": name,
            "storage": url,
            "results": results or study.user_attrs[FOLDER]["results"],
            "workers": workers,
            "ray": "",
        }
    )
    check_folder(config, study)
    for line in differences(study):
        display.log(f"this machine differs from the one that made the study: {line}")
    with display:
        _help(config, study, display, main)
    return {"study": name, "finished": len(completed(study))}


def _own(name: str, results: str) -> str:
    path = Path(results or "results", name, "study.db")
    if not path.is_file():
        raise InputError(f"{path}: no such study; give --results, or --storage with the URL that `search` was given")
    return f"sqlite:///{path.resolve()}"


def _find(name: str, url: str) -> optuna.Study:
    check_url(url)
    file = file_of(url)
    if file and not file.is_file():
        raise InputError(f"--storage {redacted(url)}: no such file; give the URL that `search` was given")
    storage = open_storage(url)
    names = [found.study_name for found in storage.get_all_studies()]
    if name not in names:
        there = ", ".join(sorted(filter(is_search, names))) or "none"
        raise InputError(f"--study {name}: not in {redacted(url)}; there are: {there}")
    return optuna.load_study(study_name=name, storage=storage)


def _help(config: SearchConfig, study: optuna.Study, display: Display, main: worker.Main) -> None:
    """The phases as the parent goes through them."""
    absence = Absence(config.lease)
    helped = ""
    display.stage(f"waiting for the search that leads {config.name}")
    while (phase := study.user_attrs.get(PHASE)) != "done" and not absence.certain(study):
        if phase in ("candidates", "finalists") and phase != helped:
            helped = phase
            total = config.trials if phase == "candidates" else config.finalists
            board = Board(config, display)
            board.stage(f"{phase}, {total}", Workload(total))
            run_crew(config, phase, config.processes, board, main)
            display.stage(f"waiting for the search that leads {config.name}")
        time.sleep(min(1.0, config.lease / BREATHS))
