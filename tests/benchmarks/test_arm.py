"""The benchmark of emulated ARM processors: claims, page and correlations from rows, and resumed files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arch.cost import cost
from benchmarks import arm, arm_correlation
from explore.measure.emulated.cpus import CPUS


def agreement_row(group: str, runtime: str, cpu: str, equal: float, **changes: Any) -> dict[str, Any]:
    known = {"part": "agreement", "group": group, "file": "a", "runtime": runtime, "recipe": "int8-static", "cpu": cpu}
    found = {"kernels": "NEON", "emulator": "QEMU 10", "images": 2, "equal": equal, "max_difference": 1 - equal}
    return known | found | {"max_steps": 0.0, "mean_mm": 0.0, "max_mm": 0.0, "digest": "d"} | changes


ROWS = [
    *(agreement_row(f"{name} litert", "litert", name, 1.0) for name in CPUS),
    agreement_row("cortex-a76 onnxruntime", "onnxruntime", "cortex-a76", 0.9, max_steps=1.0, max_mm=0.5),
    agreement_row("cortex-a76 openvino", "openvino", "cortex-a76", 0.1, max_steps=None, mean_mm=1.5, max_mm=9.0),
    agreement_row("control: kernels without XNNPACK", "litert", "cortex-a76", 0.8, max_steps=2.0, max_mm=3.0),
    agreement_row("control: SME of QEMU 7.2", "litert", "max", 0.2, max_steps=90.0, max_mm=400.0),
    agreement_row("control: QEMU 7.2 without SME", "litert", "max,sme=off", 1.0),
    {
        **{"part": "agreement", "group": "kernels max", "file": "a", "runtime": "litert", "recipe": "int8-static"},
        **{"cpu": "max", "instructions": 5_000_000, "by_kernel": {"smopa": 270_336}},
    },
]


def correlation_rows(runtime: str, count: int, noise: float) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    macs = np.exp(rng.uniform(14, 18, count))
    latency = macs**0.9 * np.exp(0.4 * rng.normal(size=count))
    instructions = latency * np.exp(noise * rng.normal(size=count))
    return [
        {
            **{"part": "correlation", "runtime": runtime, "arch_id": str(index), "macs": float(macs[index])},
            **{"instructions": float(instructions[index]), "latency_ratio": float(latency[index])},
        }
        for index in range(count)
    ]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_correlation, "DRAWS", 100)


def test_claims_tell_agreement_from_controls() -> None:
    claims = {claim.name: claim for claim in arm._claims(ROWS)}
    assert all(claim.passed for claim in claims.values()) and len(claims) == 6
    assert (
        claims["LiteRT INT8, runs with outputs identical to x86 (6 emulated processors)"].measured == "6 of 6 identical"
    )
    assert "400.00 mm" in claims["control: SME of QEMU 7.2"].measured
    broken = [row | {"equal": 0.99} if row["group"] == "max litert" else row for row in ROWS]
    assert not arm._claims(broken)[0].passed
    blind = [row | {"equal": 1.0} if row["group"].startswith("control") else row for row in ROWS]
    assert [claim.passed for claim in arm._claims(blind)[3:]] == [False, False, True]


def test_better_cost_has_the_higher_correlation() -> None:
    rows = correlation_rows("litert", 100, 0.1) + correlation_rows("onnxruntime", 100, 5.0)
    litert, onnx = arm_correlation.correlations(rows)
    assert litert.networks == 100 and litert.values["instructions"][0] > 0.9
    value, low, high = litert.values["difference"]
    assert 0 < low < value < high and onnx.values["difference"][2] < 0
    claims = arm_correlation.claims_of([litert, onnx])
    assert [claim.passed for claim in claims] == [True, False]
    unmeasured = [row | {"latency_ratio": None} for row in rows]
    assert arm_correlation.correlations(unmeasured) == []


def test_page() -> None:
    rows = ROWS + correlation_rows("litert", 20, 0.1)
    page = arm.markdown(rows, arm._claims(ROWS))
    assert "no file was run on a real one" in page and "| litert | int8-static | max | NEON |  | 1 | 1 |" in page
    assert "smopa 0.270 M" in page and "Kendall's tau-b" in page
    assert "Rank correlation" not in arm.markdown(ROWS, [])


def test_networks_are_the_same_in_every_run() -> None:
    found = arm_correlation.networks()
    assert len({arch.id for arch in found}) == 100 and found == arm_correlation.networks()
    macs = [cost(arch).macs for arch in found]
    assert max(macs) > 20 * min(macs)


def test_rows_survive_a_killed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "instructions.jsonl"
    path.write_text('{"arch_id": "a", "runtime": "litert", "instructions": 1}\n{"arch_id": "b", "run')
    assert [row["arch_id"] for row in arm_correlation.read_rows(path)] == ["a"]
    arm_correlation.append_row(path, {"arch_id": "c", "runtime": "litert", "instructions": 3})
    assert [row["arch_id"] for row in arm_correlation.read_rows(path)] == ["a", "c"]
    store = arm._Store(tmp_path / "agreement.jsonl")
    store.add("one", lambda: [{"file": "x"}])
    store.add("one", lambda: pytest.fail("it is there already"))
    assert store.rows == [{"part": "agreement", "group": "one", "file": "x"}]
