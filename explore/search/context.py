"""The environment in which one worker evaluates candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import torch

from arch.space import preset
from explore.estimate import Estimator, EstimatorContext, TrainedNetwork, make
from explore.evaluation.evaluator import Evaluator, open_evaluators
from explore.export.exporter import Exporter
from explore.host import host_folder
from explore.measure.lock import MeasurementLock
from explore.search.config import SearchConfig
from explore.search.results import candidate_results
from explore.search.storage.fingerprint import SPACE_FILE, chooses_on_test
from explore.search.supernet import supernet_file
from explore.train.engine import Engine, start_engine
from explore.train.loop import CPU
from explore.train.precision import with_precision
from quantize.convert import Converter

TRIAL_NETWORK = "paper-S-relu"  # a study trains all of its networks in the precision that is faster for this one
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EvalContext:
    """The objects that all candidates of a worker share.

    evaluator: evaluates on the validation part, which all choices are made on
    test: evaluates on the test part, for exported files of finalists
    report: called with the stage, the steps done and the number of steps
    can_measure: whether this machine is of the kind that latencies of the study refer to
    engine: where networks are trained and evaluated
    """

    config: SearchConfig
    evaluator: Evaluator
    test: Evaluator
    lock: MeasurementLock
    converter: Converter
    report: Report
    can_measure: bool = True
    engine: Engine = CPU

    @contextmanager
    def step(self, stage: str) -> Iterator[None]:
        """Enter a part of a stage of unknown length: report that this worker goes on, and wait for measurements."""
        self.report(stage, 0, 1)
        with self.lock.shared():
            yield

    def exporter(self, folder: Path, evaluator: Evaluator) -> Exporter:
        """Return an exporter of one network's files, which pauses while another process measures."""
        settings, lock = self.config.export_config, self.lock.shared
        return Exporter(folder, evaluator, self.converter, settings, lock, self.config.hash)

    @cached_property
    def estimator(self) -> Estimator:
        """The estimator of errors, for studies that do not train every candidate in full."""
        space = self.config.folder / SPACE_FILE  # the original file may be on another machine
        files = {"space": str(space) if space.exists() else self.config.space, "supernet": supernet_file(self.config)}
        context = EstimatorContext(
            evaluator=self.evaluator,
            training=self.config.candidate,
            options=self.config.estimate.model_copy(update=files),
            seed=self.config.seed,
            finished=lambda: trained_in_full(self.config),
            step_context=self.lock.shared,
            progress=lambda done, total: self.report("train", done, total),
            engine=self.engine,
        )
        return make(self.config.estimator, context)


@contextmanager
def open_context(
    config: SearchConfig,
    index: int,
    report: Report,
    can_measure: bool = True,
    data_progress: Callable[[int, int], None] | None = None,
) -> Iterator[EvalContext]:
    """Open the data and the device, and a converter process of this worker's own.

    index: number of the worker on this machine; workers take turns with its GPUs
    data_progress: called with the frames rendered and their number

    Raises:
        InputError: data or a device that cannot be used.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    engine = worker_engine(config, index)
    with Converter(config.folder / "logs" / f"converter-{index}.log") as converter:
        parts = open_evaluators(config.data_config, config.processes, data_progress, chooses_on_test(config))
        lock = MeasurementLock(host_folder() / "measurement")
        yield EvalContext(config, parts.validation, parts.test, lock, converter, report, can_measure, engine)


def worker_engine(config: SearchConfig, index: int) -> Engine:
    """Return the engine of a worker of this machine, by its number.

    Raises:
        InputError: the device does not exist here.
    """
    trial_network = preset(f"{TRIAL_NETWORK}@{config.input_size}")
    engine = start_engine(config.device, index=index)
    return with_precision(engine, config.precision, trial_network, config.candidate.batch_size)


def trained_in_full(config: SearchConfig) -> list[TrainedNetwork]:
    """Return the candidates that were trained in full, with the error of their exported files."""
    found: dict[str, TrainedNetwork] = {}
    for path, result in candidate_results(config.folder):  # one for each recipe; take the first
        if result.in_full:
            network = TrainedNetwork(result.arch, result.mpjpe_mm, path.with_name("weights.safetensors"))
            found.setdefault(result.arch_id, network)
    return list(found.values())


class OutOfMemory(RuntimeError):
    """A network does not fit this machine's memory."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise OutOfMemory where torch runs out of memory, which it reports by errors that also mean other things."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(str(error)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error):
            raise OutOfMemory(str(error).splitlines()[0]) from error
        raise
