"""The worker processes of one machine: started, listened to, and replaced when they die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from arch.errors import InputError
from explore.config import SearchConfig
from explore.search import worker
from explore.search.board import Board
from explore.search.study import SearchFailed

RESTARTS = 5  # of a worker that died, without a trial ended in between
ASK_PAUSE = 5.0  # seconds between two counts of what all machines finished
# Read by a worker when it starts: one thread each, and memory of large maps kept instead of given back every step
# (a fifth of the time of training paper-L at 64 px).
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}


@dataclass
class Crew:
    """The processes of a phase and what each last said."""

    processes: dict[int, BaseProcess] = field(default_factory=dict)
    pipes: dict[int, Connection] = field(default_factory=dict)
    shares: dict[int, float] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    restarts: dict[int, int] = field(default_factory=dict)


def run_crew(
    config: SearchConfig,
    phase: worker.Phase,
    count: int,
    board: Board,
    main: worker.Main = worker.main,
    everywhere: Callable[[], int] | None = None,
) -> None:
    """Run a phase in `count` workers until all of its work is done.

    A worker that dies is started again. `everywhere` counts what all machines have finished, where others help.

    Raises:
        InputError, SearchFailed: what a worker could not go on for.
    """
    context = multiprocessing.get_context("spawn")
    crew = Crew()
    os.environ.update(ENVIRONMENT)
    gpus = _gpus()

    def start(index: int) -> None:
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=main, args=(config, phase, index, theirs), daemon=False)
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
        process.start()
        theirs.close()
        crew.processes[index], crew.pipes[index], crew.shares[index] = process, mine, 0.0

    for index in range(count):
        start(index)
    asked = time.monotonic()
    try:
        while crew.pipes:
            ready = wait(list(crew.pipes.values()), timeout=1.0)
            for index, pipe in [(i, p) for i, p in crew.pipes.items() if p in ready]:
                try:
                    kind, facts = pipe.recv()
                except (EOFError, OSError):
                    _ended(crew, index, start, board, phase)
                    continue
                _hear(crew, index, kind, facts, board)
            if everywhere is not None and time.monotonic() - asked > ASK_PAUSE:
                asked = time.monotonic()
                board.counted(everywhere())
            board.update({crew.names.get(index, ""): share for index, share in crew.shares.items()})
    finally:
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        for process in crew.processes.values():
            process.terminate()
        for process in crew.processes.values():
            process.join()


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them; each worker gets one in turn."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    nodes = [name for name in os.listdir("/dev") if name.startswith("nvidia") and name[6:].isdigit()]
    return [str(index) for index in range(len(nodes))]


def _ended(crew: Crew, index: int, start: Callable[[int], None], board: Board, phase: str) -> None:
    """A worker is gone: well, or by a signal, after which another takes its place."""
    process = crew.processes[index]
    process.join()
    crew.pipes.pop(index).close()
    crew.shares[index] = 0.0
    if process.exitcode == 0:
        return
    how = f"exit code {process.exitcode}"
    if process.exitcode and process.exitcode < 0:
        how = signal.Signals(-process.exitcode).name
    crew.restarts[index] = crew.restarts.get(index, 0) + 1
    if crew.restarts[index] > RESTARTS:
        raise SearchFailed(
            f"worker {index} died {RESTARTS + 1} times in a row ({phase}), last by {how}; "
            f"see worker-{index}.log in the study's logs"
        )
    board.display.log(f"worker {index} died ({how}); another goes on with its work")
    start(index)


def _hear(crew: Crew, index: int, kind: str, facts: dict[str, Any], board: Board) -> None:
    """Take in one message of a worker."""
    match kind:
        case "trial":
            crew.names[index], crew.shares[index] = facts["name"], 0.0
        case "stage":
            part = facts["done"] / max(1, facts["total"])
            crew.shares[index] = 0.8 * part if facts["stage"] == "train" else 0.9
            board.display.worker(index, f"{crew.names.get(index, '')} {facts['stage']}", crew.shares[index])
        case "finished":
            crew.shares[index] = 0.0
            crew.restarts[index] = 0
            board.finished(facts["number"], facts["name"], facts["result"])
        case "stopped":
            crew.shares[index] = 0.0
            crew.restarts[index] = 0
            board.stopped(facts["number"], facts["name"], facts["reason"], facts["share"] * facts["macs"])
        case "failed":
            crew.shares[index] = 0.0
            crew.restarts[index] = 0
            board.failed(facts["number"], facts["name"], facts["reason"])
        case "error":
            raise (InputError if facts["input"] else SearchFailed)(facts["message"])
