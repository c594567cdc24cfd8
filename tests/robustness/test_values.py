"""Values that a field's rule forbids: each kind of hand-written file names the key, and nothing is started."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from arch.errors import InputError
from arch.search_space import Space
from arch.space import named_arch
from explore.cli import main
from explore.config import load_yaml, parse
from explore.search.config import SearchConfig
from explore.train.config import TrainConfig
from quantize.recipes import recipe
from tests.helpers import ROOT

SETTINGS = {  # of a search: a line of YAML, the key and the fault
    "trials: true": "trials: true and false have no meaning here",
    "rungs: [true]": "rungs: true and false",
    "dataset: {train_subjects: [true]}": "dataset.train_subjects: true and false",
    "dataset: {test_subjects: []}": "dataset.test_subjects: is empty; list at least one value",
    "dataset: {test_subjects: 9}": "dataset.test_subjects: is not a list; write [A, B, ...]",
    "dataset: {protocol: true}": "dataset.protocol: true and false",
    "candidate: {learning_rate: true}": "candidate.learning_rate: true and false",
    "trials: 1.5": "trials: ",
    "trials: 9000000000000000000": "trials: Input should be less than or equal to 1000000",
    "workers: 1000000000": "workers: Input should be less than or equal to 1024",
    "seed: 9223372036854775807": "seed: should be at most 4294967295",
    "candidate: {samples: 1000000000000}": "candidate.samples: Input should be less than or equal to 1000000000",
    "dataset: {train_frames: 1000000000000}": "dataset.train_frames: Input should be less than or equal to 10000000",
    "dataset: {frame: 5}": "dataset.frame: 5 is not 0 or a number from 32 to 1024",
    "finalists: 99999999999999": "finalists: should be at most",
    "budget: 15 parsecs": "budget: '15 parsecs' is no duration",
    "budget: 99999999999999999999d": "budget: '99999999999999999999d' is no duration",
    "eta: 1": "eta: ",
    "limits: [latency=nanms]": "limits: ",
    "candidate: [1]": "candidate: is not a mapping; write lines of the form `key: value`",
    "study: [a, b]": "study: ",
}
ARCHS = {
    "depths: [10000, 1, 1, 1, 1, 1, 1]": "depths: ",
    "expansions: [1000.0, 1, 1, 1, 1, 1, 1]": "expansions: ",
    "kernels: [101, 3, 3, 3, 3, 3, 3]": "kernels: ",
    "depths: []": "depths: ",
    "width: true": "width: ",
    "input_size: '64'": "input_size: ",
    "input_size: 100000": "heatmap_size: ",
    "num_joints: 134": "num_joints: ",
}
RECIPES = {
    "calibration_images: true": "calibration_images: ",
    "calibration_images: '5'": "calibration_images: ",
    "calibration_images: 1000000000000": "calibration_images: ",
    "float_first: -1": "float_first: ",
    "float_budget_mm: true": "float_budget_mm: ",
    "qat_samples: 1000000000000": "qat_samples: ",
}
WIDTHS: dict[str, Any] = {  # values of a dimension
    "mapping": [{"a": 1}],
    "null": [None],
    "list": [[1]],
    "text": ["big"],
    "zero": [0],
    "huge": [1e9],
    "true": [True],
    "twice": [0.5, 0.5],
    "empty": [],
    "number": 3,
}


def message(read: Callable[[str], object], path: Path, content: str) -> str:
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read(str(path))
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def settings(path: str) -> SearchConfig:
    return parse(SearchConfig, load_yaml(path), path)


READERS = {
    "settings": (SETTINGS, settings, ""),
    "arch": (ARCHS, named_arch, "encoder: mobilenet_v2\n"),
    "recipe": (RECIPES, recipe, ""),
}


@pytest.mark.parametrize(
    ("reader", "line"), [(reader, line) for reader, (lines, _, _) in READERS.items() for line in lines]
)
def test_values(reader: str, line: str, tmp_path: Path) -> None:
    lines, read, before = READERS[reader]
    assert message(read, tmp_path / "mine.yaml", before + line).startswith(lines[line])


@pytest.mark.parametrize("kind", WIDTHS)
def test_values_of_a_dimension(kind: str, tmp_path: Path) -> None:
    space = yaml.safe_load((ROOT / "arch" / "spaces" / "mobile.yaml").read_text())
    space["dimensions"]["width"] = WIDTHS[kind]
    found = message(Space.load, tmp_path / "mine.yaml", yaml.safe_dump(space, sort_keys=False))
    assert found.startswith("dimensions.") and "boolean" not in found


@pytest.mark.parametrize("name", ["", "a\x07b", "x" * 500, "a\nb"])
def test_names_of_spaces(name: str, tmp_path: Path) -> None:
    space = yaml.safe_load((ROOT / "arch" / "spaces" / "mobile.yaml").read_text()) | {"name": name}
    assert message(Space.load, tmp_path / "mine.json", json.dumps(space)).startswith("name: ")


def test_texts_of_options_are_numbers() -> None:
    config = parse(TrainConfig, {"samples": "20", "learning_rate": "1e-3"}, "command line")
    assert (config.samples, config.learning_rate) == (20, 1e-3)
    assert parse(SearchConfig, {"equal_compute": True}, "x").equal_compute


@pytest.mark.parametrize("option", ["--backbone", "--init-from"])
@pytest.mark.parametrize("content", [None, b"", b"no weights", b"\x80\x02}q\x00."])
def test_initial_weights_are_read_before_the_data(
    option: str,
    content: bytes | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "weights.pt"
    if content is not None:
        weights.write_bytes(content)
    out = tmp_path / "a.safetensors"
    assert main(["train", "--arch", "paper-XS-relu@64", option, str(weights), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert f"{weights}: " in error and "weights_only" not in error and error.count("\n") == 1
    assert not (tmp_path / "cache").exists() and not out.exists()
