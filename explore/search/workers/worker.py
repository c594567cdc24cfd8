"""A worker process: evaluate candidates or finalists one after another until none is left."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal, Protocol

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from arch.errors import InputError, WorkError
from arch.files import DISK_FULL
from arch.space import Arch
from explore.interrupts import leave_to_parent
from explore.measure.latency import Disturbed
from explore.measure.rows import DeviceError
from explore.redact import redacted
from explore.search.budget.plan import may_start, pace_of
from explore.search.candidate import AtRung, run_candidate
from explore.search.config import SearchConfig
from explore.search.context import EvalContext, OutOfMemory, memory_errors, open_context
from explore.search.costs.latency import make_reference, measures_like_reference
from explore.search.costs.objectives import constraints, figures, values
from explore.search.costs.remote_devices import measure_remote_references
from explore.search.costs.unmeasured import measure_rest
from explore.search.finalists import Finalist, next_finalist, run_finalist
from explore.search.proposals import NOISE
from explore.search.recipes_of_trial import label, result_file
from explore.search.results import CandidateResult, FinalistResult
from explore.search.rungs import Stopped, pass_rung
from explore.search.storage.fingerprint import space_of
from explore.search.storage.trial_values import RESULT
from explore.search.study import SearchFailed, Task, next_task, open_study
from explore.search.workers.leases import LATENCY, HandOver, Lease, LeaseLost, LeaseMonitor, release_resource
from explore.train.loop import Diverged
from quantize.convert import ConversionError

Phase = Literal["reference", "candidates", "finalists"]
MIN_FREE_BYTES = 1 << 16  # free space below which a failure is attributed to the disk
FAILURES = (ConversionError, DeviceError, Diverged, Disturbed, MemoryError, OutOfMemory)


class Failed(Exception):
    """A network cannot be evaluated; the search continues with others."""


class Work(Protocol):
    """The three kinds of work of a search. Each leaves its result as a whole, and returns at once if it is there."""

    @property
    def abilities(self) -> frozenset[str]: ...

    def reference(self) -> None: ...
    def candidate(self, arch: Arch, recipe: str, at_rung: AtRung) -> CandidateResult: ...
    def finalist(self, finalist: Finalist) -> FinalistResult: ...


@dataclass(frozen=True)
class RealWork:
    """Training, export, evaluation and measurement on this machine."""

    context: EvalContext

    @property
    def abilities(self) -> frozenset[str]:
        return frozenset({LATENCY} if self.context.can_measure else ())

    def reference(self) -> None:
        make_reference(self.context)
        measure_remote_references(self.context.config, self.context.report)

    def candidate(self, arch: Arch, recipe: str, at_rung: AtRung) -> CandidateResult:
        with memory_errors():
            return run_candidate(self.context, arch, recipe, at_rung)

    def finalist(self, finalist: Finalist) -> FinalistResult:
        with memory_errors():
            return run_finalist(self.context, finalist)


@dataclass
class Reporter:
    """Pass the progress of a stage to the parent process, and to the lease of the present work."""

    pipe: Connection
    lease: Lease | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        send(self.pipe, "stage", stage=stage, done=done, total=total)
        if self.lease is not None:
            self.lease.at(stage, done / max(1, total))


Main = Callable[[SearchConfig, Phase, int, Connection], None]


def main(config: SearchConfig, phase: Phase, index: int, pipe: Connection) -> None:
    """Entry of the process; progress and results are sent through `pipe` as (kind, facts)."""
    report = Reporter(pipe)
    try:
        start_worker(config, index)
        with open_context(config, index, report, measures_like_reference(config)) as context:
            work(config, phase, RealWork(context), report)
            if phase != "reference" and context.can_measure:
                measure_rest(context)
    except (InputError, WorkError) as error:
        send_error(pipe, error)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        send_error(pipe, _disk_full(config, error))


def start_worker(config: SearchConfig, index: int) -> None:
    """Make this process a worker: it dies with its parent, and output of libraries goes to a log."""
    leave_to_parent()
    log = config.folder / "logs" / f"worker-{index}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def send(pipe: Connection, kind: str, **facts: Any) -> None:
    """Send a message; end this process if the parent is gone."""
    try:
        pipe.send((kind, facts))
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)


def send_error(pipe: Connection, error: Exception) -> None:
    send(pipe, "error", message=redacted(str(error)), input=isinstance(error, InputError))


def work(config: SearchConfig, phase: Phase, tools: Work, report: Reporter) -> None:
    """Work on a phase until it is done.

    Raises:
        SearchFailed, StorageLost, InputError: the search cannot continue.
    """
    if phase == "reference":
        try:
            with _disk_checked(config):
                tools.reference()
        except FAILURES as error:
            raise SearchFailed(f"the reference network: {error}") from error
        return
    study, is_first = open_study(config), True
    if phase == "candidates":
        monitor, space = LeaseMonitor(config.lease), space_of(config)
        may_wait = functools.partial(may_start, config, is_first=False)
        while (
            may_start(config, is_first)
            and (task := next_task(study, config, space, monitor, tools.abilities, may_wait)) is not None
        ):
            _candidate(config, study, task, tools, report)
            is_first = False
        return
    monitors: dict[str, LeaseMonitor] = {}
    pace = 1.0

    def in_time(arch_id: str) -> bool:
        return may_start(config, is_first and LATENCY in tools.abilities, arch_id, pace)

    while (found := next_finalist(study, config, monitors, tools.abilities, in_time)) is not None:
        started = time.monotonic()
        _finalist(config, study, *found, tools, report)
        is_first, pace = False, pace_of(config, found[0].arch.id, time.monotonic() - started)


def _candidate(config: SearchConfig, study: optuna.Study, task: Task, tools: Work, report: Reporter) -> None:
    """Evaluate one candidate and finish its trial."""
    who = {"number": task.number, "name": label(config, task.arch, task.recipe)}
    send(report.pipe, "trial", **who)
    try:
        kind, facts = _end_trial(config, study, task, tools, report)
    except (LeaseLost, UpdateFinishedTrialError):
        kind, facts = "failed", {"reason": "another worker took it over"}
    except (SearchFailed, OSError):
        task.lease.release()
        raise
    send(report.pipe, kind, **who, **facts)


def _end_trial(
    config: SearchConfig, study: optuna.Study, task: Task, tools: Work, report: Reporter
) -> tuple[str, dict[str, Any]]:
    """Evaluate a candidate and write the outcome to its trial; return the message about it as (kind, facts)."""
    lease, trial = task.lease, task.lease.trial
    try:
        with _reported(report, lease), _failures(config, lease):
            at_rung = functools.partial(pass_rung, config, study, lease, task.arch)
            result = tools.candidate(task.arch, task.recipe, at_rung)
    except Stopped as stop:
        lease.end(str(stop), TrialState.PRUNED)
        return "stopped", {"reason": str(stop), "macs": stop.step.macs, "share": stop.step.share}
    except HandOver as ability:
        lease.release(str(ability))
        return "failed", {"reason": f"handed over: {ability}"}
    except Failed as failure:
        lease.end(str(failure), TrialState.FAIL)
        return "failed", {"reason": str(failure)}
    numbers = figures(result)
    # the paper's networks count as feasible, see explore.search.proposals
    if "baseline" not in trial.user_attrs:
        for limit, excess in constraints(config, numbers).items():
            trial.set_constraint(limit, excess)
    if result.noise_mm is not None:
        trial.set_user_attr(NOISE, result.noise_mm)
    path = result_file(config, task.arch.id, task.recipe)
    trial.set_user_attr(RESULT, str(path.relative_to(config.folder)))
    point = values(config, numbers)
    lease.done(point)
    return "finished", {"macs": result.macs, "values": point, "is_measured": result.is_measured}


def _finalist(
    config: SearchConfig, study: optuna.Study, finalist: Finalist, lease: Lease, tools: Work, report: Reporter
) -> None:
    """Finish one finalist."""
    who = {"number": None, "name": finalist.arch.name}
    send(report.pipe, "trial", **who)
    try:
        with _reported(report, lease), _failures(config, lease):
            tools.finalist(finalist)
        send(report.pipe, "finished", **who)
    except Failed as failure:
        finalist.fail(config, str(failure))
        send(report.pipe, "failed", **who, reason=str(failure))
    except LeaseLost:
        send(report.pipe, "failed", **who, reason="another worker took it over")
    finally:
        release_resource(study, lease)


@contextmanager
def _reported(report: Reporter, lease: Lease) -> Iterator[None]:
    """Record the progress of the enclosed work in its lease."""
    report.lease = lease
    try:
        yield
    finally:
        report.lease = None


@contextmanager
def _failures(config: SearchConfig, lease: Lease) -> Iterator[None]:
    """Tell failures of the enclosed network from a full disk.

    Raises:
        Failed: the network cannot be evaluated, with the reason.
        SearchFailed: the disk is full.
    """
    try:
        with _disk_checked(config):
            yield
    except FAILURES as error:
        raise Failed(str(error) or f"{type(error).__name__}: out of memory in stage '{lease.stage}'") from error


@contextmanager
def _disk_checked(config: SearchConfig) -> Iterator[None]:
    """Raise a SearchFailed with the file if the enclosed work fails because the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise _disk_full(config, error) from error
        raise
    except (*FAILURES, RuntimeError) as error:  # converters and safetensors report a full disk in their own words
        full = next((text for text in map(os.strerror, DISK_FULL) if text in str(error)), "")
        if full or shutil.disk_usage(config.folder).free < MIN_FREE_BYTES:
            raise _disk_full(config, OSError(errno.ENOSPC, full or os.strerror(errno.ENOSPC))) from error
        raise


def _disk_full(config: SearchConfig, error: OSError) -> SearchFailed:
    where = error.filename or config.folder
    return SearchFailed(f"{where}: {error.strerror}; free space and run the same command to resume")
