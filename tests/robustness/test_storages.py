"""Storages that cannot work are one line, at once, before a study exists; trials of other programs do no harm."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from arch.errors import InputError
from explore.cli import main
from explore.search.config import SearchConfig
from explore.search.storage import fingerprint
from explore.search.storage.backends import check_storage, open_storage
from explore.search.study import completed, next_task, open_study, prepare_study
from explore.search.workers.leases import LeaseMonitor
from tests.helpers import mostly_slow
from tests.helpers.search import TINY_SPACE

SECONDS = 60.0  # far below the time that a search waits for a storage that comes back


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a database of Optuna, damaged copies of it, and files of other kinds."""
    folder = tmp_path_factory.mktemp("storages")
    (folder / "folder").mkdir()
    (folder / "text").write_text("hello\n" * 1000)
    (folder / "word").write_text("hello")  # Optuna takes it for a record that is being written
    (folder / "number").write_text("5\n")
    storage = open_storage(f"sqlite:///{folder}/good.db")
    study = optuna.create_study(storage=storage, study_name="s", directions=["minimize"] * 2)
    study.add_trials([create_trial(values=[1.0, 2.0], user_attrs={"text": "x" * 500}) for _ in range(60)])
    content = (folder / "good.db").read_bytes()
    (folder / "cut.db").write_bytes(content[: len(content) // 2])
    middle = len(content) * 2 // 3
    (folder / "middle.db").write_bytes(content[:middle] + os.urandom(9000) + content[middle + 9000 :])
    for name, schema, version in (("old.db", 10, "v2.6.0.a"), ("new.db", 99, "v9.0.0")):
        shutil.copy(folder / "good.db", folder / name)
        with sqlite3.connect(folder / name) as database:
            database.execute(f"UPDATE version_info SET schema_version = {schema}")
            database.execute(f"UPDATE alembic_version SET version_num = '{version}'")
    journal = open_storage(f"journal:///{folder}/good.journal")
    optuna.create_study(storage=journal, study_name="s")
    (folder / "middle.journal").write_bytes((folder / "good.journal").read_bytes() + b"{}\nx\n{}\n")
    return folder


URLS = {  # of storages that cannot work; FILES is replaced: expected text of the message
    "sqlite:///FILES/folder": "a folder; give the path of a file",
    "sqlite:///FILES/text": "damaged, or no database (file is not a database); restore",
    "sqlite:///FILES/cut.db": "damaged, or no database (database disk image is malformed",
    "sqlite:///FILES/middle.db": "damaged, or no database (database disk image is malformed",
    "sqlite:///FILES/old.db": "tables of another version of Optuna; upgrade it by `optuna storage upgrade",
    "sqlite:///FILES/new.db": "tables of another version of Optuna; a later version",
    "sqlite:///FILES/none/s.db": "no such folder; create it",
    "sqlite:///FILES/text/s.db": "no such folder; create it",
    "sqlite:///FILES/s.db?mode=ro": "'?', '#' and '%' are not possible",
    "sqlite:///FILES/100%25.db": "'?', '#' and '%' are not possible",
    "sqlite:////dev/null": "not a regular file",
    "sqlite:////proc/s.db": "No such file or directory; give a path that can be written",
    "sqlite:///:memory:": "names no file",
    "sqlite://": "names no file",
    "sqlite://host/s.db": "names no file",
    "journal:///FILES/folder": "a folder; give the path of a file",
    "journal:///FILES/text": "not a journal of Optuna, or damaged",
    "journal:///FILES/word": "not a journal of Optuna, or damaged",
    "journal:///FILES/number": "not a journal of Optuna, or damaged",
    "journal:///FILES/good.db": "not a journal of Optuna, or damaged",
    "journal:///FILES/middle.journal": "not a journal of Optuna, or damaged",
    "journal:////proc/s": "No such file or directory; give a path that can be written",
    "journal://": "names no file",
    "postgresql://me:secret@127.0.0.1:PORT/db": "Connection refused",
    "postgresql://me@nowhere.invalid/db": "resolve host",
    "postgresql://host:port/db": "could not be cast to integer",
    "grpc://127.0.0.1:PORT": "Connection refused",
    "grpc://host:99999": "out of range",
    "grpc://host": "names no host and port",
    "grpc://me:secret@host": "names no host and port",
    "postgres//me:secret@host/db": "is of no known kind",
    "mysql://me:secret@host/db": "is of no known kind",
    "redis://host": "is of no known kind",
    "s.db": "is of no known kind",
    "://": "is of no known kind",
    "http://[": "Invalid IPv6 URL",
}


@pytest.mark.parametrize("url", URLS)
def test_storages_that_cannot_work_are_rejected_at_once(url: str, files: Path) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    if url.startswith("grpc"):
        pytest.importorskip("grpc")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and not listening
        before, started = sorted(files.rglob("*")), time.monotonic()
        with pytest.raises(InputError) as caught:
            check_storage(url.replace("FILES", str(files)).replace("PORT", str(closed.getsockname()[1])))
    text = str(caught.value)
    assert URLS[url] in text and text.startswith("storage: ") and "\n" not in text and "secret" not in text
    assert time.monotonic() - started < SECONDS and sorted(files.rglob("*")) == before


@pytest.mark.parametrize("url", ["sqlite:///FILES/folder", "sqlite:///FILES/text", "postgresql://127.0.0.1:PORT/db"])
def test_the_proxy_does_not_wait_for_them(url: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    pytest.importorskip("grpc")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = url.replace("FILES", str(files)).replace("PORT", str(closed.getsockname()[1]))
        assert main(["proxy", "--storage", url, "--listen", "127.0.0.1:1"]) == 2
    assert capsys.readouterr().err.startswith("error: storage: ")


@pytest.mark.parametrize("name", ["good.db", "good.journal", "new-one.db", "new-one.journal"])
def test_storages_that_work_are_left_as_they_are(name: str, files: Path) -> None:
    kind = "sqlite" if name.endswith("db") else "journal"
    before = sorted(files.rglob("*"))
    check_storage(f"{kind}:///{files}/{name}")
    assert [path for path in sorted(files.rglob("*")) if path not in before and ".lock" not in path.name] == []


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_search_and_worker_check_their_storage_first(
    kind: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["search", f"--results={tmp_path}/results"], ["worker", "--study=s"]):
        assert main([*command, f"--storage={kind}:///{files}/text"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: storage: ") and "damaged" in line
    assert list(tmp_path.iterdir()) == []


def tiny(folder: Path, **values: object) -> SearchConfig:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY_SPACE))
    given = {
        "study": "s", "results": str(folder), "space": str(folder / "tiny.yaml"), "sampler": "random", "lease": 2.0,
    }  # fmt: skip
    return SearchConfig(**given | {"trials": 5} | values)  # type: ignore[arg-type]


def run_all(config: SearchConfig) -> optuna.Study:
    """Finish the tasks of a study without training."""
    study = prepare_study(config, fingerprint.space_of(config))
    monitor = LeaseMonitor(config.lease)
    while (task := next_task(study, config, fingerprint.space_of(config), monitor, frozenset())) is not None:
        task.lease.done([1.0, 2.0])
    return study


WIDTHS = CategoricalDistribution([0.25, 0.5])
OTHERS: dict[str, Callable[[optuna.Study], object]] = {  # trials that a user adds through Optuna
    "nothing chosen": lambda study: study.enqueue_trial({}),
    "a part chosen": lambda study: study.enqueue_trial({"width": 0.5}),
    "unknown parameter": lambda study: study.enqueue_trial({"colour": "red"}),
    "impossible value": lambda study: study.enqueue_trial({"width": 7.5}),
    "text for a number": lambda study: study.enqueue_trial({"width": "0.5"}),
    "null": lambda study: study.enqueue_trial({"width": None}),
    "running": lambda study: study.ask(),
    "failed": lambda study: study.tell(study.ask(), state=TrialState.FAIL),
    "complete": lambda study: study.add_trial(create_trial(values=[1.0, 2.0])),
    "complete with a parameter": lambda study: study.add_trial(
        create_trial(values=[1.0, 2.0], params={"width": 0.25}, distributions={"width": WIDTHS})
    ),
}


@pytest.mark.parametrize(
    "name", mostly_slow(OTHERS, "a part chosen", "impossible value", "running", "complete with a parameter")
)
def test_trials_added_through_optuna_do_no_harm(name: str, tmp_path: Path) -> None:
    config = tiny(tmp_path)
    OTHERS[name](open_study(config))
    assert len(completed(run_all(config))) == config.trials
    OTHERS[name](open_study(config))
    assert len(completed(run_all(config.model_copy(update={"trials": 7})))) == 7


@pytest.mark.parametrize("distribution", [FloatDistribution(0, 1), CategoricalDistribution([0.3, 0.4])])
def test_parameters_of_another_program_are_named(
    distribution: optuna.distributions.BaseDistribution, tmp_path: Path
) -> None:
    config = tiny(tmp_path)
    open_study(config).add_trial(
        create_trial(state=TrialState.WAITING, params={"width": 0.3}, distributions={"width": distribution})
    )
    with pytest.raises(InputError, match=r"width: .* another program added a trial with .*; give --study another name"):
        run_all(config)


def test_a_space_smaller_than_the_number_of_trials_ends(tmp_path: Path) -> None:
    study = run_all(tiny(tmp_path, trials=100))
    assert len(completed(study)) == 16 and "all of its 16 networks are tried" in study.user_attrs["exhausted"]


def test_a_worker_does_not_wait_for_others_when_the_budget_is_over(tmp_path: Path) -> None:
    config = tiny(tmp_path, trials=1, lease=60.0)
    study, space = prepare_study(config, fingerprint.space_of(config)), fingerprint.space_of(config)
    monitor = LeaseMonitor(60.0)
    task = next_task(study, config, space, monitor, frozenset())
    assert task is not None
    assert next_task(study, config, space, monitor, frozenset(), may_wait=lambda: False) is None
    task.lease.release()
