"""Finished candidates that studies share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from arch.space import preset
from explore.config import CandidateConfig, SearchConfig
from explore.judge import Judge
from explore.search import cache

ARCH = preset("paper-XS-relu@64")
RECIPE = "int8-static"
JUDGE = cast(Judge, SimpleNamespace(train=SimpleNamespace(hash="a"), test=SimpleNamespace(hash="b")))


class Evaluation:
    """Writes what a candidate leaves, and counts."""

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.count = 0
        reference = config.folder / "reference" / "reference.json"
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(json.dumps({"litert": {"median_ms": 2.0 if config.study == "one" else 3.0}}))

    def __call__(self) -> dict[str, Any]:
        self.count += 1
        folder = self.config.folder / "candidates" / ARCH.id
        (folder / "litert").mkdir(parents=True, exist_ok=True)
        (folder / "litert" / "model.tflite").write_bytes(b"model")
        result = {"mpjpe_mm": 1.0, "latency": {"ratio": 0.5}, "latency_ms": 1.0, "config_hash": self.config.hash}
        (folder / "result.json").write_text(json.dumps(result))
        return result


def of(folder: Path, study: str, **values: Any) -> SearchConfig:
    return SearchConfig(study=study, results=str(folder), **values)


def test_another_study_takes_what_one_has_evaluated(tmp_path: Path) -> None:
    one, two = of(tmp_path, "one"), of(tmp_path, "two", trials=7, sampler="random")
    first, second = Evaluation(one), Evaluation(two)
    cache.through(one, JUDGE, ARCH, RECIPE, first)
    result = cache.through(two, JUDGE, ARCH, RECIPE, second)
    assert (first.count, second.count) == (1, 0)
    assert result["latency_ms"] == 1.5, "latency is told by the study's own reference network"
    assert result["config_hash"] == two.hash
    files = [config.folder / "candidates" / ARCH.id / "litert" / "model.tflite" for config in (one, two)]
    assert files[1].read_bytes() == b"model" and os.path.samefile(*files)
    assert json.loads((one.folder / "candidates" / ARCH.id / "result.json").read_text())["latency_ms"] == 1.0


@pytest.mark.parametrize(
    "changed",
    [{"seed": 1}, {"candidate": CandidateConfig(samples=1)}, {"scale": 128}, {"cache": "none"}],
)
def test_what_a_result_depends_on_is_in_the_key(changed: dict[str, Any], tmp_path: Path) -> None:
    one, two = of(tmp_path, "one"), of(tmp_path, "two", **changed)
    cache.through(one, JUDGE, ARCH, RECIPE, Evaluation(one))
    second = Evaluation(two)
    cache.through(two, JUDGE, ARCH, RECIPE, second)
    assert second.count == 1


def test_other_data_recipes_and_machines_are_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = of(tmp_path, "one")
    keys = {cache.key(config, RECIPE, "a b"), cache.key(config, RECIPE, "a c"), cache.key(config, "float", "a b")}
    monkeypatch.setattr(cache, "machine", lambda: {"processor": "another"})
    keys.add(cache.key(config, RECIPE, "a b"))
    assert len(keys) == 4
    looking = of(tmp_path, "one", sampler="random", max_cost=0.1, trials=3, workers=1, recipes=("float", RECIPE))
    assert cache.key(looking, RECIPE, "a b") in keys, "how networks are chosen does not matter to how they fare"


def test_what_is_there_stays_and_no_link_leads_out(tmp_path: Path) -> None:
    one, two = of(tmp_path, "one"), of(tmp_path, "two")
    secret = tmp_path / "secret"
    secret.write_text("outside")
    first = Evaluation(one)
    folder = one.folder / "candidates" / ARCH.id
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(secret)
    cache.through(one, JUDGE, ARCH, RECIPE, first)
    mine = two.folder / "candidates" / ARCH.id / "litert" / "model.tflite"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    cache.through(two, JUDGE, ARCH, RECIPE, Evaluation(two))
    assert mine.read_text() == "mine"
    assert not [path for path in (tmp_path / ".cache").rglob("*") if path.is_symlink() or path.name == "link"]
