"""The recipe as a dimension of the search, its float objective, and finalists that carry their certificates."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from arch.errors import InputError
from arch.search_space import Space
from explore.config import SearchConfig, parse
from explore.measure import protocol
from explore.measure.lane import Lane
from explore.report.study import write_report
from explore.search import candidate, identity, run, worker
from explore.search.candidate import Bench
from explore.search.choice import check_recipes, searched, shipped
from explore.search.dataset import open_judge
from explore.search.stages import RealStages
from explore.search.study import open_study, prepare_study
from quantize import bundle, certificate
from quantize.convert import Converter
from tests.quantize.conftest import small_arch

ROOT = Path(__file__).resolve().parents[2]
ONE_NETWORK = {
    "name": "one",
    "base": {"input": 256, "joints": 18, "early_stride": 2, "heatmap": 32, "depths": [1] * 7, "decoder_width": 32},
    "dimensions": {"width": [0.25], "inter": [64], "activation": ["relu"], "head": ["depthmap"]},
}
GIVEN: dict[str, Any] = {
    "dataset": {"train": 40, "test": 12},
    "candidate": {"samples": 16},
    "final": {"samples": 16},
    "measure": {"rounds": 3, "calls": 3, "budget": 0.5, "width": 1.0},
    "runtime": "onnxruntime",
    "runtimes": ["onnxruntime"],
    "workers": 2,
}


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes do not matter."""
    monkeypatch.setattr(protocol, "Rules", partial(protocol.Rules, quiet=-9.0))


class Told:
    """The end of a pipe at which nobody listens."""

    def send(self, message: object) -> None: ...


def search(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> Path:
    """A study from its reference to its report in this process alone; its folder."""
    monkeypatch.setenv("EDGEPOSE_CACHE", str(folder / "cache"))
    (folder / "one.yaml").write_text(yaml.safe_dump(ONE_NETWORK))
    place = {"space": str(folder / "one.yaml"), "results": str(folder), "study": "s"}
    config = parse(SearchConfig, GIVEN | place | options, "test")
    space = Space.named(config.space).at(config.scale)
    run._check(config, space)
    identity.leave(config)
    judge = open_judge(config)
    study = prepare_study(config, space)
    told: Any = Told()
    report = worker.Reporter(0, told)
    with Converter(folder / "converter.log") as converter:
        stages = RealStages(Bench(config, judge, Lane(folder / "locks"), converter, report))
        worker.work(config, "reference", stages, report)
        worker.work(config, "candidates", stages, report)
        run.line_up(open_study(config, finalists=True), run._choose_finalists(config, study))
        worker.work(config, "finalists", stages, report)
    write_report(config, study, judge, {}, 1.0)
    return config.folder


def test_one_network_by_three_recipes_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = ("int8-static", "int8-float-stem", "float")
    folder = search(tmp_path, monkeypatch, trials=3, recipes=recipes)
    (home,) = (folder / "candidates").iterdir()
    assert {path.name for path in home.glob("result-*.json")} == {f"result-{name}.json" for name in recipes}
    results = [json.loads(path.read_text()) for path in home.glob("result-*.json")]
    assert len({(r["train_s"], r["loss"], r["float_mpjpe_mm"]) for r in results}) == 1
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert {row["recipe"] for row in rows if row["state"] == "complete"} == set(recipes)
    front = list(csv.DictReader((folder / "front.csv").open()))
    for row in front:
        about = bundle.load(folder / row["bundle"]).manifest
        assert about.recipe.name == row["recipe"] and row["bundle"].endswith(f"onnxruntime-{row['recipe']}")
        proof = certificate.Certificate.model_validate(about.certificate)
        assert proof.holds and row["gates_failed"] == ""
        assert {"mpjpe_mm", "float_file_mpjpe_mm", "latency_ms", "float_latency_ms"} <= about.metrics.keys()
    assert "every gate of every file holds" in (folder / "README.md").read_text()


def test_float_objective_judges_the_float_file_and_ships_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = search(tmp_path, monkeypatch, trials=1, objective="float")
    (trial,) = csv.DictReader((folder / "trials.csv").open())
    assert trial["recipe"] == "float"
    assert float(trial["mpjpe_mm"]) == pytest.approx(float(trial["float_mpjpe_mm"]), abs=0.01)
    (row,) = csv.DictReader((folder / "front.csv").open())
    assert row["recipe"] == "int8-static"
    assert bundle.load(folder / row["bundle"]).manifest.recipe.int8


def test_a_failed_gate_is_told_and_the_finalist_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(certificate, "FLOAT_DEVIATION_MM", -1.0)
    config = parse(SearchConfig, GIVEN | {"results": str(tmp_path), "study": "s"}, "test")
    judge = open_judge(config)
    arch = small_arch().replace(joints=len(judge.train.skeleton.names))
    with Converter(tmp_path / "converter.log") as converter:
        bench = Bench(config, judge, Lane(tmp_path / "locks"), converter, lambda stage, done, total: None)
        candidate.make_reference(bench)
        candidate.evaluate(bench, arch, "int8-static")
        result = candidate.finish(bench, arch, ("int8-static",))
        (row,) = [row for row in result["rows"] if row["bundle"]]
        assert row["gates_failed"] == ["float file is the network"]
        proof = bundle.load(config.folder / row["bundle"]).manifest.certificate
        assert [gate["holds"] for gate in proof["gates"]] == [True, True, True, False]
        files = {path: path.stat().st_mtime_ns for path in config.folder.glob("finalists/*/*/model.onnx")}
        assert len(files) == 2
        (config.folder / "finalists" / arch.id / "result.json").unlink()
        again = candidate.finish(bench, arch, ("int8-static",))
        assert [r["mpjpe_mm"] for r in again["rows"]] == [r["mpjpe_mm"] for r in result["rows"]]
        assert {path: path.stat().st_mtime_ns for path in files} == files, "a judged file was made again"


def test_recipes_of_a_study() -> None:
    plain = SearchConfig()
    assert searched(plain) == shipped(plain) == ("int8-static",)
    floats = SearchConfig(objective="float")
    assert (searched(floats), shipped(floats)) == (("float",), ("int8-static",))
    assert plain.hash != floats.hash != SearchConfig(recipes=("float",)).hash
    for wrong, said in (
        ({"objective": "float", "recipes": ("float",)}, "have no use with the objective float"),
        ({"recipes": ("int8-static", "int8-qat")}, "int8-qat trains on"),
        ({"recipes": ("int3",)}, "'int3' is not one of"),
    ):
        with pytest.raises(InputError, match=said):
            check_recipes(SearchConfig(**wrong))  # type: ignore[arg-type]


def test_the_shipped_reference_study_keeps_its_hash() -> None:
    assert SearchConfig().hash == yaml.safe_load((ROOT / "results/reference/config.yaml").read_text())["hash"]
