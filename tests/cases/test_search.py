"""Searches whose settings, folders or batches once led to wrong results without a message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arch.errors import InputError
from arch.space import preset
from explore.cli import main
from explore.search.candidate import network_figures
from explore.search.config import SearchConfig
from explore.search.finalists import Finalist, set_aside_other_settings
from explore.search.results import FinalistResult
from explore.search.storage.backends import storage_url
from explore.search.storage.records import read_records

ARCH = preset("paper-XS-relu@64")


def finish(config: SearchConfig, recipes: tuple[str, ...] = ("int8-static",)) -> Finalist:
    """Leave the result of a finalist, as a search with these settings does."""
    finalist = Finalist(ARCH, recipes)
    set_aside_other_settings(config, [finalist])
    result = FinalistResult(**network_figures(ARCH, config), float_mpjpe_mm=1.0, recipes=list(recipes), rows=[])
    finalist.folder(config).mkdir(parents=True)
    finalist.result_file(config).write_text(result.model_dump_json())
    return finalist


@pytest.mark.parametrize("changed", [{"final": {"samples": 7}}, {"runtimes": ("litert",)}, {"seed": 1}])
def test_finalists_of_other_settings_are_not_taken(changed: dict[str, Any], tmp_path: Path) -> None:
    config = SearchConfig(results=str(tmp_path), study="s")
    other = SearchConfig(results=str(tmp_path), study="s", **changed)
    finalist = finish(config)
    set_aside_other_settings(other, [finalist])
    assert finalist.result(other) is None, "its settings were others"
    set_aside_other_settings(config, [finalist])
    assert finalist.result(config) is not None, "the settings are the same again: nothing finished is lost"


def test_a_finalist_without_one_of_its_recipes_is_not_finished(tmp_path: Path) -> None:
    config = SearchConfig(results=str(tmp_path), study="s")
    finish(config)
    assert Finalist(ARCH, ("int8-static",)).has_ended(config)
    assert not Finalist(ARCH, ("int8-static", "float")).has_ended(config)


@pytest.mark.parametrize("character", ["?", "#"])
def test_a_folder_that_ends_the_path_of_a_url_is_refused(
    character: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / f"what{character}is"
    with pytest.raises(InputError, match=r"--results .*contains"):
        storage_url(SearchConfig(results=str(folder), study="s"))
    assert main(["search", f"--results={folder}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "choose another folder" in error
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_reference_that_is_no_longer_named_is_not_reported_as_a_network_of_the_search(tmp_path: Path) -> None:
    config = SearchConfig(results=str(tmp_path), study="s")
    finish(config)
    listed = config.folder / "finalists.json"
    listed.write_text(json.dumps([{"arch": ARCH.model_dump(mode="json"), "recipes": ["int8-static"]}]))
    assert [result.arch_id for result in read_records(config).finalists] == [ARCH.id]
    other = ARCH.replace(width=0.25)
    listed.write_text(json.dumps([{"arch": other.model_dump(mode="json"), "recipes": ["int8-static"]}]))
    assert not read_records(config).finalists
