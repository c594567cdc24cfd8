"""What the search's own work costs: beside a trial, beside ten thousand trials, and for hundreds of workers.

Stages are rehearsed (`explore.bench.rehearsal`): they take the time they are told. All else is real.
"""

from __future__ import annotations

import json
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

from explore.bench import Claim, crowd, postgres
from explore.bench.faults import ROOT, Stage, waited
from explore.bench.rehearsal import Plan
from explore.config import SearchConfig
from explore.progress import Display
from explore.search import worker
from explore.search.board import Board
from explore.search.crew import run_crew
from explore.search.storage import open_storage, storage_url
from explore.search.workload import Workload

# Mean seconds of a candidate's stages in the reference study (results/reference, two workers on two cores).
STAGE_S = {"train": 42.7, "export": 9.6, "judge": 0.4, "latency": 1.4}
CONFIG: dict[str, Any] = {
    "crowd": 10_000,
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
PARTS: dict[str, Callable[[Progress], list[Row]]] = {}  # `bench scale:NAME` measures one of them again


def run(progress: Progress, only: str = "", before: Iterable[Row] = ()) -> tuple[list[Row], list[Claim]]:
    """All parts one after another, or one of them beside the rows of a record; each row names its part."""
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
    """What the rows say of what was asked for, as far as their parts were measured."""
    found = [
        _claim(
            f"own work at {row['workers']} workers",
            "under 5% of a 4 s trial",
            f"{row['share']:.1%}",
            row["share"] < 0.05,
        )
        for row in of_part(rows, "overhead")
    ]
    if walls := {row["workers"]: row["wall_s"] for row in of_part(rows, "speedup")}:
        ratio = walls[1] / walls[2]
        found.append(_claim("two workers against one", "at least 1.7x", f"{ratio:.2f}x", ratio >= 1.7))
    if memory := of_part(rows, "parent-memory"):
        growth = memory[-1]["mib"] - memory[0]["mib"]
        flat = memory[-1]["trials"] == CONFIG["parent_trials"] and abs(growth) < 2.0
        found.append(_claim("parent's memory, trial 1,000 to 10,000", "within 2 MiB", f"{growth:+.2f} MiB", flat))
    if asked := of_part(rows, "ask-"):
        found.append(asked_claim(asked))
    return found


def overhead(progress: Progress) -> list[Row]:
    """Wall time of workers beyond that of the stages, as a share, for trials of four seconds."""
    rows = []
    seconds = {"train": 2.8, "export": 0.8, "judge": 0.2, "latency": 0.2}
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
    """Two workers against one, on trials that compute on one core."""
    seconds = {"train": 2.0, "export": 0.5, "judge": 0.3, "latency": 0.2}
    walls = {}
    for workers in (1, 2):
        progress(workers / 3, f"{workers} workers")
        walls[workers] = _span(Plan(seconds=seconds, busy=True), 12, workers)
    return [{"workers": workers, "trials": 12, "wall_s": round(wall, 2)} for workers, wall in walls.items()]


def _span(plan: Plan, trials: int, workers: int) -> float:
    """Seconds from the first candidate's beginning to the last one's end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stage = Stage(folder, plan, trials=trials)
        stack.callback(stage.end)
        ended, status, told = waited(stage.start(workers=workers))
        if not ended or status:
            raise RuntimeError(f"the rehearsal failed: {told}")
        study = optuna.load_study(study_name="s", storage=open_storage(storage_url(stage.config)))
        done = study.get_trials(states=(TrialState.COMPLETE,))
        begun = min(t.datetime_start for t in done if t.datetime_start)
        return (max(t.datetime_complete for t in done if t.datetime_complete) - begun).total_seconds()


def asking(kind: str, progress: Progress) -> list[Row]:
    """Ask + tell at ten thousand finished trials of three objectives, with each sampler."""
    rows = []
    for place, name in enumerate(SAMPLERS):
        progress(place / len(SAMPLERS), f"{kind} {name}")
        rows.append(_asked(kind, name, CONFIG["crowd"]))
    return rows


def asked_claim(rows: list[Row]) -> Claim:
    """Whether asking stays small beside a trial, with whatever sampler."""
    worst = max((row["ask_tell_ms"] for row in rows if "ask_tell_ms" in row), default=0.0) / 1000
    trial_s = sum(STAGE_S.values())
    whole = not any("too_slow" in row for row in rows)
    return _claim(
        "ask + tell at 10,000 trials, all samplers",
        f"under 5% of a {trial_s:.0f} s trial",
        f"{worst:.2f} s" + ("" if whole else ", some too slow"),
        0 < worst < 0.05 * trial_s and whole,
    )


def _asked(kind: str, name: str, count: int) -> dict[str, Any]:
    row: dict[str, Any] = {"storage": kind, "sampler": name, "trials": count}
    limit = CONFIG["sampler_limit_s"]
    with _storage(kind) as url:
        if not url:
            return row | {"skipped": "PostgreSQL is not installed"}
        crowd.fill(url, count)
        command = [sys.executable, "-m", "explore.bench.crowd", url, name, "6", str(limit / 2)]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return row | {"too_slow": f"no two in {limit} s"}
        if done.returncode:
            return row | {"too_slow": done.stderr.strip().splitlines()[-1][:200]}
    first, *others = json.loads(done.stdout)
    if not others:
        return row | {"first_ms": round(first), "too_slow": "one took more than half the limit"}
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
    """Memory of the parent while workers report ten thousand trials."""
    total = CONFIG["parent_trials"]
    with tempfile.TemporaryDirectory() as folder:
        config = SearchConfig(study="s", results=folder, trials=total)
        display = Counting(total)
        board = Board(config, display)
        board.stage("candidates", Workload(total))
        run_crew(config, "candidates", 2, board, chatter)
    return display.rows


class Counting(Display):
    """Notes the memory of this process after every thousandth trial."""

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


def chatter(config: SearchConfig, phase: worker.Phase, index: int, pipe: Connection) -> None:
    """A worker that says what half of the study's trials would have it say, and does nothing."""
    result = {"mpjpe_mm": 100.0, "latency_ms": 1.0, "macs": 10**7}
    for number in range(index, config.trials, 2):
        worker.tell(pipe, "trial", worker=index, number=number, name=f"{number:010x}")
        for step in range(5):
            worker.tell(pipe, "stage", worker=index, stage="train", done=step, total=5)
        worker.tell(pipe, "finished", worker=index, number=number, name=f"{number:010x}", result=result)


def capacity(progress: Progress) -> list[Row]:
    """How many trials a second each storage takes through, from two processes that do nothing else; and heartbeats."""
    rows: list[dict[str, Any]] = []
    for place, kind in enumerate(STORAGES):
        progress(place / len(STORAGES), kind)
        with ExitStack() as stack:
            url = stack.enter_context(_storage(kind))
            if not url:
                rows.append({"storage": kind, "skipped": "PostgreSQL is not installed"})
                continue
            command = [sys.executable, "-m", "explore.bench.scale", url, "12"]
            crowd.fill(url, 100)
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


def hammer(url: str, seconds: float) -> dict[str, float]:
    """Trials a second, each asked, claimed, described and told as a worker does; then heartbeats a second."""
    from explore.search.claims import Claim as Claimed
    from explore.search.claims import make_trial, take_waiting

    study = optuna.load_study(
        study_name=crowd.STUDY, storage=open_storage(url), sampler=optuna.samplers.RandomSampler()
    )
    count, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        study.get_trials(deepcopy=False)
        trial = take_waiting(study, frozenset()) or make_trial(study)
        claim = Claimed(study, trial, 600.0)
        for key, row in crowd.DIMENSIONS.items():
            trial.suggest_categorical(key, list(row))
        trial.set_user_attr("arch", "x")
        for stage in STAGE_S:
            claim.at(stage)
        trial.set_user_attr("result", {"mpjpe_mm": 1.0})
        claim.done([1.0, 2.0, 3.0])
        count += 1
    trials_per_s = count / (time.monotonic() - begun)
    claim = Claimed(study, make_trial(study), 600.0)
    beats, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds / 4:
        claim._write()
        beats += 1
    beats_per_s = beats / (time.monotonic() - begun)
    claim.done([1.0, 2.0, 3.0])
    return {"trials_per_s": trials_per_s, "beats_per_s": beats_per_s}


def simulation(measured: list[Row]) -> list[Row]:
    """Workers that take the measured stage times and queue at a storage of the measured capacity."""
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
            {"storage": storage["storage"], "saturates_at_workers": round(full), "then": THEN[storage["storage"]]}
        )
    return rows


THEN = {
    "sqlite": "take --storage postgresql://; an SQLite file also serves one machine alone",
    "journal": "take --storage postgresql://; a journal is read by every worker in full",
    "postgresql": "raise --lease, for fewer heartbeats, or split the search into studies that share --cache",
}


def _simulate(workers: int, each: float, beats: float, hours: float = 4.0) -> dict[str, Any]:
    """An event a trial: its stages, then its turn at the storage, which serves one at a time and heartbeats besides."""
    rng = random.Random(workers)
    service = each / max(1e-6, 1 - beats)  # what heartbeats leave of the storage
    ends = [rng.expovariate(1.0) * 5 for _ in range(workers)]
    free, done, busy = 0.0, 0, 0.0
    horizon = hours * 3600
    import heapq

    heapq.heapify(ends)
    while ends[0] < horizon:
        asks = heapq.heappop(ends)
        begins = max(asks, free)
        free = begins + service
        busy += service
        done += 1
        length = sum(STAGE_S.values()) * rng.lognormvariate(-0.18, 0.6)  # the reference study's spread
        heapq.heappush(ends, free + length)
    ideal = workers * horizon / sum(STAGE_S.values())
    return {
        "trials_per_hour": round(done / hours),
        "efficiency": round(min(1.0, done / ideal), 3),
        "storage_busy": round(min(1.0, busy / horizon * (1 - beats) + beats), 3),
    }


def _claim(name: str, asked: str, measured: str, holds: bool) -> Claim:
    return Claim(name=name, asked=asked, measured=measured, holds=holds)


PARTS |= {
    "overhead": overhead,
    "speedup": speedup,
    "parent-memory": parent_memory,
    "capacity": capacity,
    **{f"ask-{kind}": partial(asking, kind) for kind in STORAGES},
}

if __name__ == "__main__":
    print(json.dumps(hammer(sys.argv[1], float(sys.argv[2]))))
