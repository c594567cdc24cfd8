"""Networks that a study compares with: trained and shipped as its own are; and its files timed again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import preset
from explore.report.tables import read_table
from explore.search.config import SearchConfig
from explore.search.study import references
from tests.helpers.search import RENDERED, run_command

# Latencies are measured, which other processes disturb and delay.
pytestmark = [pytest.mark.alone, pytest.mark.timeout(3000)]

NAMES = "movnect-sized,paper-XS"
SPACE = Space.named("mobile").at(64)


def test_moons_network_and_one_of_movnects_size_are_presets() -> None:
    moon, small = preset("moon-resnet50"), preset("movnect-sized")
    assert moon.encoder == "resnet50" and moon.concat == "none" and moon.activation == "relu"
    assert cost(small).params == pytest.approx(1.03e6, rel=0.005), "printed in Table 10"
    assert preset("movnect-sized@64").name == "movnect-sized@64" and preset("moon-resnet50@64").heatmap_size == 16


def test_what_cannot_ship_is_taken_with_relu() -> None:
    found = references(SearchConfig(references=("paper-L", "moon-resnet50", "paper-XS-relu6")), SPACE)
    assert list(found) == ["paper-L-relu@64", "moon-resnet50@64", "paper-XS-relu6@64"]


@pytest.mark.parametrize(
    ("name", "said"), {"paper-M": "not a preset", "paper-L@128": "leave out the input size"}.items()
)
def test_wrong_references_are_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        references(SearchConfig(references=(name,)), SPACE)


def run(folder: Path, *options: str) -> Any:
    usual = (*RENDERED, "--trials=1", "--finalists=1", "--runtimes=litert", "--json")
    done = run_command(folder, *usual, *options, timeout=1500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_they_are_trained_and_shipped_alike_and_all_files_can_be_timed_again(tmp_path: Path) -> None:
    wrong = run_command(tmp_path, "--remeasure")
    assert wrong.returncode == 2 and "has no finalists" in wrong.stderr

    first = run(tmp_path, f"--references={NAMES}")
    folder = tmp_path / "s"
    rows = {row["name"]: row for row in read_table(folder / "front.csv")}
    assert len(rows) == 3 and {"movnect-sized@64", "paper-XS-relu@64"} < set(rows)
    assert {row["samples"] for row in rows.values()} == {"64"}, "a candidate's and a finalist's, for all"
    assert {found["other"]["name"] for found in first["iso_accuracy"]} == {"movnect-sized@64", "paper-XS-relu@64"}
    assert "movnect-sized@64" in (folder / "README.md").read_text().partition("## Comparison at equal error")[2]
    networks = json.loads((folder / "page" / "study.json").read_text())["networks"]
    assert {row["arch_id"] for row in rows.values()} <= set(networks), "the page shows them stage by stage"

    again = run(tmp_path, f"--references={NAMES}", "--remeasure")
    for name, row in {row["name"]: row for row in read_table(folder / "front.csv")}.items():
        assert row["mpjpe_mm"] == rows[name]["mpjpe_mm"]
        assert row["latency_ms"] != rows[name]["latency_ms"]
        metrics = json.loads((folder / row["bundle"] / "manifest.json").read_text())["metrics"]
        assert metrics["latency_ms"] == pytest.approx(float(row["latency_ms"]))
    assert [row["name"] for row in again["exported"]] and again["train_minutes"] == first["train_minutes"] > 0
