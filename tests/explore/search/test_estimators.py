"""A search by every estimator, end to end: candidates are estimated, what is shipped was trained in full and measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from arch.elastic import SuperNet
from arch.search_space import Space
from explore.report.tables import read_table
from tests.helpers.search import QUICK, RENDERED, ROOT

pytestmark = pytest.mark.timeout(3000)  # busy machines disturb and delay measurements

SPACE = {
    "name": "little",
    "base": {
        "encoder": "mobilenet_v2", "stem_stride": 2, "input_size": 256, "heatmap_size": 32, "num_joints": 18, "concat": "skip",
        "decoder_conv": "separable", "activation": "relu", "depths": [1] * 7,
    },
    "dimensions": {"width": [0.125, 0.25, 0.5], "intermediate_channels": [16, 32, 64], "decoder_width": [16, 32]},
}  # fmt: skip


def run(folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "explore.py"), *options],
        cwd=folder,
        env=os.environ | {"EDGEPOSE_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def case(name: str, trials: int, slow: bool = True) -> object:
    return pytest.param(name, trials, id=name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(
    ("name", "trials"),
    [case("supernet", 2, slow=False), case("short", 6), case("inherit", 6), case("predictor", 10)],
)
def test_a_search_estimates_candidates_and_trains_finalists_in_full(name: str, trials: int, tmp_path: Path) -> None:
    space = tmp_path / "little.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    options = [f"--estimator={name}", "--estimate.samples=16"]
    if name == "supernet":
        from explore.train.supernet import save_supernet

        made = Space.load(space).at(64)
        save_supernet(tmp_path / "super.safetensors", SuperNet(made, 0).net, made, {})
        options.append("--estimate.supernet=super.safetensors")
    run(tmp_path, "search", "--results=.", f"--space={space}", *QUICK, *RENDERED, *options, f"--trials={trials}",
        "--runtime=onnxruntime", "--runtimes=onnxruntime", "--finalists=1", "--workers=1")  # fmt: skip

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
