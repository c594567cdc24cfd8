"""Bring a study's tables and what is kept beside them up to what its storage, bundles and data now say."""

from __future__ import annotations

from pathlib import Path

from arch.errors import InputError
from explore.config import SearchConfig, load_yaml, parse
from explore.judge import Judge
from explore.report.kept import keep
from explore.report.people import keep_people, load_people
from explore.report.study import write_tables
from explore.search.dataset import is_at_hand, open_judge
from explore.search.study import open_stored
from quantize import manifest


def refresh(folder: Path) -> list[str]:
    """Write the tables and page/ anew from what is there; returns what could not be done and why.

    Raises:
        InputError: the study's storage cannot be read.
    """
    if not (folder / "config.yaml").is_file():
        return [f"{folder}: no config.yaml: nothing but the tables is known"]
    try:
        config = config_of(folder)
    except InputError as error:  # of another version: what the tables hold is shown all the same
        return [f"{error}; the page shows what the tables hold"]
    stored = (folder / "study.db").is_file()
    bundles = bundles_of(config, folder)
    missing = sorted(set(bundles) - set(load_people(folder).answers))
    judge: Judge | None = None
    said = []
    if missing or stored:
        try:
            judge = open_judge(config) if is_at_hand(config) else None
        except InputError as error:
            said.append(f"data: {error}")
    if judge is None and missing:
        said.append(f"{config.data} is not at hand: no predictions of {', '.join(missing)}")
    if stored:
        study = open_stored(folder)
        write_tables(config, study)
        keep(folder, study, judge.mean_pose_mm if judge else None)
    if judge is not None and missing:
        keep_people(folder, judge, bundles)
    return said


def config_of(folder: Path) -> SearchConfig:
    """The configuration of a study that lies in `folder`, wherever it was made."""
    path = folder / "config.yaml"
    values = load_yaml(path)
    if isinstance(values, dict):
        values.pop("hash", None)
    place = folder.resolve()
    return parse(SearchConfig, values, str(path)).model_copy(update={"results": str(place.parent), "study": place.name})


def bundles_of(config: SearchConfig, folder: Path) -> list[str]:
    """The bundles of the study's own runtime that are there, as paths in the study."""
    found = (folder / "bundles").glob(f"*/{config.runtime}*/{manifest.FILE}")  # RUNTIME, or RUNTIME-RECIPE
    return sorted(path.parent.relative_to(folder).as_posix() for path in found)
