"""A worker process: takes candidates or finalists one after another until none is left."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from arch.errors import InputError
from arch.search_space import Space
from explore.config import SearchConfig
from explore.measure.lane import Lane
from explore.measure.protocol import Disturbed
from explore.measure.rows import DeviceError
from explore.search import candidate, devices
from explore.search.candidate import Bench
from explore.search.choice import label, read_finalists
from explore.search.dataset import open_judge
from explore.search.study import SearchFailed, claim, fail, finish, open_study, try_lock
from explore.train.loop import Diverged
from quantize.convert import ConversionError, Converter
from quantize.convert_child import PR_SET_PDEATHSIG

Phase = Literal["reference", "candidates", "finalists"]
FAILURES = (
    ConversionError,
    DeviceError,
    Diverged,
    Disturbed,
    MemoryError,
)  # of one network; wrong input ends the search


def main(config: SearchConfig, phase: Phase, index: int, pipe: Connection) -> None:
    """Entry of the process; `pipe` is told what is going on as (kind, facts)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    quiet(config.folder / "logs" / f"worker-{index}.log")
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    def report(stage: str, done: int, total: int) -> None:
        tell(pipe, "stage", worker=index, stage=stage, done=done, total=total)

    try:
        with Converter(config.folder / "logs" / f"converter-{index}.log") as converter:
            bench = Bench(config, open_judge(config), Lane(config.folder / "locks"), converter, report)
            if phase == "reference":
                candidate.make_reference(bench)
            elif phase == "candidates":
                candidates(bench, index, pipe)
            else:
                finalists(bench, index, pipe)
    except (SearchFailed, InputError, *FAILURES) as error:
        tell(pipe, "error", worker=index, message=str(error), input=isinstance(error, InputError))


def quiet(log: Path) -> None:
    """Send what libraries print to a file; the parent alone speaks to the user."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def tell(pipe: Connection, kind: str, **facts: Any) -> None:
    """Send a message; a parent that is gone ends this process."""
    try:
        pipe.send((kind, facts))
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)


def candidates(bench: Bench, index: int, pipe: Connection) -> None:
    """Work on trials until the study has enough."""
    config = bench.config
    study = open_study(config)
    space = Space.named(config.space).at(config.scale)
    while (taken := claim(study, config, space)) is not None:
        name = label(config, taken.arch, taken.recipe)
        tell(pipe, "trial", worker=index, number=taken.trial.number, name=name)
        try:
            result = candidate.evaluate(bench, taken.arch, taken.recipe)
        except FAILURES as error:
            fail(study, taken, str(error))
            tell(pipe, "failed", worker=index, number=taken.trial.number, name=name, reason=str(error))
        else:
            for limit, above in devices.constraints(config, result).items():
                taken.trial.set_constraint(limit, above)
            facts = {key: value for key, value in result.items() if key not in ("latency", "arch")}
            finish(study, taken, devices.values(config, result), {"result": facts})
            tell(pipe, "finished", worker=index, number=taken.trial.number, **facts | {"name": name})
        taken.close()


def finalists(bench: Bench, index: int, pipe: Connection) -> None:
    """Work on the chosen finalists that nobody else holds."""
    folder = bench.config.folder
    for chosen in read_finalists(bench.config):
        arch = chosen.arch
        lock = try_lock(folder / "locks" / f"finalist-{arch.id}.lock")
        if lock is None:
            continue
        if not (folder / "finalists" / arch.id / "result.json").exists():
            tell(pipe, "trial", worker=index, number=-1, name=arch.name)
            try:
                candidate.finish(bench, arch, chosen.recipes)
                tell(pipe, "finished", worker=index, number=-1, name=arch.name)
            except FAILURES as error:
                tell(pipe, "failed", worker=index, number=-1, name=arch.name, reason=str(error))
        lock.close()
