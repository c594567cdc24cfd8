"""`search`: from a configuration to a study folder with a front of shipped files. Stopped anywhere, it goes on there."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from arch.cost import cost
from arch.errors import InputError
from arch.files import write_atomic
from arch.search_space import Space
from arch.space import Arch, make_arch
from explore.config import SearchConfig, load_yaml, parse
from explore.progress import Display
from explore.report.glance import Glance
from explore.report.live import live_page
from explore.report.people import keep_people
from explore.report.refresh import bundles_of
from explore.report.study import Summary, write_report
from explore.search import devices, estimated, worker, workload
from explore.search.choice import check_recipes, read_finalists, result_file, write_finalists
from explore.search.dataset import open_judge
from explore.search.front import choose
from explore.search.study import SearchFailed, baselines, prepare_study, storage_url, try_lock
from explore.search.workload import Workload
from quantize import audit, runtimes

RESTARTS = 3  # of a worker that died, in one stage
# Read by a worker when it starts: one thread each, and memory of large maps kept instead of given back every step
# (a fifth of the time of training paper-L at 64 px).
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}


@dataclass
class Crew:
    """The worker processes of a stage and what each last said."""

    processes: dict[int, BaseProcess] = field(default_factory=dict)
    pipes: dict[int, Connection] = field(default_factory=dict)
    shares: dict[int, float] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    restarts: dict[int, int] = field(default_factory=dict)


def search(config: SearchConfig, display: Display) -> Summary:
    """Run or go on with the study of `config`.

    Raises:
        InputError: the configuration, the data, or a folder that holds another study.
        SearchFailed: no front could be made, with the reason.
    """
    space = Space.named(config.space).at(config.scale)
    _check(config, space)
    alone = try_lock(config.folder / "locks" / "parent.lock")
    if alone is None:
        raise InputError(f"{config.folder}: another search runs this study; wait for it, or give --study another name")
    started = time.time()
    with alone, display:
        _write_config(config)
        os.environ.update(ENVIRONMENT)
        display.log(f"study {config.folder}, open with: optuna-dashboard {storage_url(config)}")
        for page in devices.pages(config):
            display.log(f"open this on the device and leave it open: {page}")
        display.stage("data")
        judge = open_judge(config, lambda done, total: display.update(done / max(1, total)))
        if not (config.folder / "reference" / "reference.json").exists():
            display.stage("reference network")
            _run(config, "reference", 1, display, Workload(1), Glance(judge.mean_pose_mm))
        study = prepare_study(config, space)
        papers = baselines(config, space)
        glance = Glance(judge.mean_pose_mm)
        with live_page(config, judge.mean_pose_mm, display.log):
            done = _finished(study)
            for facts in done:
                glance.add(facts["mpjpe_mm"], facts["latency_ms"])
            work = workload.candidates(config, space, papers, [(facts["name"], facts["macs"]) for facts in done])
            display.stage(f"candidates, {config.trials}", work.share({}))
            display.glance(glance.line)
            _run(config, "candidates", config.processes, display, work, glance)
            _choose_finalists(config, study, space)
            finalists = [finalist.arch for finalist in read_finalists(config)]
            work = workload.finalists(config, finalists, [a for a in finalists if _finalist(config, a).exists()])
            display.stage(f"finalists, {len(finalists)}", work.share({}))
            _run(config, "finalists", config.processes, display, work, glance)
            missing = [a.name for a in finalists if not _finalist(config, a).exists()]
            if len(missing) == len(finalists):
                raise SearchFailed(f"no finalist could be shipped; see {config.folder / 'logs'}")
            summary = write_report(config, study, judge, papers, time.time() - started)
            keep_people(config.folder, judge, bundles_of(config, config.folder))
    return summary


def _check(config: SearchConfig, space: Space) -> None:
    """Refuse what cannot end well before any time is spent on it."""
    devices.check(config)
    estimated.check(config, space)
    chosen = check_recipes(config)
    for name in config.every_runtime:
        runtimes.get(name)
        for arch in baselines(config, space).values():
            for tried in chosen:
                audit.check(arch, name, tried)


def _write_config(config: SearchConfig) -> None:
    """Leave the resolved configuration in the folder, or refuse a folder that was made with another one."""
    path = config.folder / "config.yaml"
    if path.exists():
        values = load_yaml(path) or {}
        values.pop("hash", None)
        before = parse(SearchConfig, values, str(path))
        old, new = before.model_dump(mode="json"), config.model_dump(mode="json")
        changed = [key for key in before.identity() | config.identity() if old[key] != new[key]]
        if changed:
            key = changed[0]
            raise InputError(
                f"{path}: {key}: the study was made with {_short(old[key], new[key])}; "
                f"give --study another name, or the old value"
            )
    values = config.model_dump(mode="json") | {"hash": config.hash}
    write_atomic(path, yaml.safe_dump(values, sort_keys=False))


def _short(old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        return ", ".join(f"{k} {old.get(k)}, not {new[k]}" for k in new if old.get(k) != new[k])
    return f"{old}, not {new}"


def _finished(study: optuna.Study) -> list[dict[str, Any]]:
    """What the finished candidates gave."""
    return [t.user_attrs["result"] for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]


def _finalist(config: SearchConfig, arch: Arch) -> Path:
    return config.folder / "finalists" / arch.id / "result.json"


def _choose_finalists(config: SearchConfig, study: optuna.Study, space: Space) -> None:
    """Write the networks that go on: along the front, and those of the paper that are within max_cost."""
    trials = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    if not trials:
        raise SearchFailed("no candidate finished; the reasons stand in trials.csv and in the log folder")
    kept = [t for t in trials if devices.keeps(config, t.user_attrs["result"])]
    if not kept:
        raise SearchFailed(f"none of {len(trials)} candidates keeps max_ms; try more, or raise it")
    chosen = [kept[index] for index in choose(np.array([t.values for t in kept]), config.finalists)]
    for trial in trials:
        constraint = trial.constraints.get("cost", 0.0) if hasattr(trial, "constraints") else 0.0
        if "baseline" in trial.user_attrs and constraint <= 0:
            chosen.append(trial)
    pairs = [_pair(config, trial) for trial in chosen]
    write_finalists(config, sorted(pairs, key=lambda pair: -cost(pair[0]).macs))


def _pair(config: SearchConfig, trial: FrozenTrial) -> tuple[Arch, str]:
    """The network of a finished trial and the recipe that it was judged by."""
    facts = trial.user_attrs
    judged_by = facts.get("recipe", config.recipe)
    path = result_file(config, facts["arch"], judged_by)
    return make_arch(json.loads(path.read_text())["arch"], str(path)), judged_by


def _run(
    config: SearchConfig, phase: worker.Phase, count: int, display: Display, work: Workload, glance: Glance
) -> None:
    """Run a stage in `count` workers until all of its work is done.

    A worker that dies is started again.
    """
    context = multiprocessing.get_context("spawn")
    crew = Crew()

    def start(index: int) -> None:
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=worker.main, args=(config, phase, index, theirs), daemon=False)
        process.start()
        theirs.close()
        crew.processes[index], crew.pipes[index], crew.shares[index] = process, mine, 0.0

    for index in range(count):
        start(index)
    try:
        while crew.pipes:
            ready = wait(list(crew.pipes.values()), timeout=1.0)
            for index, pipe in [(i, p) for i, p in crew.pipes.items() if p in ready]:
                try:
                    kind, facts = pipe.recv()
                except (EOFError, OSError):
                    _ended(crew, index, start, display, phase)
                    continue
                _hear(crew, index, kind, facts, display)
                if kind == "finished":
                    _count(config, facts, work, glance, display)
                elif kind == "failed":
                    work.ahead.pop(facts["name"], None)
            display.update(work.share({crew.names.get(index, ""): share for index, share in crew.shares.items()}))
    finally:
        for process in crew.processes.values():
            process.terminate()
        for process in crew.processes.values():
            process.join()


def _ended(crew: Crew, index: int, start: Callable[[int], None], display: Display, phase: str) -> None:
    """A worker is gone: well, or by a signal, after which another takes its place."""
    process = crew.processes[index]
    process.join()
    crew.pipes.pop(index).close()
    crew.shares[index] = 0.0
    if process.exitcode == 0:
        return
    crew.restarts[index] = crew.restarts.get(index, 0) + 1
    if crew.restarts[index] > RESTARTS:
        raise SearchFailed(
            f"worker {index} died {RESTARTS + 1} times ({phase}), last with exit code {process.exitcode}; "
            f"see worker-{index}.log in the study's logs"
        )
    display.log(f"worker {index} died (exit code {process.exitcode}); another goes on with its work")
    start(index)


def _count(config: SearchConfig, facts: dict[str, Any], work: Workload, glance: Glance, display: Display) -> None:
    """A network is done: less is left, and a candidate may have moved the front."""
    if "mpjpe_mm" not in facts:
        work.finish(facts["name"])
        return
    work.finish(facts["name"], workload.candidate_work(config, facts["macs"]))
    glance.add(facts["mpjpe_mm"], facts["latency_ms"])
    display.glance(glance.line)


def _hear(crew: Crew, index: int, kind: str, facts: dict[str, Any], display: Display) -> None:
    """Take in one message of a worker."""
    match kind:
        case "trial":
            crew.names[index], crew.shares[index] = facts["name"], 0.0
        case "stage":
            part = facts["done"] / max(1, facts["total"])
            crew.shares[index] = 0.8 * part if facts["stage"] == "train" else 0.9
            display.worker(index, f"{crew.names.get(index, '')} {facts['stage']}", crew.shares[index])
        case "finished":
            crew.shares[index] = 0.0
            if "mpjpe_mm" in facts:
                display.log(
                    f"trial {facts['number']:>3}  {facts['name']:<18} {facts['mpjpe_mm']:7.1f} mm "
                    f"{facts['latency_ms']:7.2f} ms {facts['macs'] / 1e6:8.1f} M MACs"
                )
            else:
                display.log(f"finalist   {facts['name']}")
        case "failed":
            crew.shares[index] = 0.0
            display.log(f"trial {facts['number']:>3}  {facts['name']:<18} failed: {facts['reason'].splitlines()[0]}")
        case "error":
            raise (InputError if facts["input"] else SearchFailed)(facts["message"])
