"""Leases: which process works on a trial or uses a resource, kept in the storage, so that all machines agree.

A lease is a JSON value that names its process and stage and carries a counter. A thread increases the counter while the
process lives. A lease that does not change for `SearchConfig.lease` seconds belongs to a dead process. Each observer
measures that time with its own monotonic clock and over readings that follow each other closely, so that clocks that
differ and storages that were away do not matter. A dead process of the same machine is recognised at once.

A candidate fails after MAX_DEATHS deaths of its workers. Interruptions are no deaths: a pool of workers that is stopped
releases their leases, and a lease does not count if its pool was killed together with the worker.

A trial is leased by moving it from WAITING to RUNNING, which the storage does for one process only. A resource (a
remote device, a finalist, the leadership of a study) is leased by writing an attribute of the study and reading it
again after a pause; the last writer keeps it. A process that was taken for dead finds another lease in place of its own
and stops. In rare cases two processes do the same work; results are written atomically and counted once.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from arch.errors import InputError
from arch.files import process_space
from explore.search.storage.backends import PatientStorage, StorageLost
from explore.search.storage.optuna_private import return_to_queue, start_waiting, storage_of, stored, trial_key

LEASE = "lease"  # user attribute of a trial
LEADER = "leader"  # user attribute of the study: the lease of the process that leads it
NEEDS = "needs"  # user attribute of a trial: the ability that its next worker must have
LATENCY = "latency"  # ability: to measure latency on a machine like the one that measured the reference network
HEARTBEATS = 6  # of a process within the duration of a lease
MAX_DEATHS = 3  # unexpected deaths of workers at the same point of a trial, after which the trial fails
SHORT_PATIENCE_S = 5.0  # a storage that is away longer does not delay the end of an interrupted search
MIN_ADVANCE = 0.1  # fraction of a stage that counts as getting further
STALLED = 3600.0  # seconds in one stage without progress after which a worker ends itself
CONFIRM = 0.5  # seconds after which a lease on a resource is read again

LeaseValue = dict[str, Any]


class LeaseLost(RuntimeError):
    """Another process has the lease now."""


class HandOver(Exception):
    """This worker has done its part of a trial; a worker with the named ability continues."""


@dataclass(frozen=True)
class Process:
    """A process, identified across machines."""

    host: str  # boot identifier of the kernel and process namespace
    pid: int
    started: str
    machine: str  # host name, for messages

    @staticmethod
    def of(pid: int) -> Process:
        """Return a process of this machine."""
        return Process(process_space(), pid, _start_time(pid), socket.gethostname())

    def is_on_this_machine(self) -> bool:
        return self.host == process_space()

    def is_gone(self) -> bool:
        """Return whether the process has ended; always false for processes of other machines."""
        return self.is_on_this_machine() and _start_time(self.pid) != self.started


def _start_time(pid: int) -> str:
    """Return the start time of a process in kernel ticks since boot; empty if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def process_of(value: LeaseValue) -> Process:
    return Process(**value["process"])


@dataclass
class LeaseMonitor:
    """Detect leases that stopped changing. Use one monitor for all readings of the same leases."""

    lease: float  # seconds
    _seen: dict[Any, tuple[str, float]] = field(default_factory=dict)
    _last: float = 0.0

    def expired(self, leases: dict[Any, LeaseValue | None]) -> set[Any]:
        """Return the keys of `leases` whose process has died, as far as is known."""
        now = time.monotonic()
        if now - self._last > self.lease / 2:  # the storage was away: earlier readings prove nothing
            self._seen.clear()
        self._last = now
        before = self._seen
        self._seen = {}
        for key, value in leases.items():
            text = json.dumps(value, sort_keys=True)
            known = before.get(key)
            self._seen[key] = known if known is not None and known[0] == text else (text, now)
        return {
            key
            for key, value in leases.items()
            if (value is not None and process_of(value).is_gone()) or now - self._seen[key][1] > self.lease
        }

    def dead(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the running trials whose worker has died."""
        running = {t.number: t for t in trials if t.state == TrialState.RUNNING}
        expired = self.expired({number: t.user_attrs.get(LEASE) for number, t in running.items()})
        return [trial for number, trial in running.items() if number in expired]


class Lease:
    """A lease that this process holds; a thread renews it until `stop`.

    read: returns the present value in the storage
    write: replaces it
    before: the value that a dead process left, from which deaths without progress are counted
    is_work: the holder reports its progress by `at`, and ends itself without any for `STALLED` seconds
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], LeaseValue | None],
        write: Callable[[LeaseValue | None], None],
        before: LeaseValue | None,
        seconds: float,
        is_work: bool = True,
    ) -> None:
        self.name = name
        self.lost = False
        self.stage = "start"
        none: dict[str, Any] = {"times": 0, "stage": "", "furthest": 0.0, "machine": ""}
        self.died = _deaths(before) if before else none
        self._read, self._write_value = read, write
        self._token = uuid.uuid4().hex
        self._pool = Process.of(os.getppid())
        self._fraction = 0.0
        self._is_work = is_work
        self._beat = 0
        self._moved = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._renew, args=(seconds / HEARTBEATS,), daemon=True)
        self._thread.start()

    def at(self, stage: str, fraction: float = 0.0) -> None:
        """Record the present stage and the fraction of it that is done.

        Raises:
            LeaseLost: another process has the lease.
        """
        if self.lost:
            raise LeaseLost(f"{self.name} is another worker's now")
        self._moved = time.monotonic()
        self._fraction = fraction
        if stage != self.stage:
            self.stage = stage
            self._write()

    def is_mine(self) -> bool:
        return (self._read() or {}).get("token") == self._token

    def stop(self) -> None:
        """Stop renewing."""
        self._stop.set()
        self._thread.join()

    def give_up_reason(self) -> str:
        """Return why this work must fail because too many processes died over it, or an empty string."""
        if self.died["times"] < MAX_DEATHS:
            return ""
        return (
            f"its worker died {self.died['times']} times in stage '{self.died['stage']}', last on "
            f"{self.died['machine']} (killed, or out of memory?)"
        )

    def _write(self) -> None:
        with self._lock:
            self._beat += 1
            value = {"token": self._token, "beat": self._beat, "process": asdict(Process.of(os.getpid()))}
            value |= {"pool": asdict(self._pool), "stage": self.stage, "share": round(self._fraction, 3)}
            self._write_value(value | {"died": self.died})

    def _renew(self, pause: float) -> None:
        while not self._stop.wait(pause):
            if self._is_work and time.monotonic() - self._moved > STALLED:
                print(f"no progress in '{self.stage}' for {STALLED:.0f} s: this worker ends itself", flush=True)
                os._exit(1)
            try:
                if not self.is_mine():
                    self.lost = True
                    return
                self._write()
            except (UpdateFinishedTrialError, KeyError, StorageLost):
                self.lost = True
                return


def _deaths(left: LeaseValue) -> dict[str, Any]:
    """Count the deaths without progress, given the lease that a dead process left.

    A worker that was killed together with its pool of workers counts as interrupted.
    """
    before, stage, fraction = left["died"], left["stage"], left["share"]
    if "pool" in left and Process(**left["pool"]).is_gone():
        return dict(before)
    stuck = stage == before["stage"] and fraction < before["furthest"] + MIN_ADVANCE
    return {
        "times": before["times"] + 1 if stuck else 1,
        "stage": stage,
        "furthest": max(fraction, before["furthest"]) if stuck else fraction,
        "machine": left["process"]["machine"],
    }


class TrialLease(Lease):
    """The lease on a running trial, from taking the trial until `done` or `release`."""

    def __init__(self, study: optuna.Study, trial: Trial, seconds: float) -> None:
        self.study, self.trial = study, trial

        def read() -> Any:
            return stored(study, trial).user_attrs.get(LEASE)

        super().__init__(
            f"trial {trial.number}", read, lambda value: trial.set_user_attr(LEASE, value), read(), seconds
        )

    def done(self, values: list[float] | None, state: TrialState | None = None) -> None:
        """Finish the trial.

        Raises:
            LeaseLost: another process has the trial, or has finished it.
        """
        self.stop()
        finished = stored(self.study, self.trial).state == TrialState.COMPLETE
        if not finished and not self.is_mine():
            raise LeaseLost(f"{self.name} is another worker's now")
        try:
            self.study.tell(self.trial, values, state)
        except (UpdateFinishedTrialError, ValueError) as error:
            if stored(self.study, self.trial).state == (state or TrialState.COMPLETE):
                return  # finished by an earlier call whose answer was lost
            raise LeaseLost(str(error)) from None

    def end(self, reason: str, state: TrialState) -> None:
        """Finish the trial without values.

        Raises:
            LeaseLost: another process has the trial, or has finished it.
        """
        self.stop()
        if self.is_mine():
            self.trial.set_user_attr("reason", reason)
        self.done(None, state)

    def release(self, needs: str = "") -> None:
        """Return the trial to the queue, for workers with the ability `needs` if one is given."""
        self.stop()
        if self.is_mine():
            if needs:
                self.trial.set_user_attr(NEEDS, needs)
            self.trial.set_user_attr(LEASE, None)
            return_to_queue(self.study, self.trial)


def requeue_dead(study: optuna.Study, monitor: LeaseMonitor) -> None:
    """Return the trials of dead workers to the queue."""
    for trial in monitor.dead(study.get_trials(deepcopy=False)):
        now = stored(study, trial)
        if now.state == TrialState.RUNNING and now.user_attrs.get(LEASE) == trial.user_attrs.get(LEASE):
            return_to_queue(study, trial)


def take_waiting(study: optuna.Study, abilities: frozenset[str], only_handed_over: bool = False) -> Trial | None:
    """Take the first waiting trial that this worker is able to continue; return it as RUNNING."""
    for waiting in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        needs = waiting.user_attrs.get(NEEDS)
        if (needs is None and only_handed_over) or (needs is not None and needs not in abilities):
            continue
        if trial := start_waiting(study, waiting):
            return trial
    return None


def release_leases(study: optuna.Study, pids: Collection[int]) -> None:
    """Release all leases of ended processes of this machine, such that the next worker continues their work.

    Where the storage is away, the leases expire instead.
    """
    host = process_space()

    def is_theirs(value: Any) -> bool:
        is_lease = isinstance(value, dict) and "token" in value and "process" in value
        return is_lease and value["process"]["host"] == host and value["process"]["pid"] in pids

    with with_short_patience(study):
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if is_theirs(trial.user_attrs.get(LEASE)):
                Trial(study, trial_key(trial)).set_user_attr(LEASE, None)
                return_to_queue(study, trial)
        for name, value in study.user_attrs.items():
            if is_theirs(value):
                study.set_user_attr(name, None)


@contextmanager
def with_short_patience(study: optuna.Study) -> Iterator[None]:
    """Do not wait long in the block for a storage that is away; leave the block where it does not answer."""
    storage = storage_of(study)
    with ExitStack() as stack, suppress(StorageLost):
        if isinstance(storage, PatientStorage):
            stack.callback(setattr, storage, "patience", storage.patience)
            storage.patience = min(storage.patience, SHORT_PATIENCE_S)
        yield


def lease_resource(study: optuna.Study, resource: str, monitor: LeaseMonitor, is_work: bool = True) -> Lease | None:
    """Lease a resource of the study; return None while a living process holds it.

    monitor: the caller's, kept for all its attempts; is_work: see `Lease`
    """
    before = study.user_attrs.get(resource)
    if before is not None and not monitor.expired({resource: before}):
        return None
    lease = Lease(
        resource,
        lambda: study.user_attrs.get(resource),
        lambda value: study.set_user_attr(resource, value),
        before,
        monitor.lease,
        is_work,
    )
    time.sleep(CONFIRM)  # of two processes that wrote at the same moment, the last writer keeps the resource
    if lease.is_mine():
        return lease
    lease.stop()
    return None


def release_resource(study: optuna.Study, lease: Lease) -> None:
    """Free a resource."""
    lease.stop()
    if lease.is_mine():
        study.set_user_attr(lease.name, None)


@contextmanager
def leased(study: optuna.Study, resource: str, seconds: float) -> Iterator[Lease]:
    """Wait for a resource and hold its lease."""
    monitor = LeaseMonitor(seconds)
    while (lease := lease_resource(study, resource, monitor, is_work=False)) is None:
        time.sleep(CONFIRM)
    try:
        yield lease
    finally:
        release_resource(study, lease)


@contextmanager
def leadership(study: optuna.Study, seconds: float) -> Iterator[None]:
    """Hold the lease of the process that leads the study; workers that join stop when it is gone.

    Raises:
        InputError: another process leads the study.
    """
    monitor, deadline, first = LeaseMonitor(seconds), time.monotonic() + 1.2 * seconds, study.user_attrs.get(LEADER)
    while (lease := lease_resource(study, LEADER, monitor, is_work=False)) is None:
        other = study.user_attrs.get(LEADER)
        process = process_of(other) if other else None
        if process and (other != first or process.is_on_this_machine() or time.monotonic() > deadline):
            raise InputError(
                f"study {study.study_name}: another search runs it, process {process.pid} on {process.machine}; "
                "wait for it, add a worker to it, or give --study another name"
            )
        time.sleep(seconds / 12)
    try:
        yield
    except StorageLost:
        lease.stop()  # it cannot be released; it expires
        raise
    except BaseException:
        with with_short_patience(study):
            release_resource(study, lease)
        raise
    release_resource(study, lease)
