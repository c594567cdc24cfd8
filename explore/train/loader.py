"""Batches ahead of time: worker processes decode and crop while the network computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
from torch.utils.data import DataLoader

from arch.errors import InputError
from explore.data.crop import Augment, Batch, batch_at
from explore.data.sample import Dataset
from explore.train.memory import keep_freed_memory

AHEAD = 4  # batches a worker prepares


def load_batches(
    data: Dataset,
    steps: range,
    batch: int,
    size: int,
    augment: Augment,
    seed: int,
    workers: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """The batches of `steps`, in their order and the same whatever the number of workers.

    share: as of `batch_at`, where several processes train together.

    Raises:
        InputError: as `batch_at`, from a worker too.
    """
    source = _Steps(data, batch, size, augment, seed, share)
    if not workers:
        keep_freed_memory()
        yield from (source.batch(step) for step in steps)
        return
    loader: Any = DataLoader(
        source,  # type: ignore[arg-type]
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        multiprocessing_context="spawn",  # a fork of a process that has run other libraries' threads can crash
        prefetch_factor=AHEAD,
        collate_fn=_as_it_is,
        worker_init_fn=_start,
    )
    for found in loader:
        if isinstance(found, InputError):
            raise found
        yield found


@dataclass(frozen=True)
class _Steps:
    data: Dataset
    batch_size: int
    size: int
    augment: Augment
    seed: int
    share: tuple[int, int]

    def batch(self, step: int) -> Batch:
        return batch_at(self.data, step, self.batch_size, self.size, self.augment, self.seed, self.share)

    def __getitem__(self, step: int) -> Batch | InputError:
        try:
            return self.batch(step)
        except InputError as error:
            return InputError(str(error))  # the loader would wrap a raised one in its traceback


def _as_it_is(found: Any) -> Any:
    return found


def _start(worker: int) -> None:
    cv2.setNumThreads(0)
    keep_freed_memory()
