"""The supernet of a study: the one given, a built-in one that fits, or one trained for the study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arch.elastic import SuperNet
from arch.errors import InputError
from explore.commands import search
from explore.data.config import DatasetConfig
from explore.search import supernet
from explore.search.config import SearchConfig
from explore.search.supernet import with_supernet
from explore.train.supernet import load_supernet, save_supernet
from tests.helpers.supernets import small_space, space_file


def test_a_search_takes_a_built_in_supernet_that_fits_or_trains_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in = tmp_path / "supernets"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supernet, "BUILTIN", built_in)
    space = small_space()
    net = SuperNet(space, 0).net
    config = SearchConfig(space=str(space_file(tmp_path)), estimator="supernet", study="s")
    with pytest.raises(InputError, match=r"none given.*--train-supernet"):
        with_supernet(config, False)
    save_supernet(built_in / "little.safetensors", net, space, {"data": "synthetic-full"})
    with pytest.raises(InputError, match=r"little\.safetensors: trained on synthetic-full") as caught:
        with_supernet(config, False)
    assert "\n" not in str(caught.value)
    save_supernet(built_in / "little.safetensors", net, space, {"data": "synthetic-easy"})
    assert with_supernet(config, False).estimate.supernet == str(built_in / "little.safetensors")
    with pytest.raises(InputError, match="made for another space"):
        with_supernet(config.model_copy(update={"input_size": 128}), False)
    assert with_supernet(SearchConfig(), False) == SearchConfig()
    for useless in (SearchConfig(), with_supernet(config, False)):
        with pytest.raises(InputError, match="--train-supernet"):
            with_supernet(useless, True)

    own = with_supernet(config, True)
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(search.SUPERNET_PRESET, "samples", 32)
    small = own.model_copy(update={"dataset": DatasetConfig(train_frames=24, test_frames=8, val_frames=8)})
    search.train_supernet_of_study(small)
    made = config.folder / "supernet.safetensors"
    assert own.estimate.supernet == str(made) and json.loads(made.with_suffix(".json").read_text())["samples"] == 32
    load_supernet(made, space)
    monkeypatch.setitem(search.SUPERNET_PRESET, "samples", 64)
    search.train_supernet_of_study(small)
    assert json.loads(made.with_suffix(".json").read_text())["samples"] == 32  # a resumed search keeps it
    assert with_supernet(config, False) == own, "so does --remeasure"
    for changes in ({"data": "synthetic:full"}, {"seed": 1}):
        with pytest.raises(InputError, match="trained on synthetic:easy with seed 0; delete it"):
            search.train_supernet_of_study(small.model_copy(update=changes))
