"""Finished candidates that studies share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from arch.space import preset
from explore.evaluation.evaluator import Evaluator
from explore.host import try_lock
from explore.search import candidate
from explore.search.config import SearchConfig
from explore.search.results import CandidateResult
from explore.search.storage import cache
from explore.train.config import CandidateConfig
from tests.helpers.studies import write_candidate

ARCH = preset("paper-XS-relu@64")
RECIPE = "int8-static"
EVALUATOR = cast(Evaluator, SimpleNamespace(train=SimpleNamespace(hash="a"), data=SimpleNamespace(hash="b")))


def study(folder: Path, name: str, **values: Any) -> SearchConfig:
    """A study with a measured reference network."""
    config = SearchConfig(study=name, results=str(folder), **values)
    reference = config.folder / "reference" / "reference.json"
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(json.dumps({"litert": {"median_ms": 2.0 if name == "one" else 3.0}}))
    return config


def evaluate(config: SearchConfig) -> tuple[CandidateResult, bool]:
    """Take a candidate from the cache, or leave the files of a new one; return the result and whether it is new."""
    if found := cache.take_result(config, EVALUATOR, ARCH, RECIPE):
        return found, False
    folder = config.folder / "candidates" / ARCH.id
    (folder / "litert").mkdir(parents=True, exist_ok=True)
    (folder / "litert" / "model.tflite").write_bytes(b"model")
    result = write_candidate(config, ARCH, file="litert/model.tflite", latency_ms=1.0, latency={"ratio": 0.5})
    cache.keep_result(config, EVALUATOR, ARCH, RECIPE)
    return result, True


def test_another_study_takes_an_evaluated_candidate(tmp_path: Path) -> None:
    one, two = study(tmp_path, "one"), study(tmp_path, "two", trials=7, sampler="random")
    assert evaluate(one)[1]
    result, is_new = evaluate(two)
    assert not is_new and result.cached
    assert result.latency_ms == 1.5, "the ratio times the latency of the study's own reference network"
    assert result.config_hash == two.hash
    files = [config.folder / "candidates" / ARCH.id / "litert" / "model.tflite" for config in (one, two)]
    assert files[1].read_bytes() == b"model" and os.path.samefile(*files)
    assert json.loads((one.folder / "candidates" / ARCH.id / "result.json").read_text())["latency_ms"] == 1.0


def test_a_cached_candidate_passes_the_rungs_as_others_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(study(tmp_path, "one", rungs=(0.5,)))
    two = study(tmp_path, "two", rungs=(0.5,))
    monkeypatch.setattr(candidate, "train_to_rung", lambda *given: 120.0)
    held, passed = try_lock(two.folder / "locks" / f"weights-{ARCH.id}.lock"), list[tuple[int, float]]()
    assert held is not None
    context: Any = SimpleNamespace(
        config=two, evaluator=EVALUATOR, report=lambda *stage: held.close()
    )  # while it waits
    result = candidate.run_candidate(context, ARCH, RECIPE, lambda *found: passed.append(found))
    assert held.closed and result.cached and passed == [(0, 120.0)]


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"candidate": CandidateConfig(samples=1)},
        {"input_size": 128},
        {"cache": "none"},
        {"estimator": "short"},
    ],
)
def test_settings_that_change_a_result_are_in_the_key(changed: dict[str, Any], tmp_path: Path) -> None:
    evaluate(study(tmp_path, "one"))
    assert evaluate(study(tmp_path, "two", **changed))[1]


def test_other_data_recipes_and_machines_have_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = study(tmp_path, "one")
    keys = {cache.key(config, RECIPE, "a b"), cache.key(config, RECIPE, "a c"), cache.key(config, "float", "a b")}
    monkeypatch.setattr(cache, "machine", lambda: {"processor": "another"})
    keys.add(cache.key(config, RECIPE, "a b"))
    assert len(keys) == 4
    other_choices = {"sampler": "random", "max_macs": "0.1L", "trials": 3, "workers": 1}
    other = study(tmp_path, "one", quantizations=("float", RECIPE), **other_choices)
    assert cache.key(other, RECIPE, "a b") in keys, "the choice of candidates does not change their results"


def test_existing_files_stay_and_links_are_not_followed(tmp_path: Path) -> None:
    one, two = study(tmp_path, "one"), study(tmp_path, "two")
    secret = tmp_path / "secret"
    secret.write_text("outside")
    folder = one.folder / "candidates" / ARCH.id
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(secret)
    evaluate(one)
    mine = two.folder / "candidates" / ARCH.id / "litert" / "model.tflite"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    evaluate(two)
    assert mine.read_text() == "mine"
    assert not [path for path in (tmp_path / ".cache").rglob("*") if path.is_symlink() or path.name == "link"]
