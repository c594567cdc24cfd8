"""The numbers of a search with a budget, planned at its start, and for finalists after the candidates."""

from __future__ import annotations

import time

import optuna

from arch.cost import cost
from arch.search_space import Space
from explore.evaluation.evaluator import rendering_options
from explore.host import default_cache
from explore.progress import Display
from explore.search.budget.equal_compute import (
    equal_compute,
    equal_samples,
    finalist_durations,
    least_final,
    makespan,
    sample_seconds,
)
from explore.search.budget.pilot import measure_speed
from explore.search.budget.plan import Clock, given_keys, keeps_plan, needs_plan, open_keys, read_stored, without_limit
from explore.search.budget.planner import RESERVE, Load, drawn_networks, make_plan
from explore.search.budget.speed import Trained, observed_speed
from explore.search.config import SearchConfig
from explore.search.finalists import Finalist
from explore.search.rungs import check_rungs, training_seconds
from explore.search.storage.trial_values import result_of
from explore.search.study import baselines, completed
from explore.search.workers.pool import worker_count

FROZEN = ("candidate.samples", "rungs", "dataset.train_frames")  # numbers of a stored plan that results depend on


def planned(config: SearchConfig, display: Display) -> tuple[SearchConfig, Clock | None]:
    """Return the configuration with planned numbers, and the clock of the search; None for a search without a budget.

    A resumed search keeps the plan of its study. With another budget, the remaining numbers are planned again;
    with none, they stay, and the time is no longer limited.

    Raises:
        InputError: the budget is too small, or data or a device cannot be used.
    """
    started = time.monotonic()
    stored = read_stored(config.folder)
    if stored is None and (not needs_plan(config) or (config.folder / "config.yaml").exists()):
        if "budget" in config.model_fields_set and config.budget != "none":
            display.log(f"budget: {config.budget} has no effect: study {config.folder} was started without a plan")
        return config, None
    if stored is not None and config.budget == "none":
        return without_limit(config, stored), None
    spent_s = stored.spent_s if stored else 0.0
    given = given_keys(config)
    if stored is None:
        space = Space.named(config.space).at(config.input_size)
        display.stage("speed of this machine")
        speed = measure_speed(config, space, display)
        plan = make_plan(config, worker_count(config), speed, _search_load(config, space), time.monotonic() - started)
    elif not keeps_plan(config):
        space = Space.named(config.space).at(config.input_size)
        fixed = stored.plan.applied_to(config, FROZEN)
        plan = make_plan(fixed, worker_count(config), stored.plan.speed, _search_load(config, space), spent_s)
        plan = plan.model_copy(update={"given": given})  # the user did not give those of FROZEN
    else:
        plan = stored.plan
    for line in plan.lines:
        display.log(line)
    config = plan.applied_to(config, open_keys(config)).model_copy(update={"budget": plan.budget})
    check_rungs(config)
    return config, Clock(config, plan, spent_s + time.monotonic() - started, given)


def _search_load(config: SearchConfig, space: Space) -> Load:
    """Return the training work of a search."""
    drawn = [cost(arch).macs for arch in drawn_networks(config, space)]
    presets = {name.partition("@")[0]: float(cost(arch).macs) for name, arch in baselines(config, space).items()}
    return Load(sum(drawn) / len(drawn), presets, lambda train_frames: _frames_to_render(config, train_frames))


def _frames_to_render(config: SearchConfig, train_frames: int) -> int:
    """Return how many frames of all parts have to be rendered for a number of training frames."""
    options = rendering_options(config.data_config)
    if options is None:
        return 0
    options = options.model_copy(update={"train_frames": train_frames})
    missing = 0 if (default_cache() / options.name / "dataset.json").is_file() else options.frames
    is_there = (options.validation_folder(default_cache()) / "dataset.json").is_file()
    return missing + (0 if is_there else options.val_frames)


def fit_finalists(config: SearchConfig, study: optuna.Study, finalists: list[Finalist], clock: Clock) -> SearchConfig:
    """Decide from the time that is left how long the finalists are trained; return the configuration with it.

    A decision for the same finalists is kept, since some of them may be trained already, and so is one whose budget is
    spent: other finalists (after a measurement of predicted latencies) would have no time.
    """
    if "final.samples" in clock.given:
        return config
    plan = clock.plan
    ids = tuple(sorted(finalist.arch.id for finalist in finalists))
    speed = observed_speed(plan.speed, _trained_candidates(config, study))
    left = plan.budget_s * (1 - RESERVE) - clock.spent_s - speed.report_s
    if ids == plan.finalists_for or (plan.finalists_for and left <= 0):
        return plan.applied_to(config, ["final.samples"])
    per_sample = sample_seconds(config, speed, [cost(finalist.arch).macs for finalist in finalists])
    samples = config.candidate.samples
    seen = samples if config.estimator == "full" else 0
    workers = worker_count(config)
    if config.equal_compute:
        most = int(equal_compute(left, workers, per_sample, seen, speed.finalist_s) / max(per_sample))
    else:
        most = equal_samples(left, workers, per_sample, seen, speed.finalist_s)
    final = max(least_final(samples), most - samples)
    compute = (samples + final) * max(per_sample)
    equal = compute if config.equal_compute else None
    durations = finalist_durations(per_sample, seen, speed.finalist_s, equal, samples + final)
    clock.plan = plan.model_copy(
        update={
            "finalists_for": ids,
            "final_samples": final,
            "compute_s": compute,
            "expected_s": clock.spent_s + makespan(durations, workers) + speed.report_s,
            "finalists_until_s": plan.budget_s * (1 - RESERVE) - speed.report_s,
            "finalists_s": {f.arch.id: round(s, 1) for f, s in zip(finalists, durations, strict=True)},
        }
    )
    clock.save()
    return clock.plan.applied_to(config, ["final.samples"])


def _trained_candidates(config: SearchConfig, study: optuna.Study) -> list[Trained]:
    """Return the durations of the candidates that this study trained."""
    found = []
    for trial in completed(study):
        result = result_of(config, trial)
        train_s = training_seconds(config, result)
        if result.samples and train_s and not result.cached and trial.duration is not None:
            found.append(Trained(result.macs, result.samples, train_s, trial.duration.total_seconds()))
    return found
