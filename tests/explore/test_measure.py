"""The latency protocol and the lane that keeps training away from it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from explore.config import MeasureConfig
from explore.measure.lane import Lane
from explore.measure.probe import Entry, Rules, time_rounds
from explore.measure.protocol import Disturbed, measure


def spin(milliseconds: float) -> None:
    end = time.perf_counter() + milliseconds / 1e3
    while time.perf_counter() < end:
        pass


def test_ratio_of_two_known_loads() -> None:
    config = MeasureConfig(rounds=5, calls=10, width=0.5, budget=1.5)
    calls = {"one": lambda: spin(1), "two": lambda: spin(2)}
    for _ in range(6):
        try:
            found = measure(calls, config, "one")
            break
        except Disturbed:
            continue
    else:
        pytest.skip("other processes kept the processor busy")
    assert found["one"].ratio == pytest.approx(1.0)
    assert 1.6 < found["two"].ratio < 2.4
    assert found["two"].ratio_low <= found["two"].ratio <= found["two"].ratio_high


def test_a_process_that_waits_for_the_processor_has_no_figure() -> None:
    config = MeasureConfig(rounds=3, calls=3, budget=0.2)
    with pytest.raises(Disturbed):
        measure({"idle": lambda: time.sleep(0.002)}, config, "idle")


def test_no_figure_beside_busy_cores() -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one core has no neighbour")
    entries = {"one": Entry(lambda: spin(1), 20)}
    tolerant, strict = (Rules(rounds=3, budget=1.0, width=1.0, quiet=0.0, neighbours=share) for share in (1.0, 0.25))
    busy = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    neighbours = [subprocess.Popen(busy, stdout=subprocess.PIPE) for _ in range((os.cpu_count() or 2) - 1)]
    try:
        for neighbour in neighbours:
            assert neighbour.stdout and neighbour.stdout.readline()
        with pytest.raises(Disturbed, match="of the machine's cores"):
            time_rounds(entries, "one", strict)
        time_rounds(entries, "one", tolerant)
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.communicate()


def _worker(folder: Path, index: int, stop: Any, steps: Any) -> None:
    lane = Lane(folder)
    while not stop.value:
        with lane.work():
            steps[index] += 1
            time.sleep(0.01)


def test_work_stands_still_while_the_lane_is_quiet(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    stop, steps = context.RawValue("b", 0), context.RawArray("i", 2)  # without a lock, which a killed worker would keep
    workers = [context.Process(target=_worker, args=(tmp_path, index, stop, steps)) for index in range(2)]
    for worker in workers:
        worker.start()

    def go_on(before: list[int]) -> None:
        deadline = time.monotonic() + 60
        while not all(now > then for now, then in zip(steps, before, strict=True)):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    lane = Lane(tmp_path)
    go_on([4, 4])
    for _ in range(3):
        with lane.quiet():
            before = list(steps)
            time.sleep(0.1)
            assert list(steps) == before
        go_on(before)
    os.kill(workers[0].pid or 0, signal.SIGKILL)  # a worker that dies in its step leaves nothing locked
    workers[0].join()
    with lane.quiet():
        pass
    stop.value = 1
    workers[1].join()


def test_a_slow_model_gets_fewer_calls_instead_of_none() -> None:
    config = MeasureConfig(rounds=3, calls=1000, width=0.5, budget=0.3)
    for _ in range(6):
        try:
            found = measure({"slow": lambda: spin(5)}, config, "slow")["slow"]
            break
        except Disturbed as error:
            assert not str(error).startswith("0 of")
    else:
        pytest.skip("other processes kept the processor busy")
    assert found.rounds >= 3 and found.calls < 300
