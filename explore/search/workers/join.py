"""Workers that join a study which a `search` leads, from any shell or machine, at any time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna

from arch.errors import InputError, did_you_mean
from explore.config import parse
from explore.progress import Display
from explore.redact import redacted
from explore.search.budget.progress_weights import ProgressWeights
from explore.search.config import SearchConfig
from explore.search.progress import SearchProgress
from explore.search.run import PHASE
from explore.search.storage.backends import check_storage, check_url, file_of, is_search, open_storage
from explore.search.storage.fingerprint import FOLDER, carried, check_folder, differences
from explore.search.study import completed
from explore.search.workers import worker
from explore.search.workers.leases import LEADER, LeaseMonitor
from explore.search.workers.pool import run_worker_pool, worker_count
from explore.train.engine import find_devices

READINGS = 20  # of the leader's lease in the duration of a lease
OWN = ("study", "storage", "results", "workers", "device", "ray")  # keys that need not be the leader's


def join(
    name: str,
    url: str,
    results: str,
    workers: int,
    display: Display,
    main: worker.Main = worker.main,
    device: str = "",
) -> dict[str, Any]:
    """Work on a study until it is done or its leader is gone.

    device: where to train and evaluate; empty: the leader's

    Raises:
        InputError: no such study, another results folder, or no such device.
        SearchFailed, StorageLost: the search cannot continue.
    """
    study = _find(name, url or _default_url(name, results))
    config = carried(study)
    own = {"study": name, "storage": url, "results": results or study.user_attrs[FOLDER]["results"]}
    own |= {"workers": workers, "device": device or config.device, "ray": ""}
    config = parse(SearchConfig, config.model_dump(mode="json") | own, "command line")
    find_devices(config.device)
    check_folder(config, study)
    for line in differences(study):
        display.log(f"this machine differs from the one that created the study: {line}")
    with display:
        _work(config, study, display, main)
    return {"study": name, "finished": len(completed(study))}


def _default_url(name: str, results: str) -> str:
    parse(SearchConfig, {"study": name}, "command line")
    path = Path(results or "results", name, "study.db")
    if not path.is_file():
        raise InputError(f"{path}: no such study; give --results, or --storage with the URL that `search` was given")
    return f"sqlite:///{path.resolve()}"


def _find(name: str, url: str) -> optuna.Study:
    check_url(url)
    file = file_of(url)
    if file and not file.exists():
        raise InputError(f"--storage {redacted(url)}: no such file; give the URL that `search` was given")
    check_storage(url)
    storage = open_storage(url)
    names = [found.study_name for found in storage.get_all_studies()]
    if name not in names:
        known = sorted(filter(is_search, names))
        raise InputError(
            f"--study {name}: not in {redacted(url)}{did_you_mean(name, known)}; there are: "
            f"{', '.join(known) or 'none'}"
        )
    return optuna.load_study(study_name=name, storage=storage)


def _work(config: SearchConfig, study: optuna.Study, display: Display, main: worker.Main) -> None:
    """Follow the leader through the phases of the study."""
    monitor = LeaseMonitor(config.lease)
    joined = ""
    waiting = f"waiting for the search that leads {config.name}"
    display.stage(waiting)
    while (phase := study.user_attrs.get(PHASE)) != "done" and not monitor.expired(
        {LEADER: study.user_attrs.get(LEADER)}
    ):
        if phase in ("candidates", "finalists") and phase != joined:
            joined = phase
            # The samples of finalists are decided after the candidates, and a leader that resumes may change more.
            config = carried(study).model_copy(update={key: getattr(config, key) for key in OWN})
            total = config.trials if phase == "candidates" else config.finalists
            progress = SearchProgress(config, display)
            progress.start_phase(f"{phase}, {total}", ProgressWeights(total))
            run_worker_pool(config, phase, worker_count(config), progress, main, study)
            display.stage(waiting)
        time.sleep(min(1.0, config.lease / READINGS))
