"""Overhead of the search: per trial, with ten thousand trials in the storage, and with hundreds of workers.

The stages of a candidate are simulated with given durations (`benchmarks.simulated_search`); all else is real.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from benchmarks import Claim, at_least, at_most, postgres, storage_load
from benchmarks.faults import ROOT, SearchFixture, wait
from benchmarks.simulated_search import Plan
from explore.progress import Display
from explore.search.budget.progress_weights import ProgressWeights
from explore.search.config import SearchConfig
from explore.search.progress import SearchProgress
from explore.search.storage.backends import open_storage, storage_url
from explore.search.workers import worker
from explore.search.workers.pool import run_worker_pool

# mean seconds of a candidate's stages in the reference study (results/version-0.1, two workers on two cores)
STAGE_S = {"train": 42.7, "export": 9.6, "evaluate": 0.4, "latency": 1.4}
CONFIG: dict[str, Any] = {
    "stored_trials": 10_000,
    "sampler_limit_s": 60,
    "parent_trials": 10_000,
    "workers": (1, 8, 64, 512),
    "stage_s": STAGE_S,
    "beat_s": SearchConfig().lease / 6,
}
STORAGES = ("sqlite", "journal", "postgresql")
SAMPLERS = ("random", "tpe", "nsga2", "gp")
Row = dict[str, Any]
Progress = Callable[[float, str], None]
HOURS = 4.0  # of a simulated search
PARTS: dict[str, Callable[[Progress], list[Row]]] = {}  # `scale:NAME` repeats one


def run(progress: Progress, only: str = "", before: Iterable[Row] = ()) -> tuple[list[Row], list[Claim]]:
    """Run all parts, or one of them and keep the other rows of a record; each row names its part."""
    names = [only] if only else list(PARTS)
    rows = [row for row in before if row["part"] not in (*names, "simulation")]
    for index, name in enumerate(names):
        progress(index / len(names), name)
        made = PARTS[name](lambda share, text, index=index: progress((index + share) / len(names), text))  # type: ignore[misc]
        rows += [{"part": name, **row} for row in made]
    rows += [{"part": "simulation", **row} for row in simulation(of_part(rows, "capacity"))]
    return rows, claims(rows)


def of_part(rows: Iterable[Row], part: str) -> list[Row]:
    return [row for row in rows if row["part"].startswith(part)]


def claims(rows: list[Row]) -> list[Claim]:
    """Return the claims of the parts that were measured."""
    found = [
        at_most(f"overhead with {row['workers']} workers, fraction of a 4 s trial", 0.05, row["share"])
        for row in of_part(rows, "overhead")
    ]
    if walls := {row["workers"]: row["wall_s"] for row in of_part(rows, "speedup")}:
        found.append(at_least("speed of two workers against one", 1.7, walls[1] / walls[2]))
    if memory := of_part(rows, "parent-memory"):
        growth = memory[-1]["mib"] - memory[0]["mib"]
        complete = memory[-1]["trials"] == CONFIG["parent_trials"]
        name = "growth of the leader's memory, trial 1,000 to 10,000, MiB"
        found.append(at_most(name, 2.0, growth if complete else math.inf, f"{growth:+.2f}"))
    if measured := of_part(rows, "ask-"):
        found.append(ask_claim(measured))
    return found


def overhead(progress: Progress) -> list[Row]:
    """Measure the fraction of wall time that is not spent in stages, for trials of four seconds."""
    rows = []
    seconds = {"train": 2.8, "export": 0.8, "evaluate": 0.2, "latency": 0.2}
    for workers in (1, 2):
        progress(workers / 3, f"overhead, {workers} workers")
        trials = 6 * workers
        wall = _span(Plan(seconds=seconds), trials, workers)
        spent = sum(seconds.values()) * trials / workers
        share = 1 - spent / wall
        rows.append(
            {
                "workers": workers,
                "trials": trials,
                "trial_s": sum(seconds.values()),
                "wall_s": round(wall, 2),
                "own_ms_per_trial": round(1000 * (wall - spent) * workers / trials, 1),
                "share": round(share, 4),
            }
        )
    return rows


def speedup(progress: Progress) -> list[Row]:
    """Compare two workers with one on trials that each use one core."""
    seconds = {"train": 2.0, "export": 0.5, "evaluate": 0.3, "latency": 0.2}
    walls = {}
    for workers in (1, 2):
        progress(workers / 3, f"{workers} workers")
        walls[workers] = _span(Plan(seconds=seconds, busy=True), 12, workers)
    return [{"workers": workers, "trials": 12, "wall_s": round(wall, 2)} for workers, wall in walls.items()]


def _span(plan: Plan, trials: int, workers: int) -> float:
    """Return the seconds from the start of the first candidate to the end of the last one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fixture = SearchFixture(folder, plan, trials=trials)
        stack.callback(fixture.end)
        ended, status, message = wait(fixture.start(workers=workers))
        if not ended or status:
            raise RuntimeError(f"the simulated search failed: {message}")
        study = optuna.load_study(study_name="s", storage=open_storage(storage_url(fixture.config)))
        done = study.get_trials(states=(TrialState.COMPLETE,))
        begun = min(t.datetime_start for t in done if t.datetime_start)
        return (max(t.datetime_complete for t in done if t.datetime_complete) - begun).total_seconds()


def ask_and_tell(kind: str, progress: Progress) -> list[Row]:
    """Time ask and tell with each sampler, beside ten thousand finished trials of three objectives."""
    rows = []
    for place, name in enumerate(SAMPLERS):
        progress(place / len(SAMPLERS), f"{kind} {name}")
        rows.append(_ask_row(kind, name, CONFIG["stored_trials"]))
    return rows


def ask_claim(rows: list[Row]) -> Claim:
    """Compare the slowest sampler with the duration of a trial."""
    worst = max((row["ask_tell_ms"] for row in rows if "ask_tell_ms" in row), default=0.0) / 1000
    trial_s = sum(STAGE_S.values())
    whole = not any("too_slow" in row for row in rows)
    return Claim(
        name="ask + tell at 10,000 trials, all samplers",
        target=f"< 5% of a {trial_s:.0f} s trial",
        measured=f"{worst:.2f} s" + ("" if whole else ", some too slow"),
        passed=0 < worst < 0.05 * trial_s and whole,
    )


def _ask_row(kind: str, name: str, count: int) -> dict[str, Any]:
    row: dict[str, Any] = {"storage": kind, "sampler": name, "trials": count}
    limit = CONFIG["sampler_limit_s"]
    with _storage(kind) as url:
        if not url:
            return row | {"skipped": "PostgreSQL is not installed"}
        storage_load.fill(url, count)
        command = [sys.executable, "-m", "benchmarks.storage_load", url, name, "6", str(limit / 2)]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return row | {"too_slow": f"fewer than two rounds in {limit} s"}
        if done.returncode:
            return row | {"too_slow": done.stderr.strip().splitlines()[-1][:200]}
    first, *others = json.loads(done.stdout)
    if not others:
        return row | {"first_ms": round(first), "too_slow": "one round took more than half the limit"}
    return row | {"first_ms": round(first), "ask_tell_ms": round(statistics.median(others), 1), "measured": len(others)}


@contextmanager
def _storage(kind: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        if kind != "postgresql":
            yield f"{kind}:///{folder}/storage"
            return
        if postgres.binaries() is None:
            yield ""
            return
        cluster = postgres.Cluster()
        try:
            yield cluster.url
        finally:
            cluster.close()


def parent_memory(progress: Progress) -> list[Row]:
    """Measure the memory of the leader while workers report ten thousand trials."""
    total = CONFIG["parent_trials"]
    with tempfile.TemporaryDirectory() as folder:
        config = SearchConfig(study="s", results=folder, trials=total)
        display = MemoryLog(total)
        progress_of = SearchProgress(config, display)
        progress_of.start_phase("candidates", ProgressWeights(total))
        run_worker_pool(config, "candidates", 2, progress_of, report_trials)
    return display.rows


class MemoryLog(Display):
    """Record the memory of this process after each tenth of the trials."""

    def __init__(self, total: int) -> None:
        super().__init__(quiet=True)
        self.rows: list[dict[str, Any]] = []
        self._count = 0
        self._every = total // 10

    def log(self, line: str) -> None:
        self._count += 1
        if self._count % self._every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.rows.append({"trials": self._count, "mib": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 2)})


def report_trials(config: SearchConfig, phase: worker.Phase, index: int, pipe: Connection) -> None:
    """Send the messages of half of the study's trials, without any work."""
    figures = {"values": [100.0, 1.0], "is_measured": True, "macs": 10**7}
    for number in range(index, config.trials, 2):
        worker.send(pipe, "trial", number=number, name=f"{number:010x}")
        for step in range(5):
            worker.send(pipe, "stage", stage="train", done=step, total=5)
        worker.send(pipe, "finished", number=number, name=f"{number:010x}", **figures)


def capacity(progress: Progress) -> list[Row]:
    """Measure trials and heartbeats per second of each storage, with two processes that do nothing else."""
    rows: list[dict[str, Any]] = []
    for place, kind in enumerate(STORAGES):
        progress(place / len(STORAGES), kind)
        with ExitStack() as stack:
            url = stack.enter_context(_storage(kind))
            if not url:
                rows.append({"storage": kind, "skipped": "PostgreSQL is not installed"})
                continue
            command = [sys.executable, "-m", "benchmarks.scale", url, "12"]
            storage_load.fill(url, 100)
            processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
            answers = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
        rows.append(
            {
                "storage": kind,
                "processes": 2,
                "trials_per_s": round(sum(a["trials_per_s"] for a in answers), 1),
                "beats_per_s": round(sum(a["beats_per_s"] for a in answers), 1),
            }
        )
    return rows


def storage_rates(url: str, seconds: float) -> dict[str, float]:
    """Return trials per second, with the storage operations of a worker, and heartbeats per second."""
    from explore.search.storage.optuna_private import new_trial
    from explore.search.workers.leases import TrialLease, take_waiting

    study = optuna.load_study(
        study_name=storage_load.STUDY, storage=open_storage(url), sampler=optuna.samplers.RandomSampler()
    )
    count, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        study.get_trials(deepcopy=False)
        trial = take_waiting(study, frozenset()) or new_trial(study)
        lease = TrialLease(study, trial, 600.0)
        for dimension in storage_load.DIMENSIONS:
            trial.suggest_categorical(dimension, storage_load.CHOICES)
        trial.set_user_attr("arch", "x")
        for stage in STAGE_S:
            lease.at(stage)
        trial.set_user_attr("path", "candidates/x/result.json")
        lease.done([1.0, 2.0, 3.0])
        count += 1
    trials_per_s = count / (time.monotonic() - begun)
    lease = TrialLease(study, new_trial(study), 600.0)
    beats, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds / 4:
        lease._write()
        beats += 1
    beats_per_s = beats / (time.monotonic() - begun)
    lease.done([1.0, 2.0, 3.0])
    return {"trials_per_s": trials_per_s, "beats_per_s": beats_per_s}


def simulation(measured: list[Row]) -> list[Row]:
    """Simulate workers with the measured stage times that queue at a storage of the measured capacity."""
    rows = []
    for storage in measured:
        if "skipped" in storage:
            continue
        each = 1 / storage["trials_per_s"]
        beat = 1 / storage["beats_per_s"] / CONFIG["beat_s"]
        for workers in CONFIG["workers"]:
            rows.append({"storage": storage["storage"], "workers": workers, **_simulate(workers, each, beat * workers)})
        full = 1 / (each / sum(STAGE_S.values()) + beat)
        rows.append(
            {"storage": storage["storage"], "saturates_at_workers": round(full), "then": ADVICE[storage["storage"]]}
        )
    return rows


ADVICE = {
    "sqlite": "use --storage postgresql://; SQLite also serves one machine only",
    "journal": "use --storage postgresql://; every worker reads the whole journal",
    "postgresql": "raise --lease to send fewer heartbeats, or split the search into studies that share --cache",
}


def _simulate(workers: int, each: float, beats: float) -> dict[str, Any]:
    """Simulate trials as events: the stages, then a turn at the storage, which serves one at a time and heartbeats."""
    rng = random.Random(workers)
    service = each / max(1e-6, 1 - beats)  # heartbeats take their part of the storage
    ends = [rng.expovariate(1.0) * 5 for _ in range(workers)]
    free, done, busy = 0.0, 0, 0.0
    horizon = HOURS * 3600
    heapq.heapify(ends)
    while ends[0] < horizon:
        free = max(heapq.heappop(ends), free) + service
        busy += service
        done += 1
        length = sum(STAGE_S.values()) * rng.lognormvariate(-0.18, 0.6)  # the reference study's spread
        heapq.heappush(ends, free + length)
    ideal = workers * horizon / sum(STAGE_S.values())
    return {
        "trials_per_hour": round(done / HOURS),
        "efficiency": round(min(1.0, done / ideal), 3),
        "storage_busy": round(min(1.0, busy / horizon * (1 - beats) + beats), 3),
    }


PARTS |= {
    "overhead": overhead,
    "speedup": speedup,
    "parent-memory": parent_memory,
    "capacity": capacity,
    **{f"ask-{kind}": partial(ask_and_tell, kind) for kind in STORAGES},
}

if __name__ == "__main__":
    print(json.dumps(storage_rates(sys.argv[1], float(sys.argv[2]))))
