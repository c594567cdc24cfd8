"""Who works on which trial, kept in the storage alone, so that workers on any machine agree on it.

A worker takes a trial by moving it from WAITING to RUNNING, which the storage does for one worker only, and writes its
*lease* beside it: who it is, what it does, and a number that it counts up for as long as it lives. A running trial
whose lease stands still for `config.lease` seconds was left by a worker that died; the next worker to ask puts it back
to WAITING, where it is taken like any other. Standing still is judged by the watcher's own monotonic clock over
readings that follow each other closely: clocks that differ or are set back, and a storage that was away, do not matter.
A worker of the same machine that is gone is seen at once.

A worker that was taken for dead and lives on finds another's lease on its trial and lets go. Should both finish, the
storage keeps what came first: a finished trial cannot be told again. So a trial may be worked on twice, in rare cases,
but is counted once.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from explore.search.storage import StorageLost

LEASE = "lease"  # user attribute of a trial
NEEDS = "needs"  # what a trial waits for that not every worker can do
LATENCY = "latency"  # of those: to time a file on the kind of machine that the study is about
BEATS = 6  # of a worker while one lease lasts
MOST_DEATHS = 3  # of workers over one trial that got no further
FURTHER = 0.1  # share of a stage
STALLED = 3600.0  # seconds in one stage without progress, after which a worker ends itself


class Lost(RuntimeError):
    """The trial is another worker's now."""


class HandOver(Exception):
    """This worker has done what it can for a trial; another, able to do what is named, goes on."""


@dataclass(frozen=True)
class Process:
    """A process that can be told from every other, and looked for where it runs."""

    host: str  # kernel since its boot, and process namespace
    pid: int
    started: str
    machine: str  # name for people

    @staticmethod
    def this() -> Process:
        return Process(_host(), os.getpid(), _started(os.getpid()), socket.gethostname())

    def gone(self) -> bool:
        """Whether it has certainly ended: known at once on its own machine, never elsewhere."""
        return self.host == _host() and _started(self.pid) != self.started


def _host() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        return socket.gethostname()
    return f"{boot.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks since boot; empty for one that ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


@dataclass
class Watch:
    """Tells leases that stand still from those that are renewed. Each `dead` is a reading; keep one for all readings."""

    lease: float  # seconds
    _seen: dict[int, tuple[str, float]] = field(default_factory=dict)
    _last: float = 0.0

    def dead(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those of the running `trials` whose worker has died."""
        now = time.monotonic()
        if now - self._last > self.lease / 2:  # nobody looked, or could look: what was seen before says nothing
            self._seen.clear()
        self._last = now
        running = [t for t in trials if t.state == TrialState.RUNNING]
        self._seen = {t._trial_id: self._unchanged(t, now) for t in running}
        return [t for t in running if _gone(t) or now - self._seen[t._trial_id][1] > self.lease]

    def _unchanged(self, trial: FrozenTrial, now: float) -> tuple[str, float]:
        lease = json.dumps(trial.user_attrs.get(LEASE), sort_keys=True)
        before = self._seen.get(trial._trial_id)
        return before if before is not None and before[0] == lease else (lease, now)


def _gone(trial: FrozenTrial) -> bool:
    lease = trial.user_attrs.get(LEASE)
    return lease is not None and Process(**lease["process"]).gone()


class Claim:
    """A trial that this process works on, from `take` until `done` or `release`; a thread renews the lease."""

    def __init__(self, study: optuna.Study, trial: Trial, lease: float) -> None:
        self.study = study
        self.trial = trial
        self.lost = False
        self._token = uuid.uuid4().hex
        self.stage, self._share = "claim", 0.0
        before = study._storage.get_trial(trial._trial_id).user_attrs.get(LEASE)
        none: dict[str, Any] = {"times": 0, "stage": "", "furthest": 0.0, "machine": ""}
        self.died = _died(before) if before else none
        self._beat = 0
        self._moved = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._renew, args=(lease / BEATS,), daemon=True)
        self._thread.start()

    def at(self, stage: str, share: float = 0.0) -> None:
        """Say what is done now and to what share.

        Raises:
            Lost: another worker has the trial.
        """
        if self.lost:
            raise Lost(f"trial {self.trial.number} is another worker's now")
        self._moved = time.monotonic()
        self._share = share
        if stage != self.stage:
            self.stage = stage
            self._write()

    def done(self, values: list[float] | None, state: TrialState | None = None) -> None:
        """Tell the storage how the trial ended and let go of it.

        Raises:
            Lost: another worker has the trial, or it is finished already.
        """
        self._let_go()
        if not self._mine():
            raise Lost(f"trial {self.trial.number} is another worker's now")
        try:
            self.study.tell(self.trial, values, state)
        except (UpdateFinishedTrialError, ValueError) as error:
            if self.study._storage.get_trial(self.trial._trial_id).state == (state or TrialState.COMPLETE):
                return  # told before; the answer was lost on its way
            raise Lost(str(error)) from None

    def release(self, needs: str = "") -> None:
        """Put the trial back for whoever asks next."""
        self._let_go()
        if self._mine():
            if needs:
                self.trial.set_user_attr(NEEDS, needs)
            self.trial.set_user_attr(LEASE, None)
            put_back(self.study, self.trial._trial_id)

    def _mine(self) -> bool:
        frozen = self.study._storage.get_trial(self.trial._trial_id)
        lease = frozen.user_attrs.get(LEASE) or {}
        return frozen.state == TrialState.COMPLETE or lease.get("token") == self._token

    def _let_go(self) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        with self._lock:
            self._beat += 1
            lease: dict[str, Any] = {
                "token": self._token,
                "beat": self._beat,
                "process": asdict(Process.this()),
                "stage": self.stage,
                "share": round(self._share, 3),
                "died": self.died,
            }
            self.trial.set_user_attr(LEASE, lease)

    def _renew(self, pause: float) -> None:
        while not self._stop.wait(pause):
            if time.monotonic() - self._moved > STALLED:
                print(f"no progress in '{self.stage}' for {STALLED:.0f} s: this worker ends itself", flush=True)
                os._exit(1)
            try:
                if not self._mine():
                    self.lost = True
                    return
                self._write()
            except (UpdateFinishedTrialError, KeyError, StorageLost):
                self.lost = True
                return


def put_back(study: optuna.Study, trial_id: int) -> None:
    """From RUNNING to WAITING; a trial that has ended meanwhile stays as it is."""
    try:
        study._storage.set_trial_state_values(trial_id, state=TrialState.WAITING)
    except UpdateFinishedTrialError:
        return


def drop(study: optuna.Study, trial_id: int, reason: str) -> None:
    """End a trial that waits, unless somebody takes it first."""
    if study._storage.set_trial_state_values(trial_id, state=TrialState.RUNNING):
        study._storage.set_trial_user_attr(trial_id, "reason", reason)
        study._storage.set_trial_state_values(trial_id, state=TrialState.PRUNED)


def put_back_dead(study: optuna.Study, watch: Watch) -> None:
    """Put trials of dead workers back."""
    for trial in watch.dead(study.get_trials(deepcopy=False)):
        now = study._storage.get_trial(trial._trial_id)
        if now.state == TrialState.RUNNING and now.user_attrs.get(LEASE) == trial.user_attrs.get(LEASE):
            put_back(study, trial._trial_id)


def take_waiting(study: optuna.Study, able: frozenset[str], only_handed_over: bool = False) -> Trial | None:
    """The first trial that waits and needs nothing that this worker is not able to do; now RUNNING and ours."""
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        needs = frozen.user_attrs.get(NEEDS)
        if (needs is None and only_handed_over) or (needs is not None and needs not in able):
            continue
        try:
            if study._storage.set_trial_state_values(frozen._trial_id, state=TrialState.RUNNING):
                return Trial(study, frozen._trial_id)
        except UpdateFinishedTrialError:
            continue
    return None


def make_trial(study: optuna.Study) -> Trial:
    """A new trial, ours; unlike `study.ask` it never takes one that waits."""
    study._thread_local.cached_all_trials = None
    return Trial(study, study._storage.create_new_trial(study._study_id))


def _died(lease: dict[str, Any]) -> dict[str, Any]:
    """What is known of the deaths over a trial, after the worker of `lease` died: how often without getting further."""
    before, stage, share = lease["died"], lease["stage"], lease["share"]
    stuck = stage == before["stage"] and share < before["furthest"] + FURTHER
    return {
        "times": before["times"] + 1 if stuck else 1,
        "stage": stage,
        "furthest": max(share, before["furthest"]) if stuck else share,
        "machine": lease["process"]["machine"],
    }


def why_given_up(claim: Claim) -> str:
    """The reason to fail a trial over which too many workers died; empty where it may be tried once more."""
    died = claim.died
    if died["times"] < MOST_DEATHS:
        return ""
    return (
        f"its worker died {died['times']} times in stage '{died['stage']}', last on {died['machine']}"
        " (killed, or out of memory?)"
    )
