"""The latency bench: what counts as steady, as agreeing and as the paper's order."""

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
from explore.bench import latency, latency_mediapipe, latency_steady, latency_table10, latency_tools
from explore.measure.probe import Disturbed


class Scripted:
    """A device whose ratios are given; None: it refuses."""

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


@pytest.mark.parametrize(
    ("beside", "holds"),
    [
        ([9.0] * 20, True),
        ([9.0] * 10 + [None] * 10, True),  # refusing is as good
        ([9.0] * 19 + [10.0], True),
        ([9.0] * 18 + [10.0, 8.0], False),
    ],
)
def test_steady_is_19_of_20_or_refused(
    beside: list[float | None], holds: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    device = Scripted([9.0] * 20 + beside)
    monkeypatch.setattr(latency_steady, "open_device", lambda address: device)
    monkeypatch.setattr(latency_steady, "busy", _nobody)
    rows, claims = latency_steady.run(tmp_path)
    assert len(rows) == 40 and [claim.holds for claim in claims] == [True, holds]


@contextlib.contextmanager
def _nobody(core: int) -> Iterator[None]:
    yield


def test_the_busy_neighbour_ends() -> None:
    core = max(os.sched_getaffinity(0))
    with latency_steady.busy(core):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert children
    left = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not set(children) & set(left)


def test_every_file_of_the_bench_can_ship_and_prelu_has_no_int8_in_litert() -> None:
    files = [file for part in latency.PARTS for file in part.files()]
    assert not [
        a for a, runtime, name in files if (runtime, name) == ("litert", "int8-static") and a.activation == "prelu"
    ]
    assert {name for a, runtime, name in files if a.activation == "prelu" and runtime == "openvino"} == {
        "float",
        "int8-static",
    }


def test_the_order_of_table_10_holds_or_not() -> None:
    def rows(*ms: float | None) -> list[dict[str, Any]]:
        common = {"runtime": "litert", "recipe": "float", "threads": 1, "activation": "relu"}
        return [common | {"row": row, "ms": one} for row, one in zip(latency_table10.ORDER, ms, strict=True)]

    assert latency_table10._claim(rows(200, 100, 80, 10), "litert", "float", 1).holds
    assert not latency_table10._claim(rows(90, 100, 80, 10), "litert", "float", 1).holds
    refused = latency_table10._claim(rows(None, None, None, None), "litert", "float", 1)
    assert not refused.holds and refused.measured == "refused"


@pytest.mark.parametrize("runtime", latency_tools.TOOLS)
def test_a_tool_that_is_not_here_is_said(runtime: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(latency_tools, "find_spec", lambda name: None)
    rows, claims = latency_tools.run(tmp_path)
    assert all("is not installed" in row["missing"] for row in rows) and not any(claim.holds for claim in claims)


def test_mediapipe_is_taken_from_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("other", b"")
    for wrong in (str(wheel), str(tmp_path / "nowhere.tflite")):
        monkeypatch.setenv("EDGEPOSE_MEDIAPIPE", wrong)
        with pytest.raises(InputError, match="EDGEPOSE_MEDIAPIPE: "):
            latency_mediapipe.pose_landmarker(1)
    with zipfile.ZipFile(wheel, "a") as file:
        file.writestr(latency_mediapipe.MEMBER, b"bytes of a network")
    monkeypatch.setenv("EDGEPOSE_MEDIAPIPE", str(wheel))
    assert latency_mediapipe._content() == b"bytes of a network"
