"""What a search survives: real things are broken while it runs, and what is left is compared with what should be.

Processes, claims, storage and files are the real ones; the stages of a candidate are pauses that write files
(`explore.bench.rehearsal`). The table says of each fault how the run ended, how many trials are finished, whether any
was left running, counted twice or done again, and whether the front of the storage is the front of the files.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from explore.bench import Claim, postgres
from explore.bench.rehearsal import Fault, Plan, write_plan, write_space
from explore.config import SearchConfig
from explore.search.front import ranks
from explore.search.storage import open_storage, storage_url

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 8
LEASE = 3.0  # seconds
AWAY = 4.0  # seconds that a database which was killed is gone
MINUTE = 60.0  # seconds that a storage cannot be reached
LIMIT = 180.0  # seconds that a run may take
CONFIG = {"trials": TRIALS, "lease": LEASE, "away": AWAY, "minute": MINUTE, "workers": 2}
# A wall clock that goes by the seconds in a file; the monotonic clock stays as it is, as with a real one.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <sys/time.h>
static long offset(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK_OFFSET"), "r");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += offset();
    return failed;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec; now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *out) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (out) *out = exact.tv_sec;
    return exact.tv_sec;
}
"""


class Unavailable(Exception):
    """This machine lacks what the fault needs, with the reason."""


@dataclass
class Outcome:
    """One row of the table."""

    fault: str
    storage: str
    ended: bool = False  # every run came to an end by itself
    finished: int = 0
    asked: int = TRIALS
    running: int = 0  # trials left in that state
    twice: int = 0  # networks counted twice
    again: int = 0  # stages done again that were done before
    taken_up: int = 0  # trials that another worker went on with
    front_equal: bool = False
    leaked: list[str] = field(default_factory=list)  # files of the study in which the storage's password stands
    failed: dict[str, str] = field(default_factory=dict)  # trial: the reason told
    told: str = ""  # what the run said of it
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        whole = self.ended and self.finished == self.asked and not (self.running or self.twice or self.again)
        return whole and self.front_equal and not self.leaked and all(self.failed.values())


class Stage:
    """A folder with a study in it, to be led, joined and broken."""

    def __init__(self, folder: Path, plan: Plan, storage: str = "", trials: int = TRIALS) -> None:
        self.folder = folder
        self.config = SearchConfig(
            study="s",
            results=str(folder),
            space=str(write_space(folder)),
            trials=trials,
            finalists=2,
            workers=2,
            lease=LEASE,
            sampler="random",
            runtimes=("litert",),
            max_cost=2,
            storage=storage,
        )
        self._processes: list[subprocess.Popen[str]] = []
        write_plan(self.config, plan)

    def start(
        self, role: str = "lead", environment: dict[str, str] | None = None, **changes: Any
    ) -> subprocess.Popen[str]:
        config = self.config.model_copy(update=changes)
        path = self.folder / f"{role}-{len(self._processes)}.json"
        path.write_text(config.model_dump_json())
        process = subprocess.Popen(
            [sys.executable, "-m", "explore.bench.rehearsal", role, str(path)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb"} | (environment or {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def notes(self) -> list[str]:
        path = self.folder / "s" / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def until(self, count: int, stage: str = "result") -> None:
        """Wait until that many networks have gone through a stage."""
        deadline = time.monotonic() + LIMIT
        while sum(note.startswith(stage) for note in self.notes()) < count:
            if time.monotonic() > deadline or all(p.poll() is not None for p in self._processes):
                raise RuntimeError(f"{stage} was not reached {count} times: {self.said()}")
            time.sleep(0.02)

    def said(self) -> str:
        return " | ".join(str(p.stderr.read())[-500:] for p in self._processes if p.poll() is not None and p.stderr)

    def end(self) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def workers(self) -> list[int]:
        """Processes that hold a lease now."""
        study = optuna.load_study(study_name="s", storage=open_storage(storage_url(self.config)))
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [t.user_attrs["lease"]["process"]["pid"] for t in running if t.user_attrs.get("lease")]


def waited(process: subprocess.Popen[str]) -> tuple[bool, int, str]:
    """Whether it ended by itself in time, its exit status and the last line it printed."""
    try:
        _, text = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return False, -1, "did not end"
    return True, process.returncode, (text.strip().splitlines() or [""])[-1]


def judged(stage: Stage, outcome: Outcome) -> Outcome:
    """Fill in what is left in the storage and on disk."""
    study = optuna.load_study(study_name="s", storage=open_storage(storage_url(stage.config)))
    trials = study.get_trials(deepcopy=False)
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    outcome.finished = len(done)
    outcome.asked = stage.config.trials
    outcome.running = sum(t.state == TrialState.RUNNING for t in trials)
    outcome.twice = len(done) - len({t.user_attrs["arch"] for t in done})
    outcome.again = sum(count - 1 for count in Counter(stage.notes()).values())
    outcome.failed = {str(t.number): t.user_attrs.get("reason", "") for t in trials if t.state == TrialState.FAIL}
    outcome.taken_up = sum(bool((t.user_attrs.get("lease") or {"died": {"times": 0}})["died"]["times"]) for t in trials)
    secret = postgres.PASSWORD.encode()
    files = [path for path in (stage.folder / "s").rglob("*") if path.is_file()]
    outcome.leaked = [str(path) for path in files if secret in path.read_bytes()]
    outcome.front_equal = _front_of_files(stage, len(done)) == _front([(t.user_attrs["arch"], t.values) for t in done])
    return outcome


def _front_of_files(stage: Stage, count: int) -> set[str]:
    results = [json.loads(path.read_text()) for path in (stage.folder / "s" / "candidates").glob("*/result.json")]
    if len(results) != count:
        return set()
    return _front([(r["arch_id"], [r["mpjpe_mm"], r["latency_ms"]]) for r in results])


def _front(points: list[tuple[str, list[float]]]) -> set[str]:
    if not points:
        return set()
    rank = ranks(np.array([values for _, values in points]))
    return {name for (name, _), level in zip(points, rank, strict=True) if level == 0}


def led(stage: Stage, outcome: Outcome, process: subprocess.Popen[str], status: int = 0) -> None:
    """Wait for a run that should end with `status`."""
    ended, got, outcome.told = waited(process)
    outcome.ended = ended and got == status


# The faults. Each starts a study, breaks something, and says how the runs ended.


def worker_killed(stage: Stage, outcome: Outcome) -> None:
    led(stage, outcome, stage.start())


def parent_killed(stage: Stage, outcome: Outcome) -> None:
    process = stage.start()
    stage.until(2)
    process.kill()  # its workers follow by themselves
    process.wait()
    time.sleep(0.5)
    led(stage, outcome, stage.start())


def machine_lost(stage: Stage, outcome: Outcome) -> None:
    """All processes at once, several times."""
    for count in (1, 3, 5):
        process = stage.start()
        stage.until(count)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pid in stage.workers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    led(stage, outcome, stage.start())


def worker_frozen(stage: Stage, outcome: Outcome) -> None:
    """A worker that stands still for longer than a lease, is taken for dead, and then goes on."""
    process = stage.start()
    stage.until(1)
    pid = stage.workers()[0]
    os.kill(pid, signal.SIGSTOP)
    stage.until(TRIALS)
    os.kill(pid, signal.SIGCONT)
    led(stage, outcome, process)


def joined_worker_killed(stage: Stage, outcome: Outcome) -> None:
    process = stage.start(workers=1)
    stage.until(1)
    helper = stage.start("join", workers=1)
    stage.until(4)
    os.killpg(helper.pid, signal.SIGKILL)
    led(stage, outcome, process)


def two_parents(stage: Stage, outcome: Outcome) -> None:
    first = stage.start()
    stage.until(1)
    ended, status, line = waited(stage.start())
    led(stage, outcome, first)
    outcome.ended = outcome.ended and ended and status == 2
    outcome.told = line


def two_parents_of_two_folders(stage: Stage, outcome: Outcome) -> None:
    first = stage.start()
    stage.until(1)
    elsewhere = stage.folder / "elsewhere"
    elsewhere.mkdir()
    ended, status, line = waited(stage.start(results=str(elsewhere)))
    led(stage, outcome, first)
    outcome.ended = outcome.ended and ended and status == 2
    outcome.told = line


def disk_full(stage: Stage, outcome: Outcome) -> None:
    """Files may not grow beyond what some weights need; then there is room again and the same command goes on."""
    plan = Plan.model_validate_json((stage.folder / "s" / "plan.json").read_text())
    ended, status, line = waited(stage.start())
    outcome.told = line
    write_plan(stage.config, plan.model_copy(update={"most_bytes": 0}))
    process = stage.start()
    again, last, _ = waited(process)
    outcome.ended = ended and status == 1 and again and last == 0


def file_system_full(stage: Stage, outcome: Outcome) -> None:
    """A small file system of the study's own, with the storage on it, filled to the brim and freed again."""
    place = stage.folder / "s"
    plan = (place / "plan.json").read_text()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        raise Unavailable("no file system of its own can be mounted here")
    try:
        (place / "plan.json").write_text(plan)
        process = stage.start()
        stage.until(2)
        ballast = place / "ballast"
        with suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(b"0" * 4096)
        time.sleep(AWAY)
        ballast.unlink()
        ended, status, outcome.told = waited(process)
        again, last, _ = waited(stage.start())
        outcome.ended = ended and status in (0, 1) and again and last == 0
        judged(stage, outcome)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def clock_set_back(stage: Stage, outcome: Outcome) -> None:
    """An hour back while trials run, and a worker killed after it."""
    library = stage.folder / "clock.so"
    source = stage.folder / "clock.c"
    source.write_text(CLOCK)
    if shutil.which("cc") is None:
        raise Unavailable("there is no C compiler for a clock that can be set")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    offset = stage.folder / "offset"
    offset.write_text("0")
    process = stage.start(environment={"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)})
    stage.until(2)
    offset.write_text("-3600")
    stage.until(4)
    os.kill(stage.workers()[0], signal.SIGKILL)
    led(stage, outcome, process)
    study = optuna.load_study(study_name="s", storage=open_storage(storage_url(stage.config)))
    spans = [
        t.datetime_complete - t.datetime_start for t in study.get_trials() if t.datetime_complete and t.datetime_start
    ]
    if not any(span.total_seconds() < 0 for span in spans):
        raise RuntimeError("no trial saw the clock go back")


@dataclass
class Server:
    """The PostgreSQL of a fault, and what stands between it and the study."""

    cluster: postgres.Cluster
    wire: Wire


def database_killed(stage: Stage, outcome: Outcome, server: Server) -> None:
    process = stage.start()
    stage.until(2)
    server.cluster.kill()
    time.sleep(AWAY)
    server.cluster.start()
    led(stage, outcome, process)


def storage_unreachable(stage: Stage, outcome: Outcome, server: Server) -> None:
    """The wire is cut for a minute, many leases."""
    process = stage.start()
    stage.until(2)
    server.wire.cut()
    time.sleep(MINUTE)
    server.wire.mend()
    led(stage, outcome, process)


def ray_node_killed(stage: Stage, outcome: Outcome) -> None:
    """A real cluster of two nodes beside an empty head; one is killed while trials run on both."""
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        raise Unavailable("Ray is not installed") from None
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        process = stage.start(ray=cluster.address)
        stage.until(2)
        cluster.remove_node(nodes[0], allow_graceful=False)
        led(stage, outcome, process)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


class Wire:
    """A TCP connection through this process, which can be cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: list[socket.socket] = []
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])

    def cut(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def mend(self) -> None:
        self._listener = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return  # cut
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65_536):
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


SLOW = {"train": 0.3, "export": 0.1, "judge": 0.05, "latency": 0.05}
EVERY_STAGE = [
    Fault(kind="kill", stage=s) for s in ("claim", "train", "export", "judge", "latency", "tell", "finalist")
]


@dataclass(frozen=True)
class Case:
    """A fault and the study it is done to."""

    text: str
    run: Callable[..., None]
    plan: Plan
    storage: str = "sqlite"  # sqlite, journal, postgresql, grpc


CASES: dict[str, Case] = {
    "worker-killed": Case("SIGKILL of a worker at each stage, once each", worker_killed, Plan(faults=EVERY_STAGE)),
    "worker-killed-journal": Case(
        "SIGKILL of a worker at each stage, once each", worker_killed, Plan(faults=EVERY_STAGE), "journal"
    ),
    "worker-killed-grpc": Case(
        "SIGKILL of a worker at each stage, once each", worker_killed, Plan(faults=EVERY_STAGE), "grpc"
    ),
    "worker-killed-postgresql": Case(
        "SIGKILL of a worker at each stage, once each", worker_killed, Plan(faults=EVERY_STAGE), "postgresql"
    ),
    "parent-killed": Case("SIGKILL of the parent, then the same command", parent_killed, Plan(seconds=SLOW)),
    "machine-lost": Case("SIGKILL of everything, three times", machine_lost, Plan(seconds=SLOW)),
    "worker-frozen": Case("a worker stands still beyond its lease, then goes on", worker_frozen, Plan(seconds=SLOW)),
    "joined-worker-killed": Case("SIGKILL of a worker that had joined", joined_worker_killed, Plan(seconds=SLOW)),
    "two-parents": Case("two parents on one study", two_parents, Plan(seconds=SLOW)),
    "two-parents-postgresql": Case(
        "two parents on one study, from two folders", two_parents_of_two_folders, Plan(seconds=SLOW), "postgresql"
    ),
    "database-killed": Case("SIGKILL of PostgreSQL, and its return", database_killed, Plan(seconds=SLOW), "postgresql"),
    "storage-unreachable": Case(
        "the storage cannot be reached for a minute", storage_unreachable, Plan(seconds=SLOW), "postgresql"
    ),
    "disk-full": Case("the disk is full, then has room again", disk_full, Plan(weights=300_000, most_bytes=250_000)),
    "file-system-full": Case(
        "the file system of study and storage is full, then has room again",
        file_system_full,
        Plan(seconds=SLOW, weights=100_000),
    ),
    "ray-node-killed": Case(
        "a Ray node of two is killed", ray_node_killed, Plan(seconds=SLOW | {"train": 1.0}), "postgresql"
    ),
    "clock-set-back": Case("the clock is set back by an hour", clock_set_back, Plan(seconds=SLOW)),
    "converter-hangs": Case(
        "a converter that hangs, once", worker_killed, Plan(faults=[Fault(kind="hang", stage="export")])
    ),
    "memory": Case(
        "a trial asks for more memory than there is", worker_killed, Plan(faults=[Fault(kind="memory", stage="train")])
    ),
    "memory-killer": Case(
        "a trial whose worker is killed whenever it trains",
        worker_killed,
        Plan(faults=[Fault(kind="kill", stage="train", times=99, arch="first")]),
    ),
}


def run_case(name: str) -> Outcome:
    """Do one fault to a study in a folder of its own.

    Raises:
        Unavailable: this machine lacks what the fault needs.
    """
    case = CASES[name]
    outcome = Outcome(case.text, case.storage)
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(_server()) if case.storage == "postgresql" else None
        url = {
            "sqlite": "",
            "grpc": stack.enter_context(_proxy(folder)) if case.storage == "grpc" else "",
            "journal": f"journal://{folder}/journal",
            "postgresql": server.cluster.url_at(server.wire.port) if server else "",
        }[case.storage]
        stage = Stage(folder, case.plan, url)
        stack.callback(stage.end)
        if case.run in (database_killed, storage_unreachable):
            case.run(stage, outcome, server)
        else:
            case.run(stage, outcome)
        if not outcome.finished:
            judged(stage, outcome)
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


@contextmanager
def _server() -> Iterator[Server]:
    if postgres.binaries() is None:
        raise Unavailable("PostgreSQL is not installed")
    cluster = postgres.Cluster()
    try:
        yield Server(cluster, Wire(cluster.port))
    finally:
        cluster.close()


@contextmanager
def _proxy(folder: Path) -> Iterator[str]:
    """The `proxy` command in front of an SQLite file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    process = subprocess.Popen(
        [sys.executable, "explore.py", "proxy", f"--storage=sqlite:///{folder}/proxied.db", f"--listen={address}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if not (process.stdout and process.stdout.readline()):
            raise Unavailable("grpcio is not installed")
        yield f"grpc://{address}"
    finally:
        process.kill()
        process.wait()


def run(progress: Callable[[float, str], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """A row and a claim a fault; one that this machine cannot do is a row that says why."""
    rows: list[dict[str, Any]] = []
    claims: list[Claim] = []
    for index, name in enumerate(CASES):
        progress(index / len(CASES), name)
        row, held = told(name)
        rows.append(row)
        claims += held
    return rows, claims


def told(name: str) -> tuple[dict[str, Any], list[Claim]]:
    """The row of one fault, and its claim where the fault could be done."""
    case = CASES[name]
    try:
        outcome = run_case(name)
    except Unavailable as error:
        return {"fault": case.text, "storage": case.storage, "skipped": str(error)}, []
    claim = Claim(
        name=f"{outcome.fault} ({outcome.storage})",
        asked="nothing lost",
        measured=f"{outcome.finished}/{outcome.asked} finished",
        holds=outcome.holds,
    )
    return asdict(outcome), [claim]
