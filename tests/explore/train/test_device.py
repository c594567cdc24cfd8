"""Devices: what `--device` means, and that nothing that belongs on a GPU computes on the CPU."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from arch.errors import InputError
from explore.progress import Display
from explore.search.config import SearchConfig
from explore.search.storage.fingerprint import FOLDER
from explore.search.workers import join
from explore.search.workers.pool import worker_count
from explore.train.engine import Engine, find_devices, start_engine
from explore.train.precision import with_precision
from tests.helpers import ROOT, mostly_slow
from tests.helpers.fake_device import NAME
from tests.helpers.training import tiny_arch


def run(folder: Path, device: str, cases: tuple[str, ...]) -> dict[str, Any]:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.fake_device", device, str(folder), *cases],
        cwd=ROOT,
        env=os.environ | {"EDGEPOSE_CACHE": str(folder), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=1400,
    )
    assert done.returncode == 0, "\n".join(done.stderr.splitlines()[:20] + done.stderr.splitlines()[-20:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.timeout(3000)  # busy machines
@pytest.mark.parametrize(
    "cases",
    mostly_slow([("resumed", "command"), ("supernet", "precision", "taught"), ("search",)], ("resumed", "command")),
    ids=["train", "more", "search"],
)
def test_every_convolution_is_on_the_device_and_the_result_is_that_of_the_cpu(
    cases: tuple[str, ...], tmp_path: Path
) -> None:
    expected, found = (run(tmp_path / device, device, cases) for device in ("cpu", NAME))
    for case in cases:
        assert numbers(found[case]) == pytest.approx(numbers(expected[case]), rel=1e-3), case


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict | list):
        return [x for part in (value.values() if isinstance(value, dict) else value) for x in numbers(part)]
    return [] if value is None else [float(value)]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "set_device_index", lambda index: None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("auto", ["cuda:0", "cuda:1"]), ("cuda", ["cuda:0", "cuda:1"]), ("cuda:1", ["cuda:1"]), ("cpu", ["cpu"])],
)
def test_workers_take_turns_with_the_gpus(two_gpus: None, name: str, expected: list[str]) -> None:
    assert [str(device) for device in find_devices(name)] == expected
    chosen = [str(start_engine(name, index=index).device) for index in range(4)]
    assert chosen == (expected * 4)[:4]


@pytest.mark.parametrize("name", ["cuda:2", "mps"])
def test_a_missing_device_is_reported_in_one_line(two_gpus: None, name: str) -> None:
    with pytest.raises(InputError, match=f"^--device {name}: [^\n]*$"):
        find_devices(name)


def test_a_gpu_has_four_workers_unless_told_otherwise(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(32)))
    monkeypatch.setattr("quantize.environment.cpu_quota", lambda: math.inf)
    found = [
        worker_count(SearchConfig(device=d, workers=n))
        for d, n in (("auto", 0), ("cuda:1", 0), ("cpu", 0), ("auto", 20))
    ]
    assert found == [8, 4, 32, 20]


def test_a_worker_may_use_another_device_than_the_search(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[SearchConfig] = []
    study = SimpleNamespace(user_attrs={FOLDER: {"results": "results"}})
    monkeypatch.setattr(join, "_find", lambda name, url: study)
    monkeypatch.setattr(join, "_default_url", lambda name, results: "")
    monkeypatch.setattr(join, "carried", lambda study: SearchConfig(device="cpu"))
    monkeypatch.setattr(join, "check_folder", lambda config, study: None)
    monkeypatch.setattr(join, "differences", lambda study: [])
    monkeypatch.setattr(join, "completed", lambda study: [])
    monkeypatch.setattr(join, "_work", lambda config, *others: found.append(config))
    for device in ("", "cuda:1"):
        join.join("s", "", "", 0, Display(quiet=True), device=device)
    assert [config.device for config in found] == ["cpu", "cuda:1"]
    with pytest.raises(InputError, match=r"command line: workers: .*greater than or equal to 0"):
        join.join("s", "", "", -1, Display(quiet=True))
    with pytest.raises(InputError, match=r"device: write auto, cpu, cuda, cuda:N or mps"):
        join.join("s", "", "", 0, Display(quiet=True), device="cuda:x")
    with pytest.raises(InputError, match="--device cuda:2: no such GPU"):
        join.join("s", "", "", 0, Display(quiet=True), device="cuda:2")


def test_a_gpu_without_bf16_trains_in_f32(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "old GPU")
    monkeypatch.setattr(Engine, "all", lambda self, value: value)
    engine = start_engine("cuda")
    assert with_precision(engine, "auto", tiny_arch(), 2).name == "cuda f32 (old GPU)"
    with pytest.raises(InputError, match=r"^--precision bf16: cuda f32 .old GPU. does not support it[^\n]*$"):
        with_precision(engine, "bf16", tiny_arch(), 2)
