"""Benchmark `int8`: fronts by INT8 and by float results, and the page of the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from arch.errors import InputError
from arch.network import build
from benchmarks import Claim
from benchmarks.int8_fronts import bench_fronts
from benchmarks.int8_recipes import evaluate_recipes
from benchmarks.int8_table import markdown
from explore.config import parse
from explore.evaluation.evaluator import open_evaluator
from explore.progress import Display
from explore.search.config import SearchConfig
from explore.train.loop import to_input
from quantize.checkpoint import save_network
from quantize.recipes import recipe
from tests.helpers.networks import adapt_batch_norm, small_arch

TRIALS = """trial,state,name,mpjpe_mm,latency_ms,float_mpjpe_mm,macs
0,complete,good,100,1.0,99,10
1,complete,slow-in-int8,98,9.0,97,12
2,complete,fast-in-int8,97,2.0,98,14
3,complete,worst,150,9.5,150,99
4,fail,failed,,,,
"""


def test_fronts_by_int8_and_by_float(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text(TRIALS)
    rows, (claim,) = bench_fronts(tmp_path)
    evaluated = {row["network"]: (row["by_int8"], row["by_float"]) for row in rows}
    assert evaluated == {
        "good": (True, True),
        "slow-in-int8": (False, True),
        "fast-in-int8": (True, False),
        "worst": (False, False),
    }
    assert claim.passed and claim.measured == "1 enter, 1 leave, 1 stay"
    with pytest.raises(InputError, match=r"trials.csv: no such file; set EDGEPOSE_STUDY"):
        bench_fronts(tmp_path / "none")
    page = markdown(rows, [claim, Claim(name="x", target="2", measured="1", passed=False)])
    assert "| x | 2 | 1 |  | FAIL |" in page
    assert "| slow-in-int8 | 98.0 | 9.000 | 97.0 | 0.0 | no | yes |" in page
    assert "worst" not in page


@pytest.mark.slow
def test_files_by_recipe_are_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    values = {"dataset": {"train_frames": 24, "test_frames": 8}, "measure": {"rounds": 3, "max_seconds": 0.5}}
    config = parse(SearchConfig, values | {"runtimes": ("onnxruntime",)}, "test")
    evaluator = open_evaluator(config.data_config)
    arch = small_arch().replace(num_joints=len(evaluator.train.skeleton.names))
    net = adapt_batch_norm(build(arch, 0), to_input(evaluator.calibration(24, 0)))
    save_network(tmp_path / "net.safetensors", net)
    recipes = [recipe("fp16"), recipe("int8-static")]
    given = (tmp_path / "net.safetensors", tmp_path / "files", config, Display(quiet=True), recipes)
    rows, (claim,) = evaluate_recipes(*given)
    plain, half, small = rows
    assert (plain["recipe"], plain["drop_mm"], plain["int8_share"]) == ("float", 0, 0)
    assert "no fp16 kernels" in half["refused"]
    assert small["kib"] < plain["kib"] and small["int8_share"] == 1
    assert claim.measured == f"{small['drop_mm']:+.2f} mm" and claim.passed == (small["drop_mm"] <= 0.5)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.onnx")}
    again, _ = evaluate_recipes(*given)
    assert [row.get("mpjpe_mm") for row in again] == [row.get("mpjpe_mm") for row in rows]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.onnx")} == files
