"""What a search minimises when latency counts on several devices, its limits, and the predictor that screens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arch.errors import InputError
from arch.space import preset
from explore.config import SearchConfig
from explore.search import devices
from explore.search.front import choose
from tests.explore.measure.test_predictor import ABOUT, fit, rows

PI, PHONE = "ssh://pi@raspberry?python=~/v/bin/python", "web://127.0.0.1:8000?token=a-word-of-mine"
RESULT = {
    "mpjpe_mm": 100.0,
    "latency_ms": 2.0,
    "elsewhere": {PI: {"latency_ms": 20.0}, PHONE: {"latency_ms": 9.0}},
}


def test_each_device_is_an_objective_and_a_limit_makes_it_a_constraint() -> None:
    config = SearchConfig(devices=("local", PI, PHONE))
    assert devices.values(config, RESULT) == [100.0, 2.0, 20.0, 9.0] and devices.constraints(config, RESULT) == {}
    config = SearchConfig(devices=("local", PI, PHONE), max_ms=(f"{PI}=15", "local=3"))
    assert devices.objectives(config) == ("mpjpe_mm", "latency_ms", "latency_ms web://127.0.0.1:8000")
    assert devices.constraints(config, RESULT) == {f"max_ms {PI}": 5.0, "max_ms local": -1.0}
    alone = SearchConfig(devices=(PHONE,), max_ms=(f"{PHONE}=8",))  # a phone is all that counts
    assert devices.values(alone, RESULT) == [100.0, 9.0] and devices.constraints(alone, RESULT) == {
        f"max_ms {PHONE}": 1.0
    }
    row = {"mpjpe_mm": 100.0, "latency_ms": 2.0, **devices.columns(RESULT)}  # as in trials.csv
    assert devices.values(config, row) == devices.values(config, RESULT)


def test_a_study_without_further_devices_keeps_its_hash() -> None:
    plain = SearchConfig()
    assert {"devices", "max_ms", "predictor"} & plain.identity().keys() == set()
    assert SearchConfig(devices=("local", "web")).hash != plain.hash
    assert SearchConfig(predictor="p.json").hash == plain.hash


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": ()}, "name one at least"),
        ({"devices": ("local", "web", "web")}, "each once"),
        ({"devices": ("local", "toaster")}, "device: 'toaster'"),
        ({"devices": ("local", PI, PI + "&hostkeys=yes")}, "options alone"),
        ({"devices": ("local", "web")}, "its address must stay"),
        ({"max_ms": ("web=3",)}, "max_ms: 'web=3'"),
        ({"max_ms": ("local=fast",)}, "fast are no milliseconds"),
        ({"max_ms": ("local=-1",)}, "-1 are no milliseconds"),
        ({"predictor": "nowhere.json", "max_ms": ("local=1",)}, "nowhere.json"),
    ],
)
def test_wrong_input(changes: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(InputError) as caught:
        devices.check(SearchConfig.model_validate(changes))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_predictor_screens_what_is_well_above_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    made = fit(rows(60, 10), ABOUT)
    made.save(path)
    small, large = preset("paper-XS-relu@64"), preset("paper-L-relu@64")
    most = float(made.ms([small])[0]) * 1.05
    config = SearchConfig(results=str(tmp_path), study="s", predictor=str(path), max_ms=(f"local={most}",))
    devices.check(config)
    reference = tmp_path / "s" / "reference" / "reference.json"
    reference.parent.mkdir(parents=True)
    reference.write_text('{"litert": {"median_ms": 0.25}}')
    assert devices.screen(config, small, "int8-static") == ""
    assert "on local, above max_ms" in devices.screen(config, large, "int8-static")
    assert devices.screen(config.model_copy(update={"predictor": ""}), large, "int8-static") == ""
    for changes, words in (
        ({"max_ms": ()}, "has no limit"),
        ({"scale": 128}, "scale"),
        ({"recipe": "float"}, "recipe"),
    ):
        with pytest.raises(InputError, match=words):
            devices.check(config.model_copy(update=changes))


def test_finalists_of_three_objectives_begin_with_the_best_of_each() -> None:
    points = np.array([[1, 9, 9], [9, 1, 9], [9, 9, 1], [5, 5, 5], [8, 8, 8], [9, 9, 9]], float)
    chosen = choose(points, 4)
    assert set(chosen[:3]) == {0, 1, 2} and chosen[3] == 3
