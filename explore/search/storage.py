"""Where a study is kept: SQLite, a journal file, PostgreSQL, or Optuna's gRPC proxy in front of one of them.

All of them hold JSON and numbers, never a pickle. The storage that is returned waits for one that does not answer: a
database that is restarted, a full disk or a network that is gone for a minute delays a search and does not end it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import optuna
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.storages.journal._file import BaseJournalFileLock

from arch.errors import InputError
from explore.config import SearchConfig
from explore.redact import redacted

PATIENCE = 600.0  # seconds that a storage may not answer before the search gives up
SILENCE = 5.0  # seconds after which it is told that one waits
PAUSE = 0.2, 5.0  # seconds between two tries: the first and the longest
KINDS = "sqlite:///FILE, journal:///FILE, postgresql://USER@HOST/DATABASE or grpc://HOST:PORT"
REFUSAL = re.compile(
    'password authentication failed|no password supplied|no pg_hba.conf entry|(database|role) "[^"]*" does not exist'
)
FINALISTS = "/finalists"  # ends the name of the study that lines up the finalists of another
DEVICES = "edgepose/devices"  # name of the study that says who has which device
MADE_AT_ONCE = frozenset({"IntegrityError", "DuplicateTable"})  # two made the same tables: theirs are there, go on
GRPC_AWAY = ("UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL")
Answer = TypeVar("Answer")

optuna.logging.set_verbosity(optuna.logging.ERROR)


class StorageLost(RuntimeError):
    """The storage did not answer for too long."""


def open_storage(url: str, patience: float = PATIENCE) -> BaseStorage:
    """The storage at `url`, made where there is none.

    Raises:
        InputError: a URL of no known kind, a driver that is not installed, a folder that is not there, or a storage
            that refuses (a wrong password, no such database).
        StorageLost: it did not answer for `patience` seconds.
    """
    kind, shown = check_url(url), redacted(url)
    storage = patiently(lambda: OPENERS[kind](url), shown, patience, MADE_AT_ONCE)
    return _patient(storage, shown, patience)


def check_url(url: str) -> str:
    """The kind of storage that `url` names, one of OPENERS.

    Raises:
        InputError: no known kind, a file in a folder that is not there, or no host and port.
    """
    parts = urlsplit(url)
    kind = parts.scheme.partition("+")[0]
    if kind not in OPENERS:
        raise InputError(f"storage: '{redacted(url)}' is of no known kind; give {KINDS}")
    path = file_of(url)
    if path and (not path.name or not path.parent.is_dir()):
        raise InputError(f"storage: {path}: no such folder; make it, or give another path")
    if kind == "grpc" and not (parts.hostname and parts.port):
        raise InputError(f"storage: '{redacted(url)}' names no host and port; give grpc://HOST:PORT")
    return kind


def file_of(url: str) -> Path | None:
    """The file of a storage that is one."""
    parts = urlsplit(url)
    kind = parts.scheme.partition("+")[0]
    if kind == "sqlite":
        return Path(parts.path[1:].partition("?")[0])
    return Path(parts.path) if kind == "journal" else None


def storage_url(config: SearchConfig) -> str:
    """Where the study is kept; its passwords and all."""
    return config.storage or f"sqlite:///{(config.folder / 'study.db').resolve()}"


def is_search(name: str) -> bool:
    """Whether the study of that name is a search's, and not one that serves it."""
    return name != DEVICES and not name.endswith(FINALISTS)


def shares_machines(url: str) -> bool:
    """Whether workers on other machines can reach this storage over the network."""
    return urlsplit(url).scheme.partition("+")[0] in ("postgresql", "grpc")


def dashboard(url: str) -> str:
    """The command that shows this storage's studies, without its password; it knows some kinds by other names."""
    kind, _, rest = url.partition("://")
    if kind == "grpc":
        return "optuna-dashboard, with the storage behind the proxy"
    names = {"journal": rest, "postgresql": f"postgresql+psycopg://{rest}"}
    return f"optuna-dashboard {redacted(names.get(kind, url))}"


def patiently(call: Callable[[], Answer], shown: str, patience: float, passing: frozenset[str] = frozenset()) -> Answer:
    """The answer of `call`, asked again while the storage does not answer, or after an error named in `passing`.

    Raises:
        StorageLost: for `patience` seconds; the last reason is told.
        InputError: asking again cannot help.
    """
    began, told = time.monotonic(), False
    deadline = began + patience
    pause = PAUSE[0]
    while True:
        try:
            return call()
        except Exception as error:
            reason = _reason(error)
            if REFUSAL.search(reason):
                raise InputError(f"storage: {shown} refuses: {redacted(reason)}; check the URL") from None
            if not _passes(error) and not passing & _kinds(error):
                raise
            if time.monotonic() + pause > deadline:
                raise StorageLost(
                    f"the storage {shown} did not answer for {patience:.0f} s ({redacted(reason)}); "
                    "bring it back and run the same command to go on"
                ) from None
            if not told and time.monotonic() - began > SILENCE:
                told = True
                print(
                    f"the storage {shown} does not answer ({redacted(reason)}); waiting for up to {patience:.0f} s",
                    file=sys.stderr,
                )
        time.sleep(pause)
        pause = min(2 * pause, PAUSE[1])


def _passes(error: BaseException) -> bool:
    """Whether the same call may succeed later: the storage is away, busy or full."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "StorageInternalError" in names:  # Optuna's word for whatever its database said
        names = _kinds(error)
    if "RpcError" in names:
        return getattr(error, "code")().name in GRPC_AWAY  # noqa: B009 - the base class knows no code
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    return full or bool(names & {"OperationalError", "InterfaceError", "InternalError", "TimeoutError"})


def _kinds(error: BaseException) -> set[str]:
    """Names of the classes of an error and of all that led to it."""
    return {kind.__name__ for cause in _chain(error) for kind in type(cause).__mro__}


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _reason(error: BaseException) -> str:
    """What the driver said, in one line."""
    deepest = list(_chain(error))[-1]
    text = getattr(deepest, "details", lambda: None)() if hasattr(deepest, "details") else str(deepest)
    return " ".join((text or type(deepest).__name__).split())[:300]


def _patient(storage: BaseStorage, shown: str, patience: float) -> BaseStorage:
    """The same storage, every method of which is asked patiently.

    A call whose answer was lost on the way may be carried out twice. All of Optuna's calls bear that: a state that is
    there already is refused, and a trial that was made for nobody has no owner and is taken up by the next worker.
    """

    def wrap(name: str) -> Any:
        method = getattr(type(storage), name)

        @functools.wraps(method)
        def asked(self: Any, *args: Any, **options: Any) -> Any:
            return patiently(lambda: method(self, *args, **options), shown, patience)

        return asked

    methods = {
        name: wrap(name) for name in BaseStorage.__abstractmethods__ | {"get_trial_id_from_study_id_trial_number"}
    }
    storage.__class__ = type(f"Patient{type(storage).__name__}", (type(storage),), methods)
    return storage


def _open_sqlite(url: str) -> BaseStorage:
    from sqlalchemy import event

    backend = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    backend.engine.dispose()

    # A transaction is a writer's from its beginning, so that what it read is still true when it writes. Without, two
    # processes may both find a trial waiting and both take it.
    @event.listens_for(backend.engine, "connect")
    def _leave_transactions_to_us(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(backend.engine, "begin")
    def _write_from_the_beginning(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return optuna.storages.get_storage(backend)


def _open_postgresql(url: str) -> BaseStorage:
    try:
        import psycopg  # noqa: F401 - named here, where its absence can be told
    except ImportError:
        raise InputError("storage: postgresql needs psycopg; pip install 'edgepose[postgresql]'") from None
    driver = "postgresql+psycopg" + url[url.index("://") :]
    # A network that swallows packets must not hold a worker for the kernel's two hours.
    alive = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
    options = {"pool_pre_ping": True, "connect_args": alive | {"tcp_user_timeout": 30_000}}
    return optuna.storages.get_storage(optuna.storages.RDBStorage(driver, engine_kwargs=options))


def _open_journal(url: str) -> BaseStorage:
    path = Path(urlsplit(url).path)
    return JournalStorage(Journal(str(path), FileLock(path)))


def _open_grpc(url: str) -> BaseStorage:
    parts = urlsplit(url)
    try:
        import grpc  # noqa: F401 - named here, where its absence can be told
    except ImportError:
        raise InputError("storage: grpc needs grpcio and protobuf; pip install 'edgepose[grpc]'") from None
    assert parts.hostname and parts.port  # check_url says so
    return optuna.storages.GrpcStorageProxy(host=parts.hostname, port=parts.port)


OPENERS: dict[str, Callable[[str], BaseStorage]] = {
    "sqlite": _open_sqlite,
    "journal": _open_journal,
    "postgresql": _open_postgresql,
    "grpc": _open_grpc,
}


class FileLock(BaseJournalFileLock):
    """The kernel's lock on a file beside the journal: free as soon as its holder dies, on NFS too since Linux 2.6.12."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(journal.name + ".lock")
        self._held: Any = None

    def acquire(self) -> bool:
        self._held = open(self._path, "a")  # noqa: SIM115 - held open as long as the lock
        fcntl.flock(self._held, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        self._held.close()


class Journal(JournalFileBackend):
    """Optuna's journal file, mended: a line that a full disk or a killed writer left torn is cut off before the next."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with contextlib.closing(_Held(self._lock)):
            size = os.stat(self._file_path).st_size
            whole = _end_of_last_line(self._file_path, size)
            if whole < size:
                os.truncate(self._file_path, whole)
            text = "".join(json_line(log) for log in logs)
            try:
                with open(self._file_path, "ab") as file:
                    file.write(text.encode())
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                os.truncate(self._file_path, whole)
                raise


class _Held:
    def __init__(self, lock: BaseJournalFileLock) -> None:
        self._lock = lock
        lock.acquire()

    def close(self) -> None:
        self._lock.release()


def json_line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def _end_of_last_line(path: str, size: int) -> int:
    """Where the last whole line ends."""
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
    """A running gRPC server in front of `storage`.

    Raises:
        InputError: the address cannot be listened on, or grpcio is not installed.
    """
    try:
        from optuna.storages._grpc.server import make_server

        server = make_server(storage, host, port)
    except ImportError:
        raise InputError("proxy: needs grpcio and protobuf; pip install 'edgepose[grpc]'") from None
    except RuntimeError:
        raise InputError(f"--listen {host}:{port}: cannot be listened on; take a free port of this machine") from None
    server.start()
    return server
