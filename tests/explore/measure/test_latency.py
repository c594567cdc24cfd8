"""The latency protocol in this process, and the retrying of disturbed measurements."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from explore.measure.config import MeasureConfig
from explore.measure.latency import Disturbed, measure, retry_disturbed
from explore.measure.probe.protocol import ProtocolSettings, TimedCall, allowed_background_load, time_rounds


def spin(milliseconds: float) -> None:
    end = time.perf_counter() + milliseconds / 1e3
    while time.perf_counter() < end:
        pass


def test_ratio_of_two_known_loads() -> None:
    config = MeasureConfig(rounds=5, calls=10, ci_width=0.5, max_seconds=1.5)
    calls = {"one": lambda: spin(1), "two": lambda: spin(2)}
    try:
        found = retry_disturbed(lambda: measure(calls, config, "one"), attempts=6)
    except Disturbed:
        pytest.skip("other processes kept the processor busy")
    assert found["one"].ratio == pytest.approx(1.0)
    assert 1.6 < found["two"].ratio < 2.4
    assert found["two"].ratio_low <= found["two"].ratio <= found["two"].ratio_high


def test_process_without_cpu_time_is_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_BACKGROUND_LOAD", "0.9")
    config = MeasureConfig(rounds=3, calls=3, max_seconds=0.2)
    with pytest.raises(Disturbed):
        measure({"idle": lambda: time.sleep(0.002)}, config, "idle")


def test_background_load_is_disturbed() -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("a single core has no background load")
    timed = {"one": TimedCall(lambda: spin(1), 20)}
    common = {"rounds": 3, "max_seconds": 1.0, "ci_width": 1.0, "min_cpu_share": 0.0}
    tolerant, strict = (ProtocolSettings(**common, max_background_load=load) for load in (1.0, 0.25))  # type: ignore[arg-type]
    busy = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    processes = [subprocess.Popen(busy, stdout=subprocess.PIPE) for _ in range((os.cpu_count() or 2) - 1)]
    try:
        for process in processes:
            assert process.stdout and process.stdout.readline()
        with pytest.raises(Disturbed, match="of the machine's cores"):
            time_rounds(timed, "one", strict)
        time_rounds(timed, "one", tolerant)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_slow_model_gets_fewer_calls_per_round() -> None:
    config = MeasureConfig(rounds=3, calls=1000, ci_width=0.5, max_seconds=0.3)
    try:
        found = retry_disturbed(lambda: measure({"slow": lambda: spin(5)}, config, "slow")["slow"], attempts=6)
    except Disturbed as error:
        assert " 0 of " not in str(error)
        pytest.skip("other processes kept the processor busy")
    assert found.rounds >= 3 and found.calls < 300


def test_retry_stops_at_the_first_result_and_raises_the_last_error() -> None:
    outcomes: list[Exception | int] = [Disturbed("one"), Disturbed("two"), 3, Disturbed("four")]

    def call() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert retry_disturbed(call) == 3
    outcomes[:] = [Disturbed("one"), Disturbed("two"), 3]
    with pytest.raises(Disturbed, match="two"):
        retry_disturbed(call, attempts=2)
    outcomes[:] = [OSError("one"), 2]
    with pytest.raises(OSError, match="one"):
        retry_disturbed(call)


def test_background_load_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPOSE_BACKGROUND_LOAD", raising=False)
    monkeypatch.setenv("EDGEPOSE_NEIGHBOURS", "0.75")
    assert allowed_background_load() == 0.75  # the name of version 0.1
    monkeypatch.setenv("EDGEPOSE_BACKGROUND_LOAD", "0.5")
    assert allowed_background_load() == 0.5
