"""The speed of this machine, measured in the first minute of a planned search: all workers train at the same time."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import torch

from arch.cost import cost
from arch.errors import InputError, WorkError
from arch.search_space import Space
from arch.space import Arch
from explore.data.sample import Dataset, evenly_spread
from explore.data.synthetic import dataset as synthetic
from explore.evaluation.evaluator import open_evaluators, rendering_options
from explore.interrupts import leave_to_parent, starting_children
from explore.progress import Display
from explore.search.budget.planner import drawn_networks
from explore.search.budget.speed import USUAL_SPEED, Speed, Timing, fit_speed
from explore.search.config import SearchConfig
from explore.search.context import worker_engine
from explore.search.study import baselines
from explore.search.workers.pool import ENVIRONMENT, worker_count
from explore.train.loop import train

FRAMES, FIRST_FRAMES = 160, 32  # rendered frames, and those before the clock starts
SAMPLES = 256  # of real data
WARM_UP_STEPS, SECONDS = 3, 4.0  # of each network


def measure_speed(config: SearchConfig, space: Space, display: Display) -> Speed:
    """Train networks of three sizes on all workers at once, on rendered frames or samples of the study's data.

    They are a small network of the space, the middle one, and the most expensive that the search will train.

    Raises:
        InputError: data or a device that cannot be used.
    """
    drawn = sorted(drawn_networks(config, space), key=lambda arch: cost(arch).macs)
    large = max([*baselines(config, space).values(), drawn[-1]], key=lambda arch: cost(arch).macs)
    archs = [drawn[len(drawn) // 10], drawn[len(drawn) // 2], large]
    with _trial_data(config) as (data, frame_s):
        display.update(0.3)
        timings = [pair for found in _train_on_all_workers(config, archs, data) for pair in found]
    return fit_speed(timings, frame_s)


@contextmanager
def _trial_data(config: SearchConfig) -> Iterator[tuple[Dataset, float]]:
    """Open training samples; yield them with the time to render a frame."""
    options = rendering_options(config.data_config)
    if options is None:
        train = open_evaluators(config.data_config).train
        yield train.take(evenly_spread(len(train), min(SAMPLES, len(train)))), USUAL_SPEED.frame_s
        return
    options = options.model_copy(update={"train_frames": FRAMES, "test_frames": 1, "val_frames": 1})
    with tempfile.TemporaryDirectory(prefix="edgepose-") as folder:
        times: list[float] = []
        rendered = synthetic.render_dataset(
            Path(folder), options, config.processes, lambda done, total: times.append(time.monotonic())
        )
        yield synthetic.load(rendered, "train"), (times[-1] - times[FIRST_FRAMES]) / (len(times) - 1 - FIRST_FRAMES)


def _train_on_all_workers(config: SearchConfig, archs: list[Arch], data: Dataset) -> list[list[Timing]]:
    """Return the timings of each network, for each worker."""
    context = multiprocessing.get_context("spawn")
    os.environ.update(ENVIRONMENT)
    pipes, processes = [], []
    archs = [arch.replace(num_joints=len(data.skeleton)) for arch in archs]
    try:
        for index in range(worker_count(config)):
            ours, theirs = context.Pipe()
            process = context.Process(target=_time_training, args=(config, index, theirs), daemon=True)
            with starting_children():
                process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        try:
            for index, pipe in enumerate(pipes):  # as an argument, much data blocks `start` where the process dies
                order = archs[index % len(archs) :] + archs[: index % len(archs)]  # not all in the same order
                pipe.send((order, data))
            found = [pipe.recv() for pipe in pipes]
        except (EOFError, OSError):
            raise WorkError("the speed of this machine could not be measured: a process died; try again") from None
        for result in found:
            if isinstance(result, str):
                raise InputError(result)
        return found
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _time_training(config: SearchConfig, index: int, pipe: Connection) -> None:
    """Entry of a process: receive networks and data; send the timings of each network, or an error."""
    leave_to_parent()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    archs, data = pipe.recv()
    try:
        engine = worker_engine(config, index)
        with tempfile.TemporaryDirectory(prefix="edgepose-") as folder:

            def timing(arch: Arch, steps: int) -> Timing:
                settings = config.candidate.model_copy(update={"samples": steps * config.candidate.batch_size})
                state = Path(folder) / f"{arch.id}-{steps}.safetensors"
                result = train(arch, data, settings, config.seed, state, engine=engine)
                cpu_s = result.cpu_seconds if engine.device.type == "cpu" else result.seconds
                return Timing(float(cost(arch).macs), result.seconds / result.samples, cpu_s / result.samples)

            found = []
            for arch in archs:
                first = timing(arch, WARM_UP_STEPS).wall_s
                steps = max(WARM_UP_STEPS, round(SECONDS / (first * config.candidate.batch_size)))
                found.append(timing(arch, steps))
        pipe.send(found)
    except InputError as error:
        pipe.send(str(error))
