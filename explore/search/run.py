"""The phases of a search: data, reference network, candidates, finalists. An interrupted search resumes anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import optuna

from arch.errors import InputError
from arch.files import check_output_folder, remove_leftovers
from arch.search_space import Space
from arch.space import Arch
from explore.data import parse_data
from explore.data.sample import training_notes
from explore.evaluation.evaluator import Evaluators, open_evaluators
from explore.host import try_lock
from explore.measure.probe.protocol import allowed_background_load
from explore.progress import Display
from explore.search.budget.plan import Clock
from explore.search.budget.planning import fit_finalists, planned
from explore.search.budget.progress_weights import ProgressWeights, candidate_weights, finalist_weights
from explore.search.config import SearchConfig
from explore.search.costs.objectives import (
    check_limits,
    check_objectives,
    figures,
    is_reference_measured,
    pages_to_open,
    values,
)
from explore.search.costs.predicted_latency import predictor_note
from explore.search.costs.remote_devices import check_devices
from explore.search.finalists import Validation, choose_finalists, read_finalists, set_aside_other_settings
from explore.search.progress import SearchProgress
from explore.search.proposals import size_if_small
from explore.search.recipes_of_trial import check_recipes, label
from explore.search.rungs import check_rungs, is_stopped, last_step
from explore.search.storage import fingerprint
from explore.search.storage.backends import check_storage, dashboard, storage_url
from explore.search.storage.records import candidate_frame_errors
from explore.search.storage.trial_values import result_of
from explore.search.storage.unstarted import (
    check_no_results,
    has_candidates,
    missing_folders,
    nothing_left_on_failure,
    replace_configuration,
)
from explore.search.study import EXHAUSTED, SearchFailed, baselines, completed, prepare_study, references
from explore.search.supernet import check_supernet
from explore.search.teacher import check_teachers
from explore.search.workers import worker
from explore.search.workers.leases import leadership
from explore.search.workers.pool import run_worker_pool, worker_count
from explore.train.engine import find_devices
from quantize import operator_check, runtimes

PHASE = "phase"  # user attribute of the study: reference, candidates, finalists, done


@dataclass(frozen=True)
class Outcome:
    """A finished search.

    config: its configuration, with the numbers of its plan
    study: its candidates
    data: the validation part, on which candidates were chosen, and the test part, on which exported files are evaluated
    references: the networks to compare with, by name
    seconds: duration of this run
    """

    config: SearchConfig
    study: optuna.Study
    data: Evaluators
    references: dict[str, Arch]
    seconds: float


Begin = Callable[[SearchConfig, float], None]
Prepare = Callable[[SearchConfig], Validation]


def search(config: SearchConfig, display: Display, on_start: Begin = lambda config, mean_pose_mm: None) -> Outcome:
    """Run or resume the study of `config`; the numbers that it does not give are planned for its budget.

    on_start: called with the configuration and the error of the mean-pose baseline on the validation part in mm when
        the study is open

    Raises:
        InputError: the configuration, the data, or a folder that holds another study.
        SearchFailed: no front could be found.
    """
    check(config)
    started = time.time()
    parts: list[Evaluators] = []

    def prepare(config: SearchConfig) -> Validation:
        display.stage("data")
        on_test = fingerprint.chooses_on_test(config)
        found = open_evaluators(
            config.data_config, config.processes, lambda done, total: display.update(done / max(1, total)), on_test
        )
        if on_test:
            display.log("study of version 0.1: candidates are evaluated on the test part, on which it chose them")
        for line in training_notes(found.train, found.validation.data, found.test.data):
            display.log(line)
        check_teachers(config, found.train)
        fingerprint.leave_data(config, found)
        parts.append(found)
        return Validation(
            found.validation.mean_pose_mm,
            found.validation.units,
            lambda result: candidate_frame_errors(config, found.validation, result),
            found.validation.part,
        )

    with display:
        config, study = lead(config, display, prepare=prepare, begin=on_start, plan=planned)
        if not any(finalist.result(config) for finalist in read_finalists(config)):
            raise SearchFailed(f"no finalist could be exported; see {config.folder / 'logs'}")
    space = fingerprint.space_of(config)
    others = baselines(config, space) | references(config, space)
    return Outcome(config, study, parts[0], others, time.time() - started)


def check(config: SearchConfig, trains_supernet: bool = False) -> None:
    """Check everything that would make the search fail later.

    trains_supernet: the study's supernet follows

    Raises:
        InputError: one line with the key and the fix.
    """
    space = Space.named(config.space).at(config.input_size)
    for data in filter(None, (config.data, config.dataset.test_on)):
        parse_data(data)
    check_output_folder(config.folder, "--results")
    allowed_background_load()
    url = storage_url(config)
    if config.storage or (config.folder / "study.db").exists():  # otherwise it is created together with the folder
        check_storage(url)
    if config.ray:
        from explore.search.workers.ray_backend import connected

        connected(config)
    chosen = check_recipes(config)
    check_objectives(config, space)
    if not trains_supernet:
        check_supernet(config, space)
    find_devices(config.device)
    check_teachers(config)
    references(config, space)
    check_rungs(config)
    for name in config.every_runtime:
        runtimes.get(name)
        for arch in baselines(config, space).values():
            for recipe in chosen:
                operator_check.check(arch, name, recipe)


def lead(
    config: SearchConfig,
    display: Display,
    main: worker.Main = worker.main,
    prepare: Prepare = lambda config: Validation(),
    begin: Begin = lambda config, mean_pose_mm: None,
    plan: Callable[[SearchConfig, Display], tuple[SearchConfig, Clock | None]] = lambda config, display: (config, None),
) -> tuple[SearchConfig, optuna.Study]:
    """Lead a study through all phases, with workers of this machine whose entry is `main`, and any that join.

    prepare: opens the data
    begin: called with the configuration and the error of the mean-pose baseline in mm when the study is open
    plan: returns the configuration with planned numbers, and the clock of a search with a budget

    Raises:
        InputError: another search leads the study, or it was made with another configuration.
        SearchFailed: the search cannot continue.
    """
    missing = missing_folders(config)
    alone = try_lock(config.folder / "locks" / "parent.lock")
    if alone is None:
        raise InputError(f"{config.folder}: another search runs this study; wait for it, or give --study another name")
    with alone:
        with nothing_left_on_failure(missing):
            remove_leftovers(config.folder, recursive=True)
            if not has_candidates(config):
                check_no_results(config)
                if replace_configuration(config):
                    display.log(f"{config.folder} has no candidate yet; this configuration replaces the earlier one")
            if not is_reference_measured(config):
                check_devices(config)
            config, clock = plan(config, display)
            fingerprint.leave(config)
            display.log(f"study {config.folder}, open with: {dashboard(storage_url(config))}")
            if note := predictor_note(config):
                display.log(note)
            for page in pages_to_open(config):
                display.log(f"open this page on the device and leave it open: {page}")
            validation = prepare(config)
            space = fingerprint.space_of(config)
            study = prepare_study(config, space, validation.mean_pose_mm)
        with leadership(study, config.lease):
            fingerprint.carry(config, study)
            begin(config, validation.mean_pose_mm)
            progress = SearchProgress(config, display, validation.mean_pose_mm, clock)
            config = _run_phases(config, study, space, progress, main, validation)
    return config, study


def _run_phases(
    config: SearchConfig,
    study: optuna.Study,
    space: Space,
    progress: SearchProgress,
    main: worker.Main,
    validation: Validation,
) -> SearchConfig:
    """Run all phases; return the configuration with the final number of samples of the finalists."""
    clock = progress.clock
    if not is_reference_measured(config):
        study.set_user_attr(PHASE, "reference")
        progress.start_phase("reference network", ProgressWeights(1))
        run_worker_pool(config, "reference", 1, progress, main, study)
        check_limits(config, space)  # those of latency are known now
    study.set_user_attr(PHASE, "candidates")
    done = [result_of(config, trial) for trial in completed(study)]
    for result in done:
        progress.status.add(values(config, figures(result)), result.is_measured)
    known = [(label(config, result.arch, result.recipe), float(result.macs), 1.0) for result in done]
    known += [("", float(step.macs), step.share) for step in map(last_step, filter(is_stopped, study.trials))]
    size = size_if_small(config, space)
    if size < config.trials:
        progress.display.log(
            f"space {space.name} has {size} networks, fewer than --trials {config.trials}; all are tried"
        )
    total = config.model_copy(update={"trials": min(config.trials, size)})
    weights = candidate_weights(total, space, baselines(config, space), known)
    if clock is not None:
        clock.start_candidates(is_empty=not done)
    progress.start_phase(f"candidates, {total.trials}, evaluated on the {validation.part} part", weights)
    _run_workers(config, "candidates", progress, main, study)
    if reason := study.user_attrs.get(EXHAUSTED):
        progress.display.log(reason)
    finalists = choose_finalists(config, study, references(config, space), validation)
    if clock is not None:
        config = fit_finalists(config, study, finalists, clock)
        progress.display.log(f"finalists: {clock.plan.finalists_line}")
        fingerprint.leave(config)
        fingerprint.carry(config, study)
    set_aside_other_settings(config, finalists)
    study.set_user_attr(PHASE, "finalists")
    ended = [finalist.arch for finalist in finalists if finalist.result(config)]
    if clock is not None:
        clock.start_finalists(is_empty=not ended)
    progress.start_phase(
        f"finalists, {len(finalists)}, evaluated on the test part",
        finalist_weights(config, [finalist.arch for finalist in finalists], ended),
    )
    _run_workers(config, "finalists", progress, main, study)
    if missing := [finalist.arch.name for finalist in finalists if not finalist.has_ended(config)]:
        progress.display.log(f"the budget is over before {', '.join(missing)}; a larger --budget trains them, too")
    study.set_user_attr(PHASE, "done")
    return config


def _run_workers(
    config: SearchConfig, phase: worker.Phase, progress: SearchProgress, main: worker.Main, study: optuna.Study
) -> None:
    def count() -> int:
        """Count the finished networks of all machines by their files; trials would stay in this process's memory."""
        return sum(1 for _ in (config.folder / phase).glob("*/result*.json"))

    if config.ray:
        from explore.search.workers.ray_backend import run_on_ray

        run_on_ray(config, phase, progress, main, count)
    else:
        run_worker_pool(config, phase, worker_count(config), progress, main, study, count if config.storage else None)
