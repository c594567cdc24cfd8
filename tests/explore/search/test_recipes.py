"""The recipe as a dimension of the search, its float objective, and finalists that carry their certificates."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from arch.errors import InputError
from arch.search_space import Space
from explore.config import parse
from explore.evaluation.evaluator import open_evaluators
from explore.measure import latency
from explore.measure.lock import MeasurementLock
from explore.report.study_report import write_study_report
from explore.report.tables import read_table
from explore.search import run
from explore.search.candidate import run_candidate
from explore.search.config import SearchConfig
from explore.search.context import EvalContext
from explore.search.costs.latency import make_reference
from explore.search.finalists import Finalist, Validation, choose_finalists, run_finalist
from explore.search.recipes_of_trial import check_recipes, exported_recipes, searched_recipes
from explore.search.results import finalist_results
from explore.search.storage import fingerprint
from explore.search.storage.records import read_records
from explore.search.study import prepare_study
from explore.search.workers import worker
from quantize import bundle, certificate
from quantize.convert import Converter
from tests.helpers import ROOT
from tests.helpers.search import TINY_SPACE
from tests.quantize.conftest import small_arch

ONE_NETWORK = {
    "name": "one",
    "base": TINY_SPACE["base"],
    "dimensions": {"width": [0.25], "intermediate_channels": [64], "activation": ["relu"], "head": ["heatmap-2.5d"]},
}
GIVEN: dict[str, Any] = {
    "dataset": {"train_frames": 40, "test_frames": 12, "val_frames": 12},
    "candidate": {"samples": 16},
    "final": {"samples": 16},
    "measure": {"rounds": 3, "calls": 3, "max_seconds": 0.5, "ci_width": 1.0},
    "runtime": "onnxruntime",
    "runtimes": ["onnxruntime"],
    "workers": 2,
}


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes do not matter."""
    monkeypatch.setattr(latency, "ProtocolSettings", partial(latency.ProtocolSettings, min_cpu_share=-9.0))


class Told:
    """The end of a pipe at which nobody listens."""

    def send(self, message: object) -> None: ...


def search(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> Path:
    """A study from its reference to its report in this process alone; its folder."""
    monkeypatch.setenv("EDGEPOSE_CACHE", str(folder / "cache"))
    (folder / "one.yaml").write_text(yaml.safe_dump(ONE_NETWORK))
    place = {"space": str(folder / "one.yaml"), "results": str(folder), "study": "s"}
    config = parse(SearchConfig, GIVEN | place | options, "test")
    space = Space.named(config.space).at(config.input_size)
    run.check(config)
    fingerprint.leave(config)
    parts = open_evaluators(config.data_config, config.processes)
    study = prepare_study(config, space)
    told: Any = Told()
    report = worker.Reporter(told)
    with Converter(folder / "converter.log") as converter:
        context = EvalContext(
            config, parts.validation, parts.test, MeasurementLock(folder / "locks"), converter, report
        )
        tools = worker.RealWork(context)
        worker.work(config, "reference", tools, report)
        worker.work(config, "candidates", tools, report)
        choose_finalists(config, study, {}, Validation())
        worker.work(config, "finalists", tools, report)
    write_study_report(config, parts, {}, read_records(config), 1.0)
    return config.folder


def test_one_network_by_three_recipes_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    within = tmp_path / "within.yaml"  # mixed precision with a budget that the first file keeps
    within.write_text("weights: int8\nactivations: int8\ncalibration_images: 8\nfloat_budget_mm: 900\n")
    recipes = ("int8-static", "within", "float")
    given = tuple(str(within) if name == "within" else name for name in recipes)
    folder = search(tmp_path, monkeypatch, trials=3, quantizations=given)
    (home,) = (folder / "candidates").iterdir()
    assert {path.name for path in home.glob("result-*.json")} == {f"result-{name}.json" for name in recipes}
    results = [json.loads(path.read_text()) for path in home.glob("result-*.json")]
    assert len({(r["train_s"], r["loss"], r["float_mpjpe_mm"]) for r in results}) == 1
    assert {name for result in finalist_results(folder).values() for name in result.recipes} <= set(recipes)
    rows = read_table(folder / "trials.csv")
    assert {row["recipe"] for row in rows if row["state"] == "complete"} == set(recipes)
    front = read_table(folder / "front.csv")
    for row in front:
        about = bundle.load(folder / row["bundle"]).manifest
        assert about.recipe.name == row["recipe"] and row["bundle"].endswith(f"onnxruntime-{row['recipe']}")
        proof = certificate.Certificate.model_validate(about.certificate)
        assert proof.passed and row["checks_failed"] == ""
        assert about.recipe.float_budget_mm == (900 if row["recipe"] == "within" else None)
        assert bool(proof.quantizer) is (row["recipe"] != "float")
        assert {"mpjpe_mm", "float_file_mpjpe_mm", "latency_ms", "float_latency_ms"} <= about.metrics.keys()
    assert "all of its checks passed" in (folder / "README.md").read_text()


def test_float_objective_judges_the_float_file_and_ships_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = search(tmp_path, monkeypatch, trials=1, objective="float")
    (trial,) = read_table(folder / "trials.csv")
    assert trial["recipe"] == "float"
    assert float(trial["mpjpe_mm"]) == pytest.approx(float(trial["float_mpjpe_mm"]), abs=0.01)
    (row,) = read_table(folder / "front.csv")
    assert row["recipe"] == "int8-static"
    assert bundle.load(folder / row["bundle"]).manifest.recipe.int8


@pytest.mark.slow
def test_a_failed_gate_is_told_and_the_finalist_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(certificate, "FLOAT_DEVIATION_MM", -1.0)
    config = parse(SearchConfig, GIVEN | {"results": str(tmp_path), "study": "s"}, "test")
    parts = open_evaluators(config.data_config, config.processes)
    arch = small_arch().replace(num_joints=len(parts.train.skeleton.names))
    with Converter(tmp_path / "converter.log") as converter:
        context = EvalContext(
            config,
            parts.validation,
            parts.test,
            MeasurementLock(tmp_path / "locks"),
            converter,
            lambda stage, done, total: None,
        )
        make_reference(context)
        run_candidate(context, arch, "int8-static", lambda rung, mm: None)
        finalist = Finalist(arch, ("int8-static",))
        result = run_finalist(context, finalist)
        (row,) = [row for row in result.rows if row.bundle]
        assert row.checks_failed == ["float file matches the network"] and not row.checks_passed
        proof = bundle.load(config.folder / row.bundle).manifest.certificate
        assert [check["passed"] for check in proof["checks"]] == [True, True, True, False, True]
        files = {path: path.stat().st_mtime_ns for path in config.folder.glob("finalists/*/*/model.onnx")}
        assert len(files) == 2
        finalist.result_file(config).unlink()
        again = run_finalist(context, finalist)
        assert [r.mpjpe_mm for r in again.rows] == [r.mpjpe_mm for r in result.rows]
        assert {path: path.stat().st_mtime_ns for path in files} == files, "a evaluated file was made again"


def test_recipes_of_a_study() -> None:
    plain = SearchConfig()
    assert searched_recipes(plain) == exported_recipes(plain) == ("int8-static",)
    floats = SearchConfig(objective="float")
    assert (searched_recipes(floats), exported_recipes(floats)) == (("float",), ("int8-static",))
    assert plain.hash != floats.hash != SearchConfig(quantizations=("float",)).hash
    for wrong, said in (
        ({"objective": "float", "quantizations": ("float",)}, "objective float evaluates the float file"),
        ({"quantizations": ("int8-static", "int8-qat")}, "int8-qat needs training"),
        ({"quantizations": ("int3",)}, "'int3' is not one of"),
    ):
        with pytest.raises(InputError, match=said):
            check_recipes(SearchConfig(**wrong))  # type: ignore[arg-type]


def test_a_configuration_of_version_0_1_equals_the_default() -> None:
    values = yaml.safe_load((ROOT / "results/version-0.1/config.yaml").read_text())
    values.pop("hash")
    assert SearchConfig(**values).hash == SearchConfig().hash
