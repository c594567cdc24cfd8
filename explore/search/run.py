"""`search`: from a configuration to a study folder with a front of shipped files. Stopped anywhere, it goes on there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch, make_arch
from explore.config import SearchConfig
from explore.data import check_data
from explore.host import try_lock
from explore.progress import Display
from explore.report.live import live_page
from explore.report.people import keep_people
from explore.report.refresh import bundles_of
from explore.report.study import Summary, write_report
from explore.search import devices, estimated, identity, rungs, worker, workload
from explore.search.board import Board
from explore.search.choice import Finalist, check_recipes, read_finalists, result_file, shipped, write_finalists
from explore.search.claims import LATENCY, NEEDS, drop
from explore.search.crew import run_crew
from explore.search.dataset import open_judge
from explore.search.front import choose
from explore.search.presence import Presence
from explore.search.references import references
from explore.search.storage import check_url, dashboard, storage_url
from explore.search.study import (
    SearchFailed,
    baselines,
    open_study,
    prepare_study,
)
from quantize import audit, runtimes

PHASE = "phase"  # user attribute of the study: reference, candidates, finalists, done


def search(config: SearchConfig, display: Display) -> Summary:
    """Run or go on with the study of `config`.

    Raises:
        InputError: the configuration, the data, or a folder that holds another study.
        SearchFailed: no front could be made, with the reason.
    """
    space = Space.named(config.space).at(config.scale)
    _check(config, space)
    started = time.time()
    with display, ExitStack() as stack:
        judge = None

        def prepare() -> float:
            nonlocal judge
            display.stage("data")
            judge = open_judge(config, lambda done, total: display.update(done / max(1, total)))
            identity.leave_data(config, judge)
            return judge.mean_pose_mm

        def begin(mean_pose_mm: float) -> None:
            stack.enter_context(live_page(config, mean_pose_mm, display.log))

        study = lead(config, display, prepare=prepare, begin=begin)
        assert judge is not None
        if not any(_finalist(config, finalist.arch).exists() for finalist in read_finalists(config)):
            raise SearchFailed(f"no finalist could be shipped; see {config.folder / 'logs'}")
        fitted = identity.space_of(config)
        others = baselines(config, fitted) | references(config, fitted)
        summary = write_report(config, study, judge, others, time.time() - started)
        keep_people(config.folder, judge, bundles_of(config, config.folder))
    return summary


def lead(
    config: SearchConfig,
    display: Display,
    main: worker.Main = worker.main,
    prepare: Callable[[], float] = lambda: 0.0,
    begin: Callable[[float], None] = lambda mean_pose_mm: None,
) -> optuna.Study:
    """All phases of a study, in workers of this machine whose entry is `main`, and whoever joins them.

    prepare: gets the data ready and gives the mean pose's error in mm; begin: is told it once the study is there.

    Raises:
        InputError: another search leads the study, or it was made with another configuration.
        SearchFailed: it cannot go on, with the reason.
    """
    alone = try_lock(config.folder / "locks" / "parent.lock")
    if alone is None:
        raise InputError(f"{config.folder}: another search runs this study; wait for it, or give --study another name")
    with alone:
        identity.leave(config)
        display.log(f"study {config.folder}, open with: {dashboard(storage_url(config))}")
        for page in devices.pages(config):
            display.log(f"open this on the device and leave it open: {page}")
        mean_pose_mm = prepare()
        space = identity.space_of(config)
        study = prepare_study(config, space)
        with Presence(study, config.lease):
            identity.carry(config, study)
            begin(mean_pose_mm)
            _phases(config, study, space, Board(config, display, mean_pose_mm), main)
    return study


def _phases(config: SearchConfig, study: optuna.Study, space: Space, board: Board, main: worker.Main) -> None:
    """Reference network, candidates, finalists."""
    if not (config.folder / "reference" / "reference.json").exists():
        study.set_user_attr(PHASE, "reference")
        board.stage("reference network", workload.Workload(1))
        run_crew(config, "reference", 1, board, main)
    study.set_user_attr(PHASE, "candidates")
    done = [trial.user_attrs["result"] for trial in completed(study)]
    board.add(done)
    known = [(facts["name"], facts["macs"]) for facts in done]
    work = workload.candidates(config, space, baselines(config, space), known)
    board.stage(f"candidates, {config.trials}", work)
    _run(config, "candidates", board, main)
    chosen = _choose_finalists(config, study)
    last = open_study(config, finalists=True)
    line_up(last, chosen)
    study.set_user_attr(PHASE, "finalists")
    archs = [finalist.arch for finalist in chosen]
    work = workload.finalists(config, archs, [arch for arch in archs if _finalist(config, arch).exists()])
    board.stage(f"finalists, {len(chosen)}", work)
    _run(config, "finalists", board, main)
    study.set_user_attr(PHASE, "done")


def _run(config: SearchConfig, phase: worker.Phase, board: Board, main: worker.Main) -> None:
    def count() -> int:
        """Of all machines, by the files they left: the trials themselves would stay in this process's memory."""
        return sum(1 for _ in (config.folder / phase).glob("*/result.json"))

    if config.ray:
        from explore.search.cluster import run_cluster

        run_cluster(config, phase, board, main, count)
    else:
        run_crew(config, phase, config.processes, board, main, count if config.storage else None)


def _check(config: SearchConfig, space: Space) -> None:
    """Refuse what cannot end well before any time is spent on it."""
    for data in filter(None, (config.data, config.dataset.test_on)):
        check_data(data)
    if config.storage:
        check_url(config.storage)
    if config.ray:
        from explore.search.cluster import connected

        connected(config)
    devices.check(config)
    estimated.check(config, space)
    references(config, space)
    rungs.check(config)
    chosen = check_recipes(config)
    for name in config.every_runtime:
        runtimes.get(name)
        for arch in baselines(config, space).values():
            for tried in chosen:
                audit.check(arch, name, tried)


def completed(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _finalist(config: SearchConfig, arch: Arch) -> Path:
    return config.folder / "finalists" / arch.id / "result.json"


def _choose_finalists(config: SearchConfig, study: optuna.Study) -> list[Finalist]:
    """The networks that go on, the dearest first: along the front, those of the paper that are within max_cost, and
    all that the study compares with.
    """
    trials = completed(study)
    if not trials:
        raise SearchFailed("no candidate finished; the reasons stand in trials.csv and in the log folder")
    kept = [t for t in trials if devices.keeps(config, t.user_attrs["result"])]
    if not kept:
        raise SearchFailed(f"none of {len(trials)} candidates keeps max_ms; try more, or raise it")
    others = references(config, identity.space_of(config))
    ids = {arch.id for arch in others.values()}
    own = [t for t in kept if t.user_attrs["arch"] not in ids] or kept
    chosen = [own[index] for index in choose(np.array([t.values for t in own]), config.finalists)]
    for trial in trials:
        constraint = trial.constraints.get("cost", 0.0) if hasattr(trial, "constraints") else 0.0
        if "baseline" in trial.user_attrs and constraint <= 0:
            chosen.append(trial)
    pairs = [_pair(config, trial) for trial in chosen]
    pairs += [(arch, shipped(config)[0]) for arch in others.values()]
    write_finalists(config, sorted(pairs, key=lambda pair: -cost(pair[0]).macs))
    return read_finalists(config)


def _pair(config: SearchConfig, trial: FrozenTrial) -> tuple[Arch, str]:
    """The network of a finished trial and the recipe that it was judged by."""
    facts = trial.user_attrs
    judged_by = facts.get("recipe", config.recipe)
    path = result_file(config, facts["arch"], judged_by)
    return make_arch(json.loads(path.read_text())["arch"], str(path)), judged_by


def line_up(study: optuna.Study, chosen: list[Finalist]) -> None:
    """A waiting trial for each of the networks that has none yet; those that wait and are not chosen any more end."""
    wanted = {finalist.arch.id for finalist in chosen}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        if trial.user_attrs["arch"] not in wanted:
            drop(study, trial._trial_id, "no longer chosen")
    ended = (TrialState.PRUNED, TrialState.FAIL)
    there = {t.user_attrs["arch"] for t in study.get_trials(deepcopy=False) if t.state not in ended}
    for finalist in chosen:
        if finalist.arch.id not in there:
            facts = {"arch": finalist.arch.id, "network": finalist.arch.model_dump(mode="json")}
            facts |= {"recipes": list(finalist.recipes), NEEDS: LATENCY}
            study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING, user_attrs=facts))
