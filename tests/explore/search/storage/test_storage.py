"""Storages, claims and what a study carries: URLs, passwords, torn files, leases, other configurations."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import time
from argparse import ArgumentParser
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from arch.errors import InputError
from explore.cli import main
from explore.commands import proxy
from explore.progress import Display
from explore.redact import redacted
from explore.report.summary import settings_of
from explore.search.budget.plan import Clock, open_keys, read_stored
from explore.search.budget.planner import Load, make_plan
from explore.search.budget.planning import planned
from explore.search.budget.speed import Speed
from explore.search.config import SearchConfig
from explore.search.rungs import pass_rung
from explore.search.storage import fingerprint
from explore.search.storage.backends import StorageLost, dashboard, open_storage, retry_until_answer
from explore.search.storage.optuna_private import new_trial, return_to_queue
from explore.search.storage.unstarted import replace_configuration
from explore.search.study import next_task, open_study, prepare_study
from explore.search.workers import leases, worker
from explore.search.workers.leases import (
    LATENCY,
    LEADER,
    NEEDS,
    LeaseLost,
    LeaseMonitor,
    TrialLease,
    leadership,
    leased,
    requeue_dead,
    take_waiting,
)
from quantize.convert import ConversionError
from tests.helpers import ROOT, free_port

KINDS = ("sqlite", "journal")


def open_together(folder: Path, ready: Barrier) -> None:
    for number in range(8):
        ready.wait(60)
        open_storage(f"sqlite:///{folder}/{number}.db")


def make_study(folder: Path, kind: str = "journal") -> optuna.Study:
    return optuna.create_study(
        storage=open_storage(f"{kind}:///{folder}/storage"),
        study_name="s",
        directions=["minimize"] * 2,
        load_if_exists=True,
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pass@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg://me:p@ss/w:rd@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("postgresql://host/db?user=me&password=pass&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("sqlite:////data/study.db", "sqlite:////data/study.db"),
        ("grpc://host:13000", "grpc://host:13000"),
        ("cannot reach postgresql://me:pass@host/db now", "cannot reach postgresql://me:***@host/db now"),
    ],
)
def test_passwords_are_never_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_settings_in_reports_have_no_password() -> None:
    settings = settings_of(SearchConfig(storage="postgresql://me:secret@server/studies"))
    assert settings["storage"] == "postgresql://me:***@server/studies"


def test_two_may_make_one_storage_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(2)
    makers = [spawn.Process(target=open_together, args=(tmp_path, ready)) for _ in range(2)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(120)
    assert [maker.exitcode for maker in makers] == [0] * 2


def test_a_study_that_is_not_there_names_those_that_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(tmp_path)
    assert main(["worker", "--study=t", f"--storage=journal:///{tmp_path}/storage"]) == 2
    assert "there are: s" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_the_dashboard_opens_what_the_search_names(kind: str, tmp_path: Path) -> None:
    opener = pytest.importorskip("optuna_dashboard._storage_url", reason="needs edgepose[dashboard]")
    make_study(tmp_path, kind)
    program, address = dashboard(f"{kind}:///{tmp_path}/storage").split()
    assert program == "optuna-dashboard"
    assert [study.study_name for study in opener.get_storage(address).get_all_studies()] == ["s"]
    assert dashboard("postgresql://me:pass@host/db") == "optuna-dashboard postgresql+psycopg://me:***@host/db"


@pytest.mark.parametrize("kind", KINDS)
def test_only_text_and_numbers_are_stored(kind: str, tmp_path: Path) -> None:
    study = make_study(tmp_path, kind)
    trial = new_trial(study)
    trial.suggest_categorical("x", ["a", "b"])
    trial.set_constraint("cost", -1.0)
    lease = TrialLease(study, trial, 60.0)
    trial.set_user_attr("result", {"mm": 1.0})
    lease.done([1.0, 2.0])
    path = tmp_path / "storage"
    if kind == "journal":
        assert all(json.loads(line) for line in path.read_text().splitlines())
        return
    with sqlite3.connect(path) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert "trial_user_attributes" in tables
        for table in tables:
            for row in database.execute(f"SELECT * FROM {table}"):
                assert not any(isinstance(value, bytes) for value in row), (table, row)


def test_a_torn_line_of_a_journal_is_cut_off(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    new_trial(study)
    path = tmp_path / "storage"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"study')
    again = make_study(tmp_path)
    new_trial(again)
    assert len(again.trials) == 2
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_storage_that_stays_away_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class OperationalError(Exception):
        pass

    def away() -> None:
        raise OperationalError("connection to postgresql://me:pass@h/d failed")

    monkeypatch.setattr("explore.search.storage.backends.NOTICE_AFTER_S", 0.1)
    with pytest.raises(StorageLost, match="did not answer for 1 s") as raised:
        retry_until_answer(away, "postgresql://me:***@h/d", 0.9)
    said = capsys.readouterr().err
    assert said.count("does not answer") == 1 and "waiting for up to 1 s" in said
    assert "pass@" not in said + str(raised.value)


def test_a_worker_without_a_storage_leaves_nothing(tmp_path: Path) -> None:
    assert main(["worker", "--study=s", f"--storage=sqlite:///{tmp_path}/none.db", f"--results={tmp_path}"]) == 2
    assert not list(tmp_path.iterdir())


def test_a_storage_that_comes_back_is_waited_for() -> None:
    class OperationalError(Exception):
        pass

    calls: list[int] = []

    def twice_away() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise OperationalError("starting up")
        return "here"

    assert retry_until_answer(twice_away, "x", 30.0) == "here"
    with pytest.raises(ZeroDivisionError):
        retry_until_answer(lambda: 1 / 0, "x", 30.0)  # a fault of ours is not waited out


@pytest.mark.parametrize("kind", KINDS)
def test_a_waiting_trial_is_taken_by_one(kind: str, tmp_path: Path) -> None:
    first, second = make_study(tmp_path, kind), make_study(tmp_path, kind)
    first.enqueue_trial({"x": "a"})
    second.get_trials()  # both know that it waits
    taken = [take_waiting(first, frozenset()), take_waiting(second, frozenset())]
    assert [trial is not None for trial in taken] == [True, False]


def test_a_lease_that_stands_still_ends_and_its_owner_lets_go(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    monitor = LeaseMonitor(lease=2.0)
    lease = TrialLease(study, new_trial(study), 2.0)
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline:
        assert not monitor.dead(study.get_trials()), "a lease that is renewed was taken for dead"
        time.sleep(0.05)
    lease.stop()  # as if frozen
    while not monitor.dead(study.get_trials()):
        assert time.monotonic() < deadline + 60
        time.sleep(0.05)
    requeue_dead(study, monitor)
    trial = take_waiting(study, frozenset())
    assert trial is not None
    other = TrialLease(study, trial, 60.0)
    assert other.died["times"] == 1
    with pytest.raises(LeaseLost):
        lease.done([0.0, 0.0])
    with pytest.raises(LeaseLost):
        lease.end("too late", TrialState.FAIL)
    other.done([1.0, 2.0])
    with pytest.raises(LeaseLost):
        lease.end("too late", TrialState.FAIL)
    assert [(t.state, t.values, t.user_attrs.get("reason")) for t in study.trials] == [
        (TrialState.COMPLETE, [1.0, 2.0], None)
    ]


def test_only_work_without_progress_ends_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that leads a study reports no progress, however long the search takes."""
    monkeypatch.setattr(leases, "STALLED", 0.1)
    ended: list[int] = []
    monkeypatch.setattr(leases.os, "_exit", ended.append)
    study = make_study(tmp_path)
    with leadership(study, 0.6), leased(study, "device", 0.6):
        time.sleep(1.0)
    assert not ended
    lease = TrialLease(study, new_trial(study), 0.6)
    time.sleep(1.0)
    lease.stop()
    assert ended


def test_a_watch_that_could_not_look_starts_anew(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    new_trial(study)  # nobody's
    monitor = LeaseMonitor(lease=0.4)
    assert not monitor.dead(study.get_trials())
    time.sleep(0.6)  # the storage was away: nothing is known of the time between
    assert not monitor.dead(study.get_trials())


def test_a_finished_trial_is_not_told_again(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    lease = TrialLease(study, new_trial(study), 60.0)
    lease.done([1.0, 1.0])
    lease.done([1.0, 1.0])  # the answer was lost: the same again is no fault
    return_to_queue(study, lease.trial)
    assert study.trials[0].state == TrialState.COMPLETE


def test_a_second_parent_is_refused_and_a_dead_one_is_not_waited_for(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    with leadership(study, 60.0), pytest.raises(InputError, match=f"process {os.getpid()}"), leadership(study, 60.0):
        raise AssertionError("two lead one study")
    with leadership(study, 60.0):
        sign = study.user_attrs[LEADER]
    assert study.user_attrs[LEADER] is None
    study.set_user_attr(LEADER, sign | {"process": sign["process"] | {"pid": 2**22 + 1}})
    with leadership(study, 60.0):
        pass
    config = config_of(tmp_path, storage=f"journal:///{tmp_path}/storage")
    fingerprint.carry(config, study)
    with leadership(study, 60.0), pytest.raises(InputError, match=f"process {os.getpid()}"):
        replace_configuration(config.model_copy(update={"seed": 3}))
    assert open_study(config).user_attrs["config"]["seed"] == 0, "nobody deletes a study that another one leads"


def config_of(folder: Path, **values: Any) -> SearchConfig:
    return SearchConfig(study="s", results=str(folder), **values)


def test_another_configuration_says_all_that_differs(tmp_path: Path) -> None:
    config = config_of(tmp_path, storage=f"journal:///{tmp_path}/storage")
    fingerprint.leave(config)
    fingerprint.carry(config, open_study(config))
    other = config.model_copy(update={"seed": 3, "candidate": config.candidate.model_copy(update={"samples": 1})})
    for check in (lambda: fingerprint.leave(other), lambda: fingerprint.carry(other, open_study(other))):
        with pytest.raises(InputError) as raised:
            check()
        assert "seed: the study was created with 0, not 3" in str(raised.value)
        assert "samples 4000, not 1" in str(raised.value) and "--study" in str(raised.value)
    assert fingerprint.carried(open_study(config)).hash == config.hash
    fingerprint.leave(config.model_copy(update={"storage": "postgresql://me:hidden@host/db"}))
    assert "hidden" not in (tmp_path / "s" / "config.yaml").read_text()


def test_a_folder_of_another_study_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path / "here", storage=f"journal:///{tmp_path}/storage")
    fingerprint.leave(config)
    fingerprint.carry(config, open_study(config))
    other = config.model_copy(update={"results": str(tmp_path / "there")})
    fingerprint.leave(other)
    with pytest.raises(InputError, match=r"--results .*there"):
        fingerprint.carry(other, open_study(other))


def test_the_proxy_listens_on_the_loopback_unless_told(tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    port = free_port()
    command = ["proxy", f"--storage=sqlite:///{tmp_path}/s.db", f"--listen=127.0.0.1:{port}"]
    process = subprocess.Popen([sys.executable, str(ROOT / "explore.py"), *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and f"grpc://127.0.0.1:{port}" in process.stdout.readline()
        lines = Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
        listening = [fields[1] for line in lines if (fields := line.split())[3] == "0A"]
        ours = [address.partition(":")[0] for address in listening if address.endswith(f":{port:04X}")]
        assert ours and all(host.endswith("0100007F") for host in ours), "127.0.0.1, as IPv6 writes it too"
        study = optuna.create_study(storage=open_storage(f"grpc://127.0.0.1:{port}"), study_name="s")
        new_trial(study)
        assert len(study.get_trials()) == 1
    finally:
        process.kill()
        process.wait()
    parser = ArgumentParser()
    proxy.add_arguments(parser)
    assert parser.parse_args(["--storage=x"]).listen == "127.0.0.1:13000"


def test_a_worker_that_cannot_time_leaves_that_to_one_that_can(tmp_path: Path) -> None:
    config = config_of(tmp_path, trials=2, max_macs="2L", sampler="random", lease=60)
    space = fingerprint.space_of(config)
    study, monitor = prepare_study(config, space), LeaseMonitor(60)
    for _ in range(2):
        task = next_task(study, config, space, monitor, frozenset())
        assert task is not None
        task.lease.release(needs=LATENCY)
    begun = [t.number for t in study.trials if NEEDS in t.user_attrs]
    timed = [next_task(study, config, space, monitor, frozenset({LATENCY})) for _ in range(2)]
    assert [task and task.number for task in timed] == begun, "no third is begun; the two are taken up"
    for task in timed:
        assert task is not None
        task.lease.done([1.0, 1.0])
    assert next_task(study, config, space, monitor, frozenset({LATENCY})) is None


def test_a_study_without_a_candidate_keeps_its_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, other = config_of(tmp_path), config_of(tmp_path, budget="1h")
    plan = make_plan(config, 2, Speed(), Load(25e6, {"paper-XS-relu": 20e6}))
    fingerprint.leave(plan.applied_to(config, open_keys(config)))
    assert planned(other, Display())[1] is None
    assert "budget: 1h has no effect" in capsys.readouterr().err, "it was started without a plan"
    Clock(config, plan, 100.0, ())
    assert not replace_configuration(config) and read_stored(config.folder) is not None
    assert planned(other, Display())[1] is not None
    assert "plan for 1h" in (said := capsys.readouterr().err) and "given" not in said
    Clock(config, plan, 100.0, ())
    assert replace_configuration(other) and read_stored(config.folder) is None


@pytest.mark.parametrize("ending", [ConversionError("no file"), None])
def test_a_worker_goes_on_where_another_finished_its_trial(ending: Exception | None, tmp_path: Path) -> None:
    config, told = config_of(tmp_path, rungs=(0.5,)), list[Any]()
    space = fingerprint.space_of(config)
    study = prepare_study(config, space)
    task = next_task(study, config, space, LeaseMonitor(60), frozenset())
    assert task is not None

    def candidate(*given: Any) -> Any:
        study.tell(task.number, [1.0, 1.0])
        if ending:
            raise ending
        pass_rung(config, study, task.lease, task.arch, 0, 1.0)

    pipe = SimpleNamespace(send=told.append)
    worker._candidate(config, study, task, SimpleNamespace(candidate=candidate), worker.Reporter(pipe))  # type: ignore[arg-type]
    assert told[-1][0] == "failed" and told[-1][1]["reason"] == "another worker took it over"
