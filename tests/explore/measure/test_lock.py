"""The measurement lock."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

from explore.measure.lock import MeasurementLock


def _worker(folder: Path, index: int, stop: Any, steps: Any) -> None:
    lock = MeasurementLock(folder)
    while not stop.value:
        with lock.shared():
            steps[index] += 1
            time.sleep(0.01)


def test_shared_work_pauses_during_a_measurement(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    stop, steps = context.RawValue("b", 0), context.RawArray("i", 2)  # raw: a killed worker would keep their lock
    workers = [context.Process(target=_worker, args=(tmp_path, index, stop, steps)) for index in range(2)]
    for worker in workers:
        worker.start()

    def wait_for_steps(before: list[int]) -> None:
        deadline = time.monotonic() + 60
        while not all(now > then for now, then in zip(steps, before, strict=True)):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    lock = MeasurementLock(tmp_path)
    wait_for_steps([4, 4])
    for _ in range(3):
        with lock.exclusive():
            before = list(steps)
            time.sleep(0.1)
            assert list(steps) == before
        wait_for_steps(before)
    os.kill(workers[0].pid or 0, signal.SIGKILL)  # the kernel releases the lock of a dead worker
    workers[0].join()
    with lock.exclusive():
        pass
    stop.value = 1
    workers[1].join()
