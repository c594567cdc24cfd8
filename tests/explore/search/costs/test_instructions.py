"""Instruction counts as an objective and a limit of a search."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch, preset
from explore.report.columns import COUNT_PREFIX, column, key_of, with_devices
from explore.report.rows import ExportedRow
from explore.report.tables import read_table
from explore.search.config import SearchConfig
from explore.search.costs import instructions, objectives
from explore.search.costs.quantities import parse_limit, quantity
from explore.search.results import CandidateResult
from tests.helpers.emulated import emulated
from tests.helpers.search import RENDERED, busy_processes, command, environment, trials
from tests.helpers.studies import write_candidate

NAME = "instructions@cortex-a76"
KEY = "instructions cortex-a76"
SPACE = Space.named("mobile").at(64)


def config_of(tmp_path: Path, *limits: str) -> SearchConfig:
    return SearchConfig(results=str(tmp_path), study="s", objectives=("mpjpe", NAME), limits=limits or ("macs=0.5L",))


def counted(tmp_path: Path, arch: Arch, count: int) -> CandidateResult:
    """Write the result of a candidate whose instructions are counted."""
    return write_candidate(config_of(tmp_path), arch, instructions={"cortex-a76": count})


def test_name_column_and_units() -> None:
    found = quantity(NAME)
    assert found.kind == "instructions" and found.address == "cortex-a76" and found.column == KEY
    assert parse_limit(f"{NAME}=50M").value(64) == 50e6 and found.text(12_345_678) == "12.35 M instructions"
    assert key_of(column(KEY).header) == KEY and KEY.startswith(COUNT_PREFIX)
    assert with_devices(("latency_ms", "macs"), (KEY,), sources=True) == (
        "latency_ms",
        "source latency_ms",
        KEY,
        "macs",
    )
    assert ExportedRow(remote={KEY: 3.0}).get(KEY) == 3.0
    for name in ("instructions", "instructions@", "instructions@cortex-a710"):
        with pytest.raises(ValueError, match="the processors are cortex-a53, cortex-a72, cortex-a76"):
            quantity(name)


def test_a_count_is_a_figure_an_objective_and_a_limit(tmp_path: Path) -> None:
    config = config_of(tmp_path, f"{NAME}=20M", "macs=1L")
    result = counted(tmp_path, preset("paper-XS-relu@64"), 30_000_000)
    figures = objectives.figures(result)
    assert objectives.objectives(config) == ("mpjpe_mm", KEY) and objectives.values(config, figures) == [151.0, 30e6]
    assert objectives.constraints(config, figures)[f"limit {NAME}"] == pytest.approx(0.5)
    assert objectives.addresses(config) == () and instructions.counted_cpus(config) == ("cortex-a76",)


def test_predictions_follow_the_counted_candidates(tmp_path: Path) -> None:
    config, arch = config_of(tmp_path, f"{NAME}=20M", "macs=1L"), preset("paper-XS-relu@64")
    rough = objectives.known_costs(config, "int8-static")(arch)[0]
    assert rough > 0
    counted(tmp_path, arch, 30_000_000)
    assert objectives.known_costs(config, "int8-static")(arch)[0] == pytest.approx(30e6, rel=0.02)
    assert objectives.known_costs(config, "float")(arch)[0] == rough, "files of other recipes have other counts"
    reason, why = objectives.limit_check(config, "int8-static")(preset("paper-S-relu@64"))
    assert "predicted, above the limit instructions@cortex-a76=20M" in reason and why == "predictor"


def test_impossible_limit_is_refused_when_counts_are_known(tmp_path: Path) -> None:
    counted(tmp_path, preset("paper-XS-relu@64"), 30_000_000)
    with pytest.raises(InputError, match=f"{NAME}=1k: no network of space mobile"):
        objectives.check_limits(config_of(tmp_path, f"{NAME}=1k"), SPACE)


def test_latency_of_an_emulated_processor_is_refused(tmp_path: Path) -> None:
    config = SearchConfig(results=str(tmp_path), objectives=("mpjpe", "latency@qemu://cortex-a76"))
    with pytest.raises(InputError, match="no latency"):
        objectives.check_objectives(config, SPACE)


def test_without_a_set_up_the_search_ends_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_QEMU", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="measure --setup qemu"):
        objectives.check_objectives(config_of(tmp_path), SPACE)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(3600)
def test_two_searches_beside_a_busy_process_are_equal(tmp_path: Path) -> None:
    """Same seed, one worker: the same trials, counts and front, although the machine is busy."""
    emulator = emulated()
    found = []
    options = [*RENDERED, f"--objectives=mpjpe,{NAME}", "--workers=1", "--budget=none", "--trials=4", "--finalists=1"]
    options += ["--runtimes=litert", "--limit=macs=1L", f"--limit={NAME}=60M", "--timeout=1800"]
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        place = environment(folder) | {"EDGEPOSE_QEMU": str(emulator.folder)}
        with busy_processes(1):
            done = subprocess.run(command(folder, *options), cwd=folder, env=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        study = [(trial.params, trial.values, trial.state, trial.user_attrs.get("reason")) for trial in trials(folder)]
        front = [(row["arch_id"], row[KEY], row["mpjpe_mm"]) for row in read_table(folder / "s" / "front.csv")]
        chosen = json.loads((folder / "s" / "finalists.json").read_text())
        found.append((study, front, chosen))
    assert found[0] == found[1]
    values = [values for _, values, _, _ in found[0][0] if values]
    assert len(values) >= 3 and all(value[1] > 1e5 for value in values), "counts are the second objective"
    assert len({value[1] for value in values}) == len(values)
