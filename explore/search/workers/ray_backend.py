"""The workers of a search as tasks of a Ray cluster, which places them by CPUs and GPUs and restarts them.

A task holds one CPU, and its fraction of the GPUs, for one worker. Workers agree through the study's storage and folder
as everywhere; Ray only carries the project's code and the location of the rendered data to its nodes. When a node is
lost, Ray starts its tasks elsewhere, and their trials are continued like those of any worker that died.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.errors import InputError, shortened
from explore.measure.probe.protocol import BACKGROUND_LOAD, OLD_BACKGROUND_LOAD
from explore.search.config import SearchConfig
from explore.search.progress import SearchProgress
from explore.search.storage.backends import reachable_by_others, storage_url
from explore.search.storage.cache import PACKAGES
from explore.search.study import SearchFailed
from explore.search.workers import worker
from explore.search.workers.pool import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[3]
MAX_RETRIES = 10  # of a task, after a lost node or a worker that died
PASSED_ON = ("EDGEPOSE_CACHE", BACKGROUND_LOAD, OLD_BACKGROUND_LOAD, "OMP_NUM_THREADS")


class WorkerDied(RuntimeError):
    """A worker process was killed; Ray restarts its task."""


def run_on_ray(
    config: SearchConfig,
    phase: worker.Phase,
    progress: SearchProgress,
    main: worker.Main,
    count_all: Callable[[], int],
) -> None:
    """Run a phase on the cluster `config.ray`, an address or `local`.

    count_all: returns how many networks are finished

    Raises:
        InputError, SearchFailed: a worker cannot continue, no cluster, or a storage that the cluster cannot reach.
    """
    ray = connected(config)
    workers = config.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    gpus = ray.cluster_resources().get("GPU", 0) / workers
    task = ray.remote(
        num_cpus=1,
        num_gpus=gpus if gpus < 1 else int(gpus),
        max_retries=MAX_RETRIES,
        retry_exceptions=[WorkerDied],
        scheduling_strategy="SPREAD",
    )(_run_worker)
    waiting = [task.remote(config.model_dump(), phase, index, main) for index in range(workers)]
    while waiting:
        done, waiting = ray.wait(waiting, timeout=2.0)
        for answer in ray.get(done):
            if answer is not None:
                raise (InputError if answer["input"] else SearchFailed)(answer["message"])
        progress.count_all(count_all())
        progress.update({})


def connected(config: SearchConfig) -> Any:
    """Connect to the cluster and return the Ray module.

    Raises:
        InputError: Ray is not installed, no cluster, or a cluster of several machines with a storage of this one only.
    """
    try:
        import ray
    except ImportError:
        raise InputError("--ray: Ray is not installed; pip install 'edgepose[ray]'") from None
    if not ray.is_initialized():
        carried = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment = {"py_modules": [str(ROOT / package) for package in PACKAGES], "env_vars": ENVIRONMENT | carried}
        where: dict[str, Any] = {"address": config.ray}
        if config.ray == "local":
            where = {"address": "local", "include_dashboard": False, "num_cpus": config.processes}
        try:
            ray.init(**where, runtime_env=environment, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--ray {config.ray}: no cluster there ({shortened(error, 200)}); start one with `ray start --head`"
            ) from None
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    machines = {node["NodeManagerAddress"] for node in nodes if node["Alive"]}
    if len(machines) > 1 and not reachable_by_others(storage_url(config)):
        raise InputError("--ray: the cluster has several machines; give --storage postgresql:// or grpc://")
    return ray


def _run_worker(values: dict[str, Any], phase: worker.Phase, index: int, main: worker.Main) -> dict[str, Any] | None:
    """Run one worker in a process under a Ray task; return the error that ends the search, or None."""
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
