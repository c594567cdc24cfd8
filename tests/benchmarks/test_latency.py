"""Claims of the benchmark `latency`."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arch.errors import InputError
from benchmarks import latency, latency_mediapipe, latency_steady, latency_table10, latency_tools
from explore.measure.latency import Disturbed
from explore.measure.rows import Model


class FakeDevice:
    """A device with given ratios; None raises Disturbed."""

    def __init__(self, ratios: list[float | None]) -> None:
        self.ratios = ratios

    def measure(self, models: Any, settings: Any, report: Any) -> list[Any]:
        ratio = self.ratios.pop(0)
        if ratio is None:
            raise Disturbed("busy")
        row = SimpleNamespace(
            ratio=ratio, ratio_low=ratio, ratio_high=ratio, median_ms=ratio, rounds=12, dropped_rounds=0
        )
        return [row, row]


def models_of(part: Any) -> dict[latency.File, Model]:
    """Return models without files."""
    return {(arch, *rest): Model(arch.name, (), *rest, arch) for arch, *rest in part.files()}


@pytest.mark.parametrize(
    ("busy", "passed"),
    [
        ([9.0] * 20, True),
        ([9.0] * 10 + [None] * 10, True),  # rejections count as correct
        ([9.0] * 19 + [10.0], True),
        ([9.0] * 18 + [10.0, 8.0], False),
    ],
)
def test_19_of_20_ratios_are_close_or_rejected(
    busy: list[float | None], passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = FakeDevice([9.0] * 20 + busy)
    monkeypatch.setattr(latency_steady, "open_device", lambda address: device)
    monkeypatch.setattr(latency_steady, "busy", _nobody)
    rows, claims = latency_steady.run(models_of(latency_steady))
    assert len(rows) == 40 and [claim.passed for claim in claims] == [True, passed]


@contextlib.contextmanager
def _nobody(core: int) -> Iterator[None]:
    yield


def test_busy_process_ends() -> None:
    core = max(os.sched_getaffinity(0))
    with latency_steady.busy(core):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert children
    left = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not set(children) & set(left)


def test_files_exclude_int8_prelu_in_litert() -> None:
    files = [file for part in latency.PARTS for file in part.files()]
    assert not [
        a for a, runtime, name in files if (runtime, name) == ("litert", "int8-static") and a.activation == "prelu"
    ]
    assert {name for a, runtime, name in files if a.activation == "prelu" and runtime == "openvino"} == {
        "float",
        "int8-static",
    }


def test_order_of_table_10() -> None:
    def rows(*ms: float | None) -> list[dict[str, Any]]:
        common = {"runtime": "litert", "recipe": "float", "threads": 1, "activation": "relu"}
        return [common | {"row": row, "ms": one} for row, one in zip(latency_table10.ORDER, ms, strict=True)]

    assert latency_table10._claim(rows(200, 100, 80, 10), "litert", "float", 1).passed
    assert not latency_table10._claim(rows(90, 100, 80, 10), "litert", "float", 1).passed
    rejected = latency_table10._claim(rows(None, None, None, None), "litert", "float", 1)
    assert not rejected.passed and rejected.measured == "rejected"


@pytest.mark.parametrize("runtime", latency_tools.TOOLS)
def test_missing_tool_is_reported(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_tools, "find_spec", lambda name: None)
    rows, claims = latency_tools.run(models_of(latency_tools))
    assert all("is not installed" in row["missing"] for row in rows) and not any(claim.passed for claim in claims)


def test_mediapipe_from_the_environment_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("other", b"")
    for wrong in (str(wheel), str(tmp_path / "nowhere.tflite")):
        monkeypatch.setenv("EDGEPOSE_MEDIAPIPE_WHEEL", wrong)
        with pytest.raises(InputError, match="EDGEPOSE_MEDIAPIPE_WHEEL: "):
            latency_mediapipe.pose_landmarker(1)
    with zipfile.ZipFile(wheel, "a") as file:
        file.writestr(latency_mediapipe.MEMBER, b"bytes of a network")
    monkeypatch.setenv("EDGEPOSE_MEDIAPIPE_WHEEL", str(wheel))
    assert latency_mediapipe._content() == b"bytes of a network"
