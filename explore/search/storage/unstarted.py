"""Studies without a candidate: one that cannot start leaves nothing, and another configuration replaces theirs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.trial import TrialState

from arch.errors import InputError
from arch.files import LEFTOVER
from explore.config import load_yaml
from explore.redact import redacted
from explore.search.budget.plan import keeps_plan, with_stored_plan
from explore.search.config import SearchConfig
from explore.search.costs.objectives import objectives
from explore.search.storage import fingerprint
from explore.search.storage.backends import file_of, open_storage, storage_url
from explore.search.storage.records import PLAN
from explore.search.study import is_own
from explore.search.workers.leases import leadership

KEPT = ("locks", "supernet.safetensors", "supernet.json")  # of a study whose configuration is replaced
REPLACED = {
    "config.yaml", fingerprint.SPACE_FILE, fingerprint.DATA, fingerprint.MARK, PLAN, "logs", "reference", "candidates", "page",
    "index.html", "trials.csv", "front.csv",
}  # fmt: skip


def has_candidates(config: SearchConfig) -> bool:
    """Return whether a study has tried a network, in its folder or in its storage.

    Raises:
        InputError: the storage cannot be opened.
    """
    study = _stored(config)
    trials = study.get_trials(deepcopy=False) if study is not None else []
    if any(is_own(trial) and trial.state != TrialState.WAITING for trial in trials):
        return True
    return next((config.folder / "candidates").glob("*"), None) is not None


def check_no_results(config: SearchConfig) -> None:
    """Raise an InputError if the folder of a study without candidates has results, such as those of a finished study
    that was copied without its storage.
    """
    path = config.folder / "trials.csv"
    if path.is_file() and len(path.read_text(encoding="utf-8").splitlines()) > 1:
        raise InputError(
            f"{config.folder}: has the results of a study, but not the trials that they are from (study.db); give --study "
            "another name"
        )


def replace_configuration(config: SearchConfig) -> bool:
    """Remove what a study without candidates has of another configuration; return whether there was one.

    Raises:
        InputError: another program made the study, for other objectives; another search leads it; or the folder contains
            files of others.
    """
    study = _stored(config)
    try:
        planned = with_stored_plan(config) if keeps_plan(config) else config
        fingerprint.compare_folder(planned)
        if study is not None:
            _check_objectives(config, study)
            fingerprint.compare_stored(planned, study)
    except InputError:
        if study is not None and fingerprint.CONFIG not in study.user_attrs:
            raise
    else:
        (config.folder / fingerprint.DATA).unlink(missing_ok=True)  # the data may have been repaired meanwhile
        return False
    replaced = _replaced_files(config.folder)
    if study is not None:
        with leadership(study, config.lease):
            pass  # no other machine leads it
        optuna.delete_study(study_name=config.name, storage=open_storage(storage_url(config)))
    for left in replaced:
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return True


def _replaced_files(folder: Path) -> list[Path]:
    """Return the files and folders of a study without candidates that another configuration replaces.

    Raises:
        InputError: the folder contains what no search writes.
    """
    found = [path for path in folder.glob("*") if path.name not in KEPT and not path.name.startswith("study.db")]
    others = [path for path in found if path.name not in REPLACED and not LEFTOVER.fullmatch(path.name)]
    settings = folder / "config.yaml"
    if settings in found and "hash" not in load_yaml(settings):
        others.append(settings)
    if others:
        raise InputError(f"{min(others)}: not a file of a search; move it away, or give --study another name")
    return found


def missing_folders(config: SearchConfig) -> list[Path]:
    """Return the folder of a study and the folders that it is in, as far as they do not exist yet; innermost first."""
    return [place for place in (config.folder, *config.folder.parents) if not place.exists()]


@contextmanager
def nothing_left_on_failure(folders: list[Path]) -> Iterator[None]:
    """Remove the folder of a study, the first of `missing_folders`, and the empty ones around it if the block fails."""
    try:
        yield
    except BaseException:
        if folders:
            shutil.rmtree(folders[0], ignore_errors=True)
            _remove_empty(folders[1:])
        raise


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return  # another study is in it


def _stored(config: SearchConfig) -> optuna.Study | None:
    """Return the study in its storage, or None if there is none."""
    path = file_of(storage_url(config))
    if path is not None and not path.exists():
        return None
    storage = open_storage(storage_url(config))
    if config.name not in [found.study_name for found in storage.get_all_studies()]:
        return None
    return optuna.load_study(study_name=config.name, storage=storage)


def _check_objectives(config: SearchConfig, study: optuna.Study) -> None:
    """Raise an InputError if the study minimises another number of quantities."""
    names = [direction.name.lower() for direction in study.directions]
    if names != ["minimize"] * len(objectives(config)):
        where = redacted(config.storage) or config.folder / "study.db"
        raise InputError(
            f"study {config.name} in {where}: its objectives are {', '.join(names)}, not those of this search; give --study "
            "another name"
        )
