"""A search by every estimator, end to end: candidates are estimated, what is shipped was trained in full and measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arch.elastic import SuperNet
from explore.report.tables import read_table
from tests.helpers.search import RENDERED, run_command
from tests.helpers.supernets import small_space, space_file

pytestmark = pytest.mark.timeout(3000)  # busy machines disturb and delay measurements


def case(name: str, trials: int, slow: bool = True) -> object:
    return pytest.param(name, trials, id=name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(
    ("name", "trials"), [case("supernet", 2, slow=False), case("short", 6), case("inherit", 6), case("predictor", 10)]
)
def test_a_search_estimates_candidates_and_trains_finalists_in_full(name: str, trials: int, tmp_path: Path) -> None:
    options = [*RENDERED, f"--space={space_file(tmp_path)}", f"--estimator={name}", "--estimate.samples=16"]
    if name == "supernet":
        from explore.train.supernet import save_supernet

        save_supernet(tmp_path / "super.safetensors", SuperNet(small_space(), 0).net, small_space(), {})
        options.append("--estimate.supernet=super.safetensors")
    options += [f"--trials={trials}", "--runtime=onnxruntime", "--runtimes=onnxruntime", "--finalists=1", "--workers=1"]
    done = run_command(tmp_path, *options, timeout=1500)
    assert done.returncode == 0, done.stderr

    study = tmp_path / "s"
    results = [json.loads(path.read_text()) for path in study.glob("candidates/*/result.json")]
    assert len(results) == trials and all(result["estimator"] == name for result in results)
    in_full = sum(result["in_full"] for result in results)
    assert {"short": 0, "supernet": 0}.get(name, in_full) == in_full
    if name in ("inherit", "predictor"):
        assert in_full >= (4 if name == "inherit" else 8)
    for result in results:
        if result["measured"]:
            evaluated = study / "candidates" / result["arch_id"] / "onnxruntime-int8-static" / "evaluated.json"
            assert json.loads(evaluated.read_text())["accuracy"]["mpjpe"] == result["mpjpe_mm"]
    final = [json.loads(path.read_text()) for path in study.glob("finalists/*/result.json")]
    assert [row["samples"] for row in final] == [64]
    shipped = read_table(study / "front.csv")
    measured = {row["mpjpe_mm"] for row in final[0]["rows"]}
    assert shipped and all(float(row["mpjpe_mm"]) in measured for row in shipped)
