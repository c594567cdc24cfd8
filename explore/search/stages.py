"""The stages of a search as a worker has them: real training, conversion, judging and timing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch

from arch.files import write_atomic
from arch.space import Arch
from explore.config import SearchConfig
from explore.host import host_folder
from explore.measure.lane import Lane
from explore.measure.protocol import Disturbed
from explore.measure.rows import DeviceError
from explore.search import cache, candidate
from explore.search.candidate import Bench, Report
from explore.search.claims import LATENCY
from explore.search.dataset import open_judge
from explore.train.loop import Diverged
from quantize.convert import ConversionError, Converter
from quantize.environment import machine


class OutOfMemory(RuntimeError):
    """A network did not fit this machine's memory."""


class RealStages:
    """See `explore.search.worker.Stages`."""

    failures = (ConversionError, DeviceError, Diverged, Disturbed, MemoryError, OutOfMemory)

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    @property
    def able(self) -> frozenset[str]:
        return frozenset({LATENCY} if self._bench.measures else ())

    def make_reference(self) -> None:
        candidate.make_reference(self._bench)
        write_atomic(_timed_on(self._bench.config), json.dumps(machine()))

    def train_to(self, arch: Arch, rung: int) -> float:
        bench = self._bench
        with _told_memory():
            return cache.trained(bench.config, bench.judge, arch, rung, lambda: candidate.climb_to(bench, arch, rung))

    def evaluate(self, arch: Arch, recipe: str) -> dict[str, Any]:
        bench = self._bench
        with _told_memory():
            return cache.through(
                bench.config, bench.judge, arch, recipe, lambda: candidate.evaluate(bench, arch, recipe)
            )

    def finish(self, arch: Arch, recipes: tuple[str, ...]) -> dict[str, Any]:
        with _told_memory():
            return candidate.finish(self._bench, arch, recipes)


@contextmanager
def open_stages(config: SearchConfig, index: int, report: Report) -> Iterator[RealStages]:
    """Stages with a converter of their own.

    Raises:
        InputError: data that cannot be used.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with Converter(config.folder / "logs" / f"converter-{index}.log") as converter:
        lane = Lane(host_folder() / "lane")
        yield RealStages(Bench(config, open_judge(config), lane, converter, report, like_the_reference(config)))


def _timed_on(config: SearchConfig) -> Path:
    return config.folder / "reference" / "machine.json"


def like_the_reference(config: SearchConfig) -> bool:
    """Whether the reference network was timed on a machine of this kind; others train, but do not time."""
    path = _timed_on(config)
    return not path.exists() or json.loads(path.read_text())["processor"] == machine()["processor"]


@contextmanager
def _told_memory() -> Iterator[None]:
    """Torch says in words that memory is out, by an exception that also means other things."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(str(error)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error):
            raise OutOfMemory(str(error).splitlines()[0]) from error
        raise
