"""Training batches in order, optionally decoded and cropped ahead of time by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
from torch.utils.data import DataLoader

from arch.errors import InputError
from explore.data.augment import Augment
from explore.data.batches import Batch, batch_at
from explore.data.sample import Dataset
from explore.host import keep_freed_memory
from explore.interrupts import starting_children

PREFETCH = 4  # batches per worker


def load_batches(
    data: Dataset,
    steps: range,
    batch_size: int,
    size: int,
    augment: Augment,
    seed: int,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Yield the batches of `steps` in order; they do not depend on the number of workers.

    shard: (index, count) of this process's part of each batch, see `batch_at`.

    Raises:
        InputError: as `batch_at`, also from a worker.
    """
    read = partial(batch_at, data, batch=batch_size, size=size, augment=augment, seed=seed, share=shard)
    if not workers:
        yield from map(read, steps)
        return
    loader: Any = DataLoader(
        _Batches(read),  # type: ignore[arg-type]
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        multiprocessing_context="spawn",  # forking a process that has run threads of other libraries can crash
        prefetch_factor=PREFETCH,
        collate_fn=_identity,
        worker_init_fn=_start_worker,
    )
    with starting_children():
        batches = iter(loader)
    for found in batches:
        if isinstance(found, InputError):
            raise found
        yield found


@dataclass(frozen=True)
class _Batches:
    read: Callable[[int], Batch]

    def __getitem__(self, step: int) -> Batch | InputError:
        try:
            return self.read(step)
        except InputError as error:
            return InputError(str(error))  # DataLoader would wrap a raised error in its traceback


def _identity(batch: Any) -> Any:
    return batch


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(0)
    keep_freed_memory()
