"""A worker process: takes candidates or finalists one after another until none is left."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, Protocol

import optuna
from optuna.trial import TrialState

from arch.errors import InputError
from arch.space import Arch
from explore.config import SearchConfig
from explore.redact import redacted
from explore.search import devices
from explore.search.choice import label
from explore.search.claims import Claim, HandOver, Lost, Watch
from explore.search.identity import space_of
from explore.search.rungs import Stopped, climb
from explore.search.storage import StorageLost
from explore.search.study import SearchFailed, Task, end, finish, next_finalist, next_task, open_study

Phase = Literal["reference", "candidates", "finalists"]
LEAST_FREE = 1 << 16  # bytes below which a failure is the disk's
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Stages(Protocol):
    """What is done with a network. Each result is left whole, so that a call that finds it returns at once."""

    @property
    def able(self) -> frozenset[str]: ...  # kinds of work that not every worker can do
    @property
    def failures(self) -> tuple[type[Exception], ...]: ...  # of one network; wrong input ends the search

    def make_reference(self) -> None: ...
    def train_to(self, arch: Arch, rung: int) -> float: ...  # of a candidate's training; error in mm
    def evaluate(self, arch: Arch, recipe: str) -> dict[str, Any]: ...
    def finish(self, arch: Arch, recipes: tuple[str, ...]) -> dict[str, Any]: ...


@dataclass
class Reporter:
    """Passes what a stage says of itself to the parent and to the lease of the trial that is worked on."""

    index: int
    pipe: Connection
    claim: Claim | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        tell(self.pipe, "stage", worker=self.index, stage=stage, done=done, total=total)
        if self.claim is not None:
            self.claim.at(stage, done / max(1, total))


Main = Callable[[SearchConfig, Phase, int, Connection], None]


def main(config: SearchConfig, phase: Phase, index: int, pipe: Connection) -> None:
    """Entry of the process; `pipe` is told what is going on as (kind, facts)."""
    begin(config, index)
    report = Reporter(index, pipe)
    from explore.search.stages import open_stages

    try:
        with open_stages(config, index, report) as stages:
            work(config, phase, stages, report)
    except (SearchFailed, InputError, StorageLost) as error:
        tell_error(pipe, index, error)


def begin(config: SearchConfig, index: int) -> None:
    """Make this process a worker: it dies with its parent, and what libraries print goes to a log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    if sys.platform == "linux":
        from quantize.convert_child import PR_SET_PDEATHSIG

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    quiet(config.folder / "logs" / f"worker-{index}.log")


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


def tell_error(pipe: Connection, index: int, error: Exception) -> None:
    tell(pipe, "error", worker=index, message=redacted(str(error)), input=isinstance(error, InputError))


def work(config: SearchConfig, phase: Phase, stages: Stages, report: Reporter) -> None:
    """Work on a phase until it is done.

    Raises:
        SearchFailed, StorageLost, InputError: the search cannot go on, with the reason.
    """
    if phase == "reference":
        try:
            stages.make_reference()
        except stages.failures as error:
            raise SearchFailed(f"the reference network: {error}") from error
        return
    watch = Watch(config.lease)
    if phase == "candidates":
        study = open_study(config)
        space = space_of(config)
        while (task := next_task(study, config, space, watch, stages.able)) is not None:
            name = label(config, task.arch, task.recipes[0])
            _do(config, task, name, functools.partial(_candidate, config, study, task, stages), stages, report)
    else:
        study = open_study(config, finalists=True)
        while (task := next_finalist(study, config, watch, stages.able)) is not None:
            _do(config, task, task.arch.name, functools.partial(stages.finish, task.arch, task.recipes), stages, report)


def _candidate(config: SearchConfig, study: optuna.Study, task: Task, stages: Stages) -> dict[str, Any]:
    """From rung to rung, then the whole evaluation.

    Raises:
        Stopped: at a rung.
    """
    climb(config, study, task.claim, task.arch, stages.train_to)
    return stages.evaluate(task.arch, task.recipes[0])


def _do(
    config: SearchConfig,
    task: Task,
    name: str,
    stage: Callable[[], dict[str, Any]],
    stages: Stages,
    report: Reporter,
) -> None:
    """One trial, to its end, or as far as this worker can."""
    who = {"worker": report.index, "number": task.number, "name": name}
    tell(report.pipe, "trial", **who)
    report.claim = task.claim
    try:
        reason = _attempt(config, task, stage, stages)
        if isinstance(reason, Stopped):
            tell(report.pipe, "stopped", **who, reason=str(reason), macs=reason.step.macs, share=reason.step.share)
        elif isinstance(reason, str):
            tell(report.pipe, "failed", **who, reason=reason)
        else:
            tell(report.pipe, "finished", **who, result=reason)
    except Lost:
        tell(report.pipe, "failed", **who, reason="another worker took it over")
    finally:
        report.claim = None


def _attempt(
    config: SearchConfig, task: Task, stage: Callable[[], dict[str, Any]], stages: Stages
) -> str | Stopped | dict[str, Any]:
    """What a trial gave, or why it gave nothing; the storage is told.

    Raises:
        SearchFailed: the disk is full, which is no fault of the trial.
        Lost: another worker has the trial.
    """
    try:
        result = stage()
    except Stopped as step:
        end(task.claim, str(step), TrialState.PRUNED)
        return step
    except HandOver as error:
        task.claim.release(str(error))
        return f"handed over: {error}"
    except OSError as error:
        task.claim.release()
        if error.errno in DISK_FULL:
            raise _full(config, error) from error
        raise
    except stages.failures as error:
        if shutil.disk_usage(config.folder).free < LEAST_FREE:  # a converter says it in words of its own
            task.claim.release()
            raise _full(config, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
        reason = str(error) or f"{type(error).__name__}: out of memory in stage '{task.claim.stage}'"
        end(task.claim, reason, TrialState.FAIL)
        return reason
    facts = {key: value for key, value in result.items() if key not in ("latency", "arch", "rows")}
    finish(task.claim, _values(config, task, result), {"result": facts})
    return facts


def _full(config: SearchConfig, error: OSError) -> SearchFailed:
    where = error.filename or config.folder
    return SearchFailed(f"{where}: {error.strerror}; free space and run the same command to go on")


def _values(config: SearchConfig, task: Task, result: dict[str, Any]) -> list[float]:
    """The objectives of a candidate, whose limits are told too; of a finalist, error and latency of its file here."""
    if "rows" not in result:
        for limit, above in devices.constraints(config, result).items():
            task.claim.trial.set_constraint(limit, above)
        return devices.values(config, result)
    rows = [row for row in result["rows"] if row["recipe"] in task.recipes]
    row = next((row for row in rows if row["runtime"] == config.runtime), rows[0])
    return [float(row["mpjpe_mm"]), float(row["latency_ms"])]
