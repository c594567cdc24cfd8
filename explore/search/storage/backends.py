"""Storages of studies: SQLite, a journal file, PostgreSQL, or Optuna's gRPC proxy in front of one of them.

All of them hold JSON and numbers, never a pickle. `check_storage` rejects a storage that cannot work before a study
exists. An opened storage repeats every call while it gets no answer: a restarted database, a full disk or a lost
network delays a search and does not end it.
"""

from __future__ import annotations

import abc
import errno
import fcntl
import functools
import json
import os
import re
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import optuna
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage

from arch.errors import InputError, WorkError, shortened
from arch.files import DISK_FULL, check_output
from explore.redact import redacted
from explore.search.config import SearchConfig
from explore.search.storage.optuna_private import BaseJournalFileLock, database_of, grpc_server

PATIENCE = 600.0  # seconds without an answer after which the search gives up
NOTICE_AFTER_S = 5.0  # seconds without an answer after which the user is told
PAUSE = 0.2, 5.0  # seconds between two attempts: the first and the longest
KINDS = "sqlite:///FILE, journal:///FILE, postgresql://USER@HOST/DATABASE or grpc://HOST:PORT"
PERMANENT_ANSWER = re.compile(  # answers that do not change while the search waits
    'password authentication failed|no password supplied|no pg_hba.conf entry|(database|role) "[^"]*" does not exist'
    "|permission denied|read-?only (database|transaction)|file is not a database|database disk image is malformed"
)
TEMPORARY_ANSWER = re.compile(  # answers of a storage that is about to work, for which a new search waits
    "starting up|shutting down|in recovery mode|too many (clients|connections)|remaining connection slots|locked"
)
MAX_LINE = 1_000_000  # bytes of a journal's first record, which creates a study
DEVICES = "edgepose/devices"  # study without trials whose attributes hold the leases of remote devices
FINALISTS = "/finalists"  # suffix of the second study that version 0.1 made
# Two processes may create the tables of one database at the same time; the second one then finds them there.
CREATED_MEANWHILE = frozenset({"IntegrityError", "DuplicateTable"})
GRPC_AWAY = ("UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL")
Answer = TypeVar("Answer")

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class StorageLost(WorkError):
    """The storage did not answer for too long."""


def open_storage(url: str) -> BaseStorage:
    """Open the storage at `url`, or create it.

    Raises:
        InputError: an unknown kind of URL, a missing driver or folder, or a refusal (wrong password, no such database).
        StorageLost: no answer for PATIENCE seconds.
    """
    kind, shown = check_url(url), redacted(url)
    storage = retry_until_answer(lambda: OPENERS[kind](url), shown, PATIENCE, CREATED_MEANWHILE)
    return PatientStorage(storage, shown, PATIENCE)  # type: ignore[abstract]


def check_url(url: str) -> str:
    """Return the kind of storage that `url` names, a key of OPENERS.

    Raises:
        InputError: an unknown kind, a file in a folder that does not exist, or no host and port.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"storage: '{redacted(url)}': {error}; give {KINDS}") from None
    kind = parts.scheme.partition("+")[0]
    if kind not in OPENERS:
        raise InputError(f"storage: '{redacted(url)}' is of no known kind; give {KINDS}")
    path = file_of(url)
    if path is not None:
        if parts.netloc or not path.name or path.name == ":memory:":
            raise InputError(f"storage: '{redacted(url)}' names no file; give {kind}:///FILE")
        if parts.query or parts.fragment or "%" in parts.path:
            raise InputError(f"storage: '{redacted(url)}': '?', '#' and '%' are not possible in the path of a file")
        if not path.parent.is_dir():
            raise InputError(f"storage: {path}: no such folder; create it, or give another path")
    if kind == "grpc" and not (parts.hostname and port):
        raise InputError(f"storage: '{redacted(url)}' names no host and port; give grpc://HOST:PORT")
    return kind


def check_storage(url: str) -> None:
    """Check that a storage can be read and written; create nothing. Wait only for one that is starting or busy.

    Raises:
        InputError: it cannot: no answer, read-only, damaged, of another program or of another version of Optuna.
    """
    kind, shown, path = check_url(url), redacted(url), file_of(url)
    if path is not None:
        check_output(path, "storage:")
        if not path.exists():
            return

    def probe() -> None:
        if kind == "journal" and path is not None:
            _check_first_line(path)
        storage = OPENERS[kind](url)
        storage.get_all_studies()
        _check_tables(storage)

    try:
        retry_until_answer(probe, shown, PATIENCE, CREATED_MEANWHILE, TEMPORARY_ANSWER)
    except (InputError, StorageLost):
        raise
    except Exception as error:  # errors of SQLAlchemy, Optuna, sqlite3, psycopg and grpc have no common base class
        raise _unusable(shown, error) from None


def _check_first_line(path: Path) -> None:
    """Check that a file with content is a journal. To Optuna, a last line without its end is a record being written."""
    with path.open("rb") as file:
        first = file.readline(MAX_LINE)
    if first and not isinstance(json.loads(first), dict):
        raise KeyError("its first line is no record")


def _check_tables(storage: BaseStorage) -> None:
    """Execute a statement that changes nothing, but needs the permission to write; read the whole file of SQLite."""
    if (backend := database_of(storage)) is not None:
        with backend.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE studies SET study_name = study_name WHERE 1 = 0")
            if backend.engine.dialect.name == "sqlite":
                (found,) = connection.exec_driver_sql("PRAGMA quick_check(1)").one()
                if found != "ok":
                    raise ValueError(f"database disk image is malformed: {found}")


def _unusable(shown: str, error: Exception) -> InputError:
    """Return the error of a storage that cannot be used, with what to do."""
    reason = redacted(_reason(error))
    names = _class_names(error)
    if "no longer compatible" in reason:
        fix = (
            "upgrade it by `optuna storage upgrade --storage URL`, or give another storage"
            if "storage upgrade" in reason
            else "a later version of Optuna made it; update optuna, or give another storage"
        )
        return InputError(f"storage: {shown}: tables of another version of Optuna; {fix}")
    if names & {"JSONDecodeError", "UnicodeDecodeError", "KeyError", "AssertionError"}:
        return InputError(
            f"storage: {shown}: not a journal of Optuna, or damaged ({reason}); move it away or restore it"
        )
    if re.search("malformed|not a database", reason):
        return InputError(f"storage: {shown}: damaged, or no database ({reason}); restore a copy, or move it away")
    if PERMANENT_ANSWER.search(reason):
        return InputError(f"storage: {shown} refuses: {reason}; check the URL, the file and its permissions")
    return InputError(f"storage: {shown}: cannot be used ({reason}); start it, or give another storage")


def file_of(url: str) -> Path | None:
    """Return the file of a storage that is a file."""
    parts = urlsplit(url)
    kind = parts.scheme.partition("+")[0]
    if kind == "sqlite":
        return Path(parts.path[1:])
    return Path(parts.path) if kind == "journal" else None


def storage_url(config: SearchConfig) -> str:
    """Return the URL of a study's storage, passwords included.

    Raises:
        InputError: the study's folder cannot be part of a URL.
    """
    if config.storage:
        return config.storage
    path = (config.folder / "study.db").resolve()
    if wrong := [character for character in "?#%" if character in str(path)]:
        raise InputError(
            f"--results {path.parent}: contains '{wrong[0]}', which has a meaning in the storage's URL; choose "
            "another folder or study name"
        )
    return f"sqlite:///{path}"


def is_search(name: str) -> bool:
    """Return whether a study holds the candidates of a search."""
    return name != DEVICES and not name.endswith(FINALISTS)


def reachable_by_others(url: str) -> bool:
    """Return whether workers on other machines can reach this storage over the network."""
    return urlsplit(url).scheme.partition("+")[0] in ("postgresql", "grpc")


def dashboard(url: str) -> str:
    """Return the command that opens this storage in optuna-dashboard, without its password."""
    kind, _, rest = url.partition("://")
    if kind == "grpc":
        return "optuna-dashboard, with the storage behind the proxy"
    names = {"journal": rest, "postgresql": f"postgresql+psycopg://{rest}"}
    return f"optuna-dashboard {shlex.quote(redacted(names.get(kind, url)))}"


def retry_until_answer(
    call: Callable[[], Answer],
    shown: str,
    patience: float,
    passing: frozenset[str] = frozenset(),
    only: re.Pattern[str] | None = None,
) -> Answer:
    """Return the result of `call`, repeated while the storage does not answer.

    shown: the storage's URL without its password, for messages
    passing: names of further exception classes after which the call is repeated
    only: repeat the call only after these errors; others of the storage are raised as they are

    Raises:
        StorageLost: no answer for `patience` seconds.
        InputError: the storage refuses, which does not change.
    """
    began, told = time.monotonic(), False
    deadline = began + patience
    pause = PAUSE[0]
    while True:
        try:
            return call()
        except Exception as error:
            reason = _reason(error)
            if isinstance(error, InputError | StorageLost):
                raise
            if PERMANENT_ANSWER.search(reason):
                raise _unusable(shown, error) from None
            if not passing & _class_names(error) and not (only.search(reason) if only else _is_temporary(error)):
                raise
            if time.monotonic() + pause > deadline:
                raise StorageLost(
                    f"the storage {shown} did not answer for {patience:.0f} s ({redacted(reason)}); "
                    "restore it and run the same command to resume"
                ) from None
            if not told and time.monotonic() - began > NOTICE_AFTER_S:
                told = True
                print(
                    f"the storage {shown} does not answer ({redacted(reason)}); waiting for up to {patience:.0f} s",
                    file=sys.stderr,
                )
        time.sleep(pause)
        pause = min(2 * pause, PAUSE[1])


def _is_temporary(error: BaseException) -> bool:
    """Return whether the same call may succeed later: the storage is away, busy or full."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "StorageInternalError" in names:  # Optuna wraps the errors of its database in this class
        names = _class_names(error)
    if "RpcError" in names:
        return getattr(error, "code")().name in GRPC_AWAY  # noqa: B009 - the base class has no code
    full = isinstance(error, OSError) and error.errno in (*DISK_FULL, errno.EIO)
    return full or bool(names & {"OperationalError", "InterfaceError", "InternalError", "TimeoutError"})


def _class_names(error: BaseException) -> set[str]:
    """Return the class names of an error and of its causes, base classes included."""
    return {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _reason(error: BaseException) -> str:
    """Return the driver's message as one line."""
    deepest = list(_causes(error))[-1]
    text = deepest.details() if hasattr(deepest, "details") else str(deepest)
    return shortened(text or type(deepest).__name__, 300)


def _forward_all(cls: Any) -> Any:
    """Give the class every public method of a storage, each as a call that is repeated until it is answered."""

    def forward(name: str) -> Callable[..., Any]:
        @functools.wraps(getattr(BaseStorage, name), updated=())  # not its mark as abstract
        def call(self: PatientStorage, *args: Any, **options: Any) -> Any:
            return retry_until_answer(lambda: getattr(self.inner, name)(*args, **options), self.shown, self.patience)

        return call

    for name, method in vars(BaseStorage).items():
        if callable(method) and not name.startswith("_"):
            setattr(cls, name, forward(name))
    return abc.update_abstractmethods(cls)


@_forward_all
class PatientStorage(BaseStorage):
    """A storage that repeats every call of another one until it is answered.

    A call whose answer was lost may be executed twice. All of Optuna's calls tolerate that: a state that is set already
    is refused, and a trial that nobody received has no lease, so that the next worker takes it.
    """

    def __init__(self, inner: BaseStorage, shown: str, patience: float) -> None:
        self.inner, self.shown, self.patience = inner, shown, patience


def _open_sqlite(url: str) -> BaseStorage:
    from sqlalchemy import event

    backend = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    backend.engine.dispose()

    # A transaction locks the database from its beginning, so that no other process writes between its read and its
    # write. Otherwise two processes may both find a trial waiting and both take it.
    @event.listens_for(backend.engine, "connect")
    def _disable_driver_transactions(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(backend.engine, "begin")
    def _begin_immediate(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return optuna.storages.get_storage(backend)


def _open_postgresql(url: str) -> BaseStorage:
    try:
        import psycopg  # noqa: F401 - imported here for a message that names the extra
    except ImportError:
        raise InputError("storage: postgresql needs psycopg; pip install 'edgepose[postgresql]'") from None
    driver = "postgresql+psycopg" + url[url.index("://") :]
    # Without keepalives, a network that drops packets holds a worker for the kernel's two hours.
    alive = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
    options = {"pool_pre_ping": True, "connect_args": alive | {"tcp_user_timeout": 30_000}}
    return optuna.storages.get_storage(optuna.storages.RDBStorage(driver, engine_kwargs=options))


def _open_journal(url: str) -> BaseStorage:
    return JournalStorage(Journal(Path(urlsplit(url).path)))


def _open_grpc(url: str) -> BaseStorage:
    parts = urlsplit(url)
    try:
        import grpc  # noqa: F401 - imported here for a message that names the extra
    except ImportError:
        raise InputError("storage: grpc needs grpcio and protobuf; pip install 'edgepose[grpc]'") from None
    assert parts.hostname and parts.port  # see check_url
    return optuna.storages.GrpcStorageProxy(host=parts.hostname, port=parts.port)


OPENERS: dict[str, Callable[[str], BaseStorage]] = {
    "sqlite": _open_sqlite,
    "journal": _open_journal,
    "postgresql": _open_postgresql,
    "grpc": _open_grpc,
}


class FileLock(BaseJournalFileLock):
    """The kernel's lock on a file beside the journal, released when its holder dies; on NFS since Linux 2.6.12."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(journal.name + ".lock")
        self._held: Any = None

    def acquire(self) -> bool:
        self._held = open(self._path, "a")  # noqa: SIM115 - open as long as the lock is held
        fcntl.flock(self._held, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        self._held.close()


class Journal(JournalFileBackend):
    """Optuna's journal file. An incomplete line, of a full disk or a killed writer, is removed before the next one."""

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, FileLock(path)
        super().__init__(str(path), self.lock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.lock.acquire()
        try:
            size = self.path.stat().st_size
            whole = _end_of_last_line(self.path, size)
            if whole < size:
                os.truncate(self.path, whole)
            text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            try:
                with open(self.path, "ab") as file:
                    file.write(text.encode())
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, whole)
                raise
        finally:
            self.lock.release()


def _end_of_last_line(path: Path, size: int) -> int:
    """Return the offset after the last complete line."""
    with open(path, "rb") as file:
        end = size
        while end > 0:
            begin = max(0, end - 65_536)
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
    return 0


def serve(storage: BaseStorage, host: str, port: int) -> Any:
    """Start a gRPC server in front of `storage` and return it.

    Raises:
        InputError: grpcio is not installed, or the address cannot be used.
    """
    try:
        server = grpc_server(storage, host, port)
    except ImportError:
        raise InputError("proxy: needs grpcio and protobuf; pip install 'edgepose[grpc]'") from None
    except RuntimeError:
        raise InputError(f"--listen {host}:{port}: cannot listen there; choose a free port of this machine") from None
    server.start()
    return server
