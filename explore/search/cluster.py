"""The workers of a search as tasks of a Ray cluster: Ray places them by processors and GPUs and starts them again.

A task holds one processor, and its share of the GPUs, for one worker. What binds the workers is the study's storage and
folder, as everywhere; Ray carries the project's code and the place of the rendered data to its nodes. A node that is
lost takes its tasks along: Ray starts them elsewhere, and the trials are taken up like those of any worker that died.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.errors import InputError
from explore.config import SearchConfig
from explore.search import worker
from explore.search.board import Board
from explore.search.crew import ENVIRONMENT
from explore.search.storage import shares_machines, storage_url
from explore.search.study import SearchFailed

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("arch", "quantize", "explore")
RETRIES = 10  # of a task: a node that is lost, a worker that died
PASSED_ON = ("EDGEPOSE_CACHE", "OMP_NUM_THREADS")


class WorkerDied(RuntimeError):
    """A worker process ended by a signal; Ray starts the task again."""


def run_cluster(
    config: SearchConfig,
    phase: worker.Phase,
    board: Board,
    main: worker.Main,
    everywhere: Callable[[], int],
) -> None:
    """Run a phase on the cluster of `config.ray`, an address or `local`; `everywhere` counts what is done.

    Raises:
        InputError, SearchFailed: what a worker could not go on for; no cluster, or a storage that it cannot reach.
    """
    ray = connected(config)
    workers = config.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    gpus = ray.cluster_resources().get("GPU", 0) / workers
    task = ray.remote(
        num_cpus=1,
        num_gpus=gpus if gpus < 1 else int(gpus),
        max_retries=RETRIES,
        retry_exceptions=[WorkerDied],
        scheduling_strategy="SPREAD",
    )(_run_worker)
    waiting = [task.remote(config.model_dump(), phase, index, main) for index in range(workers)]
    while waiting:
        done, waiting = ray.wait(waiting, timeout=2.0)
        for answer in ray.get(done):
            if answer is not None:
                raise (InputError if answer["input"] else SearchFailed)(answer["message"])
        board.counted(everywhere())
        board.update({})


def connected(config: SearchConfig) -> Any:
    """Ray, joined to the cluster.

    Raises:
        InputError: Ray is not installed, no cluster there, or one of several machines and a storage of this one alone.
    """
    try:
        import ray
    except ImportError:
        raise InputError("--ray: Ray is not installed; pip install 'edgepose[ray]'") from None
    if not ray.is_initialized():
        carried = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment = {"py_modules": [str(ROOT / room) for room in ROOMS], "env_vars": ENVIRONMENT | carried}
        where: dict[str, Any] = {"address": config.ray}
        if config.ray == "local":
            where = {"address": "local", "include_dashboard": False, "num_cpus": config.processes}
        try:
            ray.init(**where, runtime_env=environment, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            line = " ".join(str(error).split())[:200]
            raise InputError(
                f"--ray {config.ray}: no cluster there ({line}); start one with `ray start --head`"
            ) from None
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    machines = {node["NodeManagerAddress"] for node in nodes if node["Alive"]}
    if len(machines) > 1 and not shares_machines(storage_url(config)):
        raise InputError("--ray: the cluster has several machines; give --storage postgresql:// or grpc://")
    return ray


def _run_worker(values: dict[str, Any], phase: worker.Phase, index: int, main: worker.Main) -> dict[str, Any] | None:
    """One worker in a process of its own under a Ray task; the error that ends the search, if there is one."""
    config = SearchConfig.model_validate(values)
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=main, args=(config, phase, index, theirs))
    process.start()
    theirs.close()
    error = None
    while True:
        try:
            kind, facts = mine.recv()
        except (EOFError, OSError):
            break
        if kind == "error":
            error = facts
    process.join()
    if error is None and process.exitcode != 0:
        raise WorkerDied(f"worker {index} ended with {process.exitcode}")
    return error
