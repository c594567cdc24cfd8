"""The worker processes of one machine: start them, take in their messages, and replace those that die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import optuna

from arch.errors import InputError
from arch.files import remove_leftovers
from explore.interrupts import SIGNALS, starting_children
from explore.search.config import SearchConfig
from explore.search.progress import SearchProgress
from explore.search.study import SearchFailed
from explore.search.workers import worker
from explore.search.workers.leases import release_leases
from explore.train.engine import find_devices

MAX_RESTARTS = 5  # of a worker between two networks that it ended
WORKERS_PER_GPU = 4  # one alone leaves it idle while it reads images, converts and measures
COUNT_INTERVAL = 5.0  # seconds between two counts of the networks that all machines finished
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # one for each worker


@dataclass
class Slot:
    """One worker's place: its process, and the network that it works on."""

    process: BaseProcess
    pipe: Connection
    name: str = ""
    fraction: float = 0.0
    restarts: int = 0


def run_worker_pool(
    config: SearchConfig,
    phase: worker.Phase,
    count: int,
    progress: SearchProgress,
    main: worker.Main,
    study: optuna.Study | None = None,
    count_all: Callable[[], int] | None = None,
) -> None:
    """Run a phase in `count` workers until all of its work is done; restart workers that die.

    study: holds the leases of the workers, which are released if these are stopped
    count_all: returns how many networks all machines have finished, where other machines help

    Raises:
        InputError, SearchFailed: a worker cannot continue.
    """
    context = multiprocessing.get_context("spawn")
    os.environ.update(ENVIRONMENT)

    def start(index: int, restarts: int = 0) -> Slot:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=main, args=(config, phase, index, theirs), daemon=False)
        with starting_children():
            process.start()
        theirs.close()
        return Slot(process, ours, restarts=restarts)

    slots: dict[int, Slot] = {}
    counted = time.monotonic()
    try:
        for index in range(count):
            slots[index] = start(index)
        while open_slots := {index: slot for index, slot in slots.items() if not slot.pipe.closed}:
            ready = wait([slot.pipe for slot in open_slots.values()], timeout=1.0)
            for index, slot in open_slots.items():
                if slot.pipe not in ready:
                    continue
                try:
                    kind, facts = slot.pipe.recv()
                except (EOFError, OSError):
                    if reason := _death(index, slot, phase):
                        _release(study, [slot.process])
                        progress.display.log(f"worker {index} died ({reason}); another continues its work")
                        slots[index] = start(index, slot.restarts + 1)
                    continue
                _take_in(index, slot, kind, facts, progress)
            if count_all is not None and time.monotonic() - counted > COUNT_INTERVAL:
                counted = time.monotonic()
                progress.count_all(count_all())
            progress.update({slot.name: slot.fraction for slot in slots.values()})
    finally:
        for slot in slots.values():
            slot.process.terminate()
        for slot in slots.values():
            slot.process.join()
        _release(study, [slot.process for slot in slots.values()])
        remove_leftovers(config.folder, recursive=True)


def worker_count(config: SearchConfig) -> int:
    """Return the number of workers on this machine: as given, else one for each core, at most four for each GPU."""
    devices = find_devices(config.device)
    if config.workers or devices[0].type == "cpu":
        return config.processes
    return min(config.processes, WORKERS_PER_GPU * len(devices))


def _release(study: optuna.Study | None, processes: list[BaseProcess]) -> None:
    """Release the leases of workers that were asked to end; those of workers that crashed count as deaths."""
    stopped = {process.pid or 0 for process in processes if -(process.exitcode or 0) in SIGNALS}
    if stopped and study is not None:
        release_leases(study, stopped)


def _death(index: int, slot: Slot, phase: str) -> str:
    """Return how a worker died, or an empty string if it ended normally.

    Raises:
        SearchFailed: it died too often.
    """
    slot.process.join()
    slot.pipe.close()
    slot.fraction = 0.0
    code = slot.process.exitcode or 0
    if code == 0:
        return ""
    reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    if slot.restarts == MAX_RESTARTS:
        raise SearchFailed(
            f"worker {index} died {MAX_RESTARTS + 1} times in a row ({phase}), last by {reason}; "
            f"see worker-{index}.log in the study's logs"
        )
    return reason


def _take_in(index: int, slot: Slot, kind: str, facts: dict[str, Any], progress: SearchProgress) -> None:
    """Take in one message of a worker."""
    if kind in ("finished", "stopped", "failed"):
        slot.fraction, slot.restarts = 0.0, 0
    match kind:
        case "trial":
            slot.name, slot.fraction = facts["name"], 0.0
        case "stage":
            part = facts["done"] / max(1, facts["total"])
            slot.fraction = {"train": 0.8 * part, "reference": part}.get(facts["stage"], 0.9)
            progress.display.worker(index, f"{slot.name} {facts['stage']}", slot.fraction)
        case "finished" if facts["number"] is None:
            progress.finalist(facts["name"])
        case "finished":
            progress.candidate(**facts)
        case "stopped":
            progress.stopped(**facts)
        case "failed":
            progress.failed(**facts)
        case "error":
            raise (InputError if facts["input"] else SearchFailed)(facts["message"])
