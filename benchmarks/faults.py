"""Fault injection: processes, disks, databases and clocks fail during a search, and its final state is checked.

Processes, leases, storage and files are real; the stages of a candidate are simulated (`benchmarks.simulated_search`).
Each row reports how the run ended, the number of finished trials, trials left running or counted twice, repeated
stages, and whether the front in the storage equals the front of the result files.
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

from benchmarks import Claim, postgres
from benchmarks.simulated_search import Fault, Plan, write_plan, write_space
from explore.pareto import non_dominated_rank
from explore.search.config import SearchConfig
from explore.search.storage.backends import open_storage, storage_url

ROOT = Path(__file__).resolve().parents[1]
TRIALS = 8
LEASE = 3.0  # seconds
AWAY = 4.0  # seconds before a killed database is restarted
MINUTE = 60.0  # seconds of an interrupted connection
LIMIT = 600.0  # time limit of a run, in seconds
CONFIG = {"trials": TRIALS, "lease": LEASE, "away": AWAY, "minute": MINUTE, "workers": 2}
# Shifts the wall clock by the seconds in a file; the monotonic clock is unchanged, as on a real machine.
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
    """This machine lacks a requirement of the fault; the message names it."""


@dataclass
class Outcome:
    """Final state of a search after a fault."""

    fault: str
    storage: str
    ended: bool = False  # whether every run ended by itself, with the expected status
    finished: int = 0
    expected: int = TRIALS
    running: int = 0  # trials left in the state RUNNING
    duplicates: int = 0  # networks with two finished trials
    repeated: int = 0  # repetitions of finished stages
    continued: int = 0  # trials continued by another worker
    front_equal: bool = False
    leaked: list[str] = field(default_factory=list)  # files of the study that contain the storage's password
    failed: dict[str, str] = field(default_factory=dict)  # trial number: reason
    message: str = ""  # last line printed by the run
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        whole = self.ended and self.finished == self.expected and not (self.running or self.duplicates or self.repeated)
        return whole and self.front_equal and not self.leaked and all(self.failed.values())


class SearchFixture:
    """A study in a temporary folder, with methods to start its processes and to wait for its progress."""

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
            limits=("macs=2L",),
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
            [sys.executable, "-m", "benchmarks.simulated_search", role, str(path)],
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

    def until(self, count: int) -> None:
        """Wait until `count` networks have a result."""
        deadline = time.monotonic() + LIMIT
        while sum(note.startswith("result") for note in self.notes()) < count:
            if time.monotonic() > deadline or all(p.poll() is not None for p in self._processes):
                raise RuntimeError(f"not {count} networks have a result: {self.errors()}")
            time.sleep(0.02)

    def errors(self) -> str:
        return " | ".join(str(p.stderr.read())[-500:] for p in self._processes if p.poll() is not None and p.stderr)

    def end(self) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def workers(self) -> list[int]:
        """Return the ids of the processes that hold a lease."""
        study = optuna.load_study(study_name="s", storage=open_storage(storage_url(self.config)))
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [t.user_attrs["lease"]["process"]["pid"] for t in running if t.user_attrs.get("lease")]


def wait(process: subprocess.Popen[str]) -> tuple[bool, int, str]:
    """Return whether the process ended within LIMIT, its exit status and its last line on standard error."""
    try:
        _, text = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return False, -1, f"did not end within {LIMIT:.0f} s"
    return True, process.returncode, (text.strip().splitlines() or [""])[-1]


def inspect(fixture: SearchFixture, outcome: Outcome) -> Outcome:
    """Fill in the outcome from the storage and the files of the study."""
    study = optuna.load_study(study_name="s", storage=open_storage(storage_url(fixture.config)))
    trials = study.get_trials(deepcopy=False)
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    outcome.finished = len(done)
    outcome.expected = fixture.config.trials
    outcome.running = sum(t.state == TrialState.RUNNING for t in trials)
    outcome.duplicates = len(done) - len({t.user_attrs["arch"] for t in done})
    outcome.repeated = sum(count - 1 for count in Counter(fixture.notes()).values())
    outcome.failed = {str(t.number): t.user_attrs.get("reason", "") for t in trials if t.state == TrialState.FAIL}
    outcome.continued = sum(
        bool((t.user_attrs.get("lease") or {"died": {"times": 0}})["died"]["times"]) for t in trials
    )
    secret = postgres.PASSWORD.encode()
    files = [path for path in (fixture.folder / "s").rglob("*") if path.is_file()]
    outcome.leaked = [str(path) for path in files if secret in path.read_bytes()]
    outcome.front_equal = _front_of_files(fixture, len(done)) == _front(
        [(t.user_attrs["arch"], t.values) for t in done]
    )
    return outcome


def _front_of_files(fixture: SearchFixture, count: int) -> set[str]:
    results = [json.loads(path.read_text()) for path in (fixture.folder / "s" / "candidates").glob("*/result.json")]
    if len(results) != count:
        return set()
    return _front([(r["arch_id"], [r["mpjpe_mm"], r["latency_ms"]]) for r in results])


def _front(points: list[tuple[str, list[float]]]) -> set[str]:
    if not points:
        return set()
    rank = non_dominated_rank(np.array([values for _, values in points]))
    return {name for (name, _), level in zip(points, rank, strict=True) if level == 0}


def finish(outcome: Outcome, process: subprocess.Popen[str]) -> None:
    """Wait for a run that should end with status 0."""
    ended, status, outcome.message = wait(process)
    outcome.ended = ended and status == 0


# Each fault starts a study, injects the fault, and sets `outcome.ended`.


def worker_killed(fixture: SearchFixture, outcome: Outcome) -> None:
    finish(outcome, fixture.start())


def parent_killed(fixture: SearchFixture, outcome: Outcome) -> None:
    process = fixture.start()
    fixture.until(2)
    process.kill()  # its workers exit by themselves
    process.wait()
    time.sleep(0.5)
    finish(outcome, fixture.start())


def machine_lost(fixture: SearchFixture, outcome: Outcome) -> None:
    """Kill all processes at once, three times."""
    for count in (1, 3, 5):
        process = fixture.start()
        fixture.until(count)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pid in fixture.workers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    finish(outcome, fixture.start())


def worker_frozen(fixture: SearchFixture, outcome: Outcome) -> None:
    """Stop a worker until its lease has expired and another worker has continued its trial, then resume it."""
    process = fixture.start()
    fixture.until(1)
    pid = fixture.workers()[0]
    os.kill(pid, signal.SIGSTOP)
    fixture.until(TRIALS)
    os.kill(pid, signal.SIGCONT)
    finish(outcome, process)


def joined_worker_killed(fixture: SearchFixture, outcome: Outcome) -> None:
    process = fixture.start(workers=1)
    fixture.until(1)
    helper = fixture.start("join", workers=1)
    fixture.until(4)
    os.killpg(helper.pid, signal.SIGKILL)
    finish(outcome, process)


def two_leaders(fixture: SearchFixture, outcome: Outcome, **changes: Any) -> None:
    """Start a second leader while the first one runs; it must be rejected."""
    first = fixture.start()
    fixture.until(1)
    ended, status, line = wait(fixture.start(**changes))
    finish(outcome, first)
    outcome.ended = outcome.ended and ended and status == 2
    outcome.message = line


def two_leaders_of_two_folders(fixture: SearchFixture, outcome: Outcome) -> None:
    other = fixture.folder / "other"
    other.mkdir()
    two_leaders(fixture, outcome, results=str(other))


def disk_full(fixture: SearchFixture, outcome: Outcome) -> None:
    """Limit the file size so that writing weights fails; then remove the limit and run the same command again."""
    plan = Plan.model_validate_json((fixture.folder / "s" / "plan.json").read_text())
    ended, status, line = wait(fixture.start())
    outcome.message = line
    write_plan(fixture.config, plan.model_copy(update={"most_bytes": 0}))
    process = fixture.start()
    again, last, _ = wait(process)
    outcome.ended = ended and status == 1 and again and last == 0


def file_system_full(fixture: SearchFixture, outcome: Outcome) -> None:
    """Fill the small file system that holds the study and its storage, then free it."""
    place = fixture.folder / "s"
    plan = (place / "plan.json").read_text()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        raise Unavailable("this process may not mount a file system")
    try:
        (place / "plan.json").write_text(plan)
        process = fixture.start()
        fixture.until(2)
        ballast = place / "ballast"
        with suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(b"0" * 4096)
        time.sleep(AWAY)
        ballast.unlink()
        ended, status, outcome.message = wait(process)
        again, last, _ = wait(fixture.start())
        outcome.ended = ended and status in (0, 1) and again and last == 0
        inspect(fixture, outcome)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def clock_set_back(fixture: SearchFixture, outcome: Outcome) -> None:
    """Set the clock back by an hour while trials run, then kill a worker."""
    library = fixture.folder / "clock.so"
    source = fixture.folder / "clock.c"
    source.write_text(CLOCK)
    if shutil.which("cc") is None:
        raise Unavailable("no C compiler is installed")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    offset = fixture.folder / "offset"
    offset.write_text("0")
    process = fixture.start(environment={"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)})
    fixture.until(2)
    offset.write_text("-3600")
    fixture.until(4)
    os.kill(fixture.workers()[0], signal.SIGKILL)
    finish(outcome, process)
    study = optuna.load_study(study_name="s", storage=open_storage(storage_url(fixture.config)))
    spans = [
        t.datetime_complete - t.datetime_start for t in study.get_trials() if t.datetime_complete and t.datetime_start
    ]
    if not any(span.total_seconds() < 0 for span in spans):
        raise RuntimeError("no trial was running when the clock was set back")


@dataclass
class Server:
    """A PostgreSQL server behind a TCP proxy."""

    cluster: postgres.Cluster
    proxy: Proxy


def database_killed(fixture: SearchFixture, outcome: Outcome, server: Server) -> None:
    process = fixture.start()
    fixture.until(2)
    server.cluster.kill()
    time.sleep(AWAY)
    server.cluster.start()
    finish(outcome, process)


def storage_unreachable(fixture: SearchFixture, outcome: Outcome, server: Server) -> None:
    """Cut the connection to the storage for a minute, many times longer than a lease."""
    process = fixture.start()
    fixture.until(2)
    server.proxy.cut()
    time.sleep(MINUTE)
    server.proxy.restore()
    finish(outcome, process)


def ray_node_killed(fixture: SearchFixture, outcome: Outcome) -> None:
    """Kill one of two nodes of a Ray cluster while trials run on both."""
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        raise Unavailable("Ray is not installed") from None
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        process = fixture.start(ray=cluster.address)
        fixture.until(2)
        cluster.remove_node(nodes[0], allow_graceful=False)
        finish(outcome, process)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


class Proxy:
    """A TCP proxy in this process whose connections can be cut."""

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

    def restore(self) -> None:
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


SLOW = {"train": 0.3, "export": 0.1, "evaluate": 0.05, "latency": 0.05}
EVERY_STAGE = [
    Fault(kind="kill", stage=s) for s in ("lease", "train", "export", "evaluate", "latency", "tell", "finalist")
]


@dataclass(frozen=True)
class Case:
    """A fault and the study that it is injected into."""

    text: str
    run: Callable[..., None]
    plan: Plan
    storage: str = "sqlite"  # sqlite, journal, postgresql, grpc


CASES: dict[str, Case] = {
    **{
        f"worker-killed{suffix}": Case(
            "SIGKILL of a worker, once in each stage", worker_killed, Plan(faults=EVERY_STAGE), kind
        )
        for suffix, kind in (("", "sqlite"), ("-journal", "journal"), ("-grpc", "grpc"), ("-postgresql", "postgresql"))
    },
    "parent-killed": Case("SIGKILL of the leader, then the same command", parent_killed, Plan(seconds=SLOW)),
    "machine-lost": Case("SIGKILL of all processes, three times", machine_lost, Plan(seconds=SLOW)),
    "worker-frozen": Case("a worker is stopped beyond its lease, then resumed", worker_frozen, Plan(seconds=SLOW)),
    "joined-worker-killed": Case("SIGKILL of a worker that had joined", joined_worker_killed, Plan(seconds=SLOW)),
    "two-parents": Case("two leaders of one study", two_leaders, Plan(seconds=SLOW)),
    "two-parents-postgresql": Case(
        "two leaders of one study, from two folders", two_leaders_of_two_folders, Plan(seconds=SLOW), "postgresql"
    ),
    "database-killed": Case("SIGKILL of PostgreSQL, then a restart", database_killed, Plan(seconds=SLOW), "postgresql"),
    "storage-unreachable": Case(
        "the storage is unreachable for a minute", storage_unreachable, Plan(seconds=SLOW), "postgresql"
    ),
    "disk-full": Case("the disk is full, then freed", disk_full, Plan(weights=300_000, most_bytes=250_000)),
    "file-system-full": Case(
        "the file system of study and storage is full, then freed",
        file_system_full,
        Plan(seconds=SLOW, weights=100_000),
    ),
    "ray-node-killed": Case(
        "one of two Ray nodes is killed", ray_node_killed, Plan(seconds=SLOW | {"train": 1.0}), "postgresql"
    ),
    "clock-set-back": Case("the clock is set back by an hour", clock_set_back, Plan(seconds=SLOW)),
    "converter-hangs": Case(
        "a converter that hangs, once", worker_killed, Plan(faults=[Fault(kind="hang", stage="export")])
    ),
    "memory": Case("a trial runs out of memory", worker_killed, Plan(faults=[Fault(kind="memory", stage="train")])),
    "memory-killer": Case(
        "every worker that trains a certain network is killed",
        worker_killed,
        Plan(faults=[Fault(kind="kill", stage="train", times=99, arch="first")]),
    ),
}


def run_case(name: str) -> Outcome:
    """Inject one fault into a new study and return its final state.

    Raises:
        Unavailable: this machine lacks a requirement of the fault.
    """
    case = CASES[name]
    outcome = Outcome(case.text, case.storage)
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(_server()) if case.storage == "postgresql" else None
        url = {
            "sqlite": "",
            "grpc": stack.enter_context(_grpc_proxy(folder)) if case.storage == "grpc" else "",
            "journal": f"journal://{folder}/journal",
            "postgresql": server.cluster.url_at(server.proxy.port) if server else "",
        }[case.storage]
        fixture = SearchFixture(folder, case.plan, url)
        stack.callback(fixture.end)
        if case.run in (database_killed, storage_unreachable):
            case.run(fixture, outcome, server)
        else:
            case.run(fixture, outcome)
        if not outcome.finished:
            inspect(fixture, outcome)
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


@contextmanager
def _server() -> Iterator[Server]:
    if postgres.binaries() is None:
        raise Unavailable("PostgreSQL is not installed")
    cluster = postgres.Cluster()
    try:
        yield Server(cluster, Proxy(cluster.port))
    finally:
        cluster.close()


@contextmanager
def _grpc_proxy(folder: Path) -> Iterator[str]:
    """Serve an SQLite file with the command `proxy`."""
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
    """Return a row and a claim for each fault; the row of an unavailable fault gives the reason."""
    rows: list[dict[str, Any]] = []
    claims: list[Claim] = []
    for index, name in enumerate(CASES):
        progress(index / len(CASES), name)
        row, found = measure(name)
        rows.append(row)
        claims += found
    return rows, claims


def measure(name: str) -> tuple[dict[str, Any], list[Claim]]:
    """Return the row of one fault, and its claim unless the fault is unavailable here."""
    case = CASES[name]
    try:
        outcome = run_case(name)
    except Unavailable as error:
        return {"fault": case.text, "storage": case.storage, "skipped": str(error)}, []
    claim = Claim(
        name=f"{outcome.fault} ({outcome.storage})",
        target="nothing lost",
        measured=f"{outcome.finished}/{outcome.expected} finished",
        passed=outcome.passed,
    )
    return asdict(outcome), [claim]
