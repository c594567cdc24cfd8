"""The time budget of a search: its numbers are planned from the speed of the machine, and it ends on time.

A plan is a pure function of the speed, the budget and the numbers that the user gave, which it never changes. It is
stored in the study, so that a resumed search keeps it; the time that earlier runs took is counted.

- Candidates get CANDIDATE_SHARE of the time. Their number and their training samples grow with it. In 3,200 samples
  networks rank nearly as after 40,000 (`python -m benchmarks estimators`), in 1,600 they do not.
- Finalists, the paper's networks among them, get the rest in equal parts: equal training compute, not equal samples.
  Their number of samples is decided when the candidates are finished, from the time that is left. If the budget is too
  small for all of the paper's networks, the most expensive ones are left out first.
- Rendered frames suffice for about PASSES passes of networks as cheap as the paper's cheapest; cheaper finalists stop
  there.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch
from explore.evaluation.evaluator import rendering_options
from explore.search.budget.equal_compute import (
    MIN_FINAL,
    equal_compute,
    equal_samples,
    finalist_durations,
    least_final,
    makespan,
)
from explore.search.budget.plan import Plan, clock_text, given_keys
from explore.search.budget.speed import Speed
from explore.search.config import SearchConfig
from explore.train.config import PASSES

CANDIDATE_SHARE = 0.4  # of the workers' time, for candidates
MAX_CANDIDATE_SHARE = 0.6  # where the smallest plan does not fit
USUAL = 1440.0  # s of workers' time that are left for candidates and finalists in 15 minutes on two cores
USUAL_SAMPLES, SAMPLES_GROWTH = 3200, 0.6  # of a candidate in that time, and the exponent with which they grow
MIN_SAMPLES, MAX_SAMPLES = 200, 100_000
USUAL_FINALISTS, MAX_FINALISTS = 3, 10
LONG_CANDIDATE, RUNG = 8000, 0.25  # candidates with so many samples have one rung, at this fraction
DRAWS = 40  # networks that stand for the space
FRAMES = (1500, 3000, 6000, 12_000, 24_000, 48_000, 96_000, 192_000)  # steps, so that rendered sets are used again
MIN_OWN = 4  # networks of the space among the candidates
MAX_RENDERING = 0.3  # of the time for candidates and finalists
RESERVE = 0.02  # of the budget, besides the time that the reports take


@dataclass(frozen=True)
class Load:
    """The training work of a search.

    candidate_macs: mean MACs of the networks of the space within the limits
    baselines: MACs of the paper's networks, which the search tries first, by the name of their preset
    frames_to_render: returns how many frames have to be rendered for a number of training frames
    """

    candidate_macs: float
    baselines: dict[str, float]
    frames_to_render: Callable[[int], int] = lambda train_frames: 0


def drawn_networks(config: SearchConfig, space: Space) -> list[Arch]:
    """Return random networks of the space within the limit of MACs, always the same."""
    rng = random.Random(config.seed)
    drawn = [space.sample(rng) for _ in range(DRAWS)]
    return [arch for arch in drawn if cost(arch).macs <= config.mac_limit] or drawn


def make_plan(config: SearchConfig, workers: int, speed: Speed, load: Load, spent_s: float = 0.0) -> Plan:
    """Plan the numbers that were not given.

    workers: on this machine
    spent_s: time of the search so far

    Raises:
        InputError: the budget is too small for one candidate and one finalist.
    """
    given = given_keys(config)
    _check_budget(config, speed, load, spent_s)
    cheapest = min([load.candidate_macs, *load.baselines.values()])
    names = (config.references,) if "references" in given else _without_the_most_expensive(load.baselines)
    frames = (config.dataset.train_frames,) if "dataset.train_frames" in given else FRAMES
    for references in names:
        best: Plan | None = None
        for train_frames in frames:
            planner = _Planner(config, workers, speed, load, spent_s, references, train_frames)
            plan, fits = planner.plan()
            if best is not None and (not fits or planner.rendering_s > MAX_RENDERING * planner.wall_s):
                break
            if fits or "candidate.samples" in given:
                best = plan
            if plan.compute_s <= 1.25 * PASSES * train_frames * speed.training(cheapest):
                break
        if best is not None:
            return best
    return _Planner(config, workers, speed, load, spent_s, names[-1], frames[0], is_smallest=True).plan()[0]


def _without_the_most_expensive(baselines: dict[str, float]) -> list[tuple[str, ...]]:
    """Return the names of all networks, then those without the most expensive one, and so on; the last entry is empty."""
    limits = sorted(baselines.values(), reverse=True)
    return [tuple(baselines), *(tuple(name for name, macs in baselines.items() if macs < limit) for limit in limits)]


def _check_budget(config: SearchConfig, speed: Speed, load: Load, spent_s: float) -> None:
    """Raise InputError if one candidate and one finalist do not fit."""
    given, speed = given_keys(config), speed.slower(1 / speed.busy, 1 / speed.busy)  # as on an idle machine
    samples = config.candidate.samples if "candidate.samples" in given else MIN_SAMPLES
    final = config.final.samples if "final.samples" in given else MIN_FINAL * samples
    frames = config.dataset.train_frames if "dataset.train_frames" in given else FRAMES[0]
    candidate = speed.training(load.candidate_macs, samples) + speed.candidate_s
    finalist = speed.training(load.candidate_macs, final) + speed.finalist_s
    others = speed.reference_s + speed.report_s + load.frames_to_render(frames) * speed.frame_s
    needed = (spent_s + others + candidate + finalist) / (1 - RESERVE)
    if needed > config.budget_s:
        raise InputError(
            f"budget: {config.budget}: too small for one candidate of {samples} samples, which takes "
            f"{clock_text(candidate)}, and one finalist, {clock_text(finalist)}, after {clock_text(spent_s + others)} "
            f"for data, reference network and reports; give at least {max(1, math.ceil(needed / 60))}m"
        )


@dataclass(frozen=True)
class _Planner:
    """One attempt at a plan. is_smallest: with as few networks as possible"""

    config: SearchConfig
    workers: int
    speed: Speed
    load: Load
    spent_s: float
    references: tuple[str, ...]
    train_frames: int
    is_smallest: bool = False

    @property
    def rendering_s(self) -> float:
        return self.load.frames_to_render(self.train_frames) * self.speed.frame_s

    @property
    def before_reports_s(self) -> float:
        return self.config.budget_s * (1 - RESERVE) - self.speed.report_s

    @property
    def wall_s(self) -> float:
        """Time for candidates and finalists."""
        return self.before_reports_s - self.spent_s - self.speed.reference_s - self.rendering_s

    def plan(self) -> tuple[Plan, bool]:
        """Return the plan with the longest training of candidates that fits, and whether it fits."""
        if "candidate.samples" in given_keys(self.config):
            return self._with_samples(self.config.candidate.samples)
        wanted = USUAL_SAMPLES * self._share**SAMPLES_GROWTH
        samples = min(MAX_SAMPLES, max(MIN_SAMPLES, _rounded(wanted)))
        least = max(MIN_SAMPLES, _rounded(wanted / 2)) if self.references else MIN_SAMPLES
        while True:
            plan, fits = self._with_samples(samples)
            if fits or samples <= least:
                return plan, fits
            samples = max(least, _rounded(0.85 * samples))

    @property
    def _share(self) -> float:
        """Return the workers' time as a fraction of the usual one."""
        return max(1e-3, self.wall_s * self.workers / USUAL)

    def _with_samples(self, samples: int) -> tuple[Plan, bool]:
        config, speed, given, workers = self.config, self.speed, given_keys(self.config), self.workers
        full = config.estimator == "full"
        rungs = config.rungs if "rungs" in given or not full else (RUNG,) if samples >= LONG_CANDIDATE else ()
        own = self._candidate_s(samples, rungs)
        trained = config.estimator in ("full", "inherit", "predictor")  # of which the last two start with full training
        first = [speed.training(macs, samples) * trained + speed.candidate_s for macs in self.load.baselines.values()]
        share_s = CANDIDATE_SHARE * self.wall_s * workers
        affordable = 0 if self.is_smallest else len(first) + int((share_s - sum(first)) / own)
        fits = affordable >= len(first) + MIN_OWN
        expected = max(len(first) + 1, affordable)
        # As many as an idle machine evaluates in the time, which ends the phase.
        trials = max(expected, len(first) + int((share_s * speed.busy - sum(first)) / own))
        if "trials" in given:
            fits, expected, trials = True, config.trials, config.trials
        starting_s = (sum(first[:expected]) + own * max(0, expected - len(first))) / workers
        candidates_s = starting_s + own / 2
        ends_s = min(max(starting_s, CANDIDATE_SHARE * self.wall_s), MAX_CANDIDATE_SHARE * self.wall_s)
        finalists = config.finalists if "finalists" in given else self._finalists()

        macs = [self.load.baselines.get(name, self.load.candidate_macs) for name in self.references]
        per_sample = [speed.training(m) for m in (*macs, *[self.load.candidate_macs * 1.5] * finalists)]
        seen = samples if full else 0
        equal = config.equal_compute if "equal_compute" in given else "final.samples" not in given
        if "final.samples" in given:
            final = config.final.samples
            compute = (samples + final) * max(per_sample)
        else:
            left_s = self.wall_s - candidates_s
            if equal:
                compute = equal_compute(left_s, workers, per_sample, seen, speed.finalist_s)
            else:
                compute = max(per_sample) * equal_samples(left_s, workers, per_sample, seen, speed.finalist_s)
            final = int(compute / max(per_sample)) - samples
            least = least_final(samples)
            fits = fits and final >= least
            final = max(least, _rounded(final))
            compute = max(compute, (samples + final) * max(per_sample))
        durations = finalist_durations(per_sample, seen, speed.finalist_s, compute if equal else None, samples + final)
        finalists_s = makespan(durations, workers)
        before = self.before_reports_s - self.wall_s
        plan = Plan(
            budget=config.budget,
            budget_s=config.budget_s,
            workers=workers,
            speed=speed,
            given=given,
            trials=trials,
            samples=samples,
            rungs=rungs,
            finalists=finalists,
            references=self.references,
            final_samples=final,
            equal_compute=equal,
            train_frames=self.train_frames,
            renders=rendering_options(config.data_config) is not None,
            candidates_until_s=None if "trials" in given else before + ends_s,
            finalists_until_s=None if "final.samples" in given else self.before_reports_s,
            expected_s=before + candidates_s + finalists_s + speed.report_s,
            compute_s=compute,
        )
        return plan, fits

    def _candidate_s(self, samples: int, rungs: tuple[float, ...]) -> float:
        """Return the expected time of one candidate of the space."""
        estimate = self.config.estimate.samples
        samples = {
            "full": samples,
            "short": min(samples, 2 * estimate),
            "inherit": min(samples, estimate),
            "supernet": 0,
            "predictor": samples,
        }[self.config.estimator]
        part, before = 0.0, 0.0
        for index, rung in enumerate((*rungs, 1.0)):
            part += (rung - before) * self.config.eta**-index
            before = rung
        return self.speed.training(self.load.candidate_macs, samples * part) + self.speed.candidate_s

    def _finalists(self) -> int:
        """Return a number of own finalists that leaves no worker idle at the end, if there are few workers."""
        if self.is_smallest:
            return 1
        count = min(MAX_FINALISTS, max(1, round(USUAL_FINALISTS + math.log2(self._share))))
        total = count + len(self.references)
        workers = min(self.workers, MAX_FINALISTS)
        return count + (-total) % workers


def _rounded(samples: float) -> int:
    """Return a number with two significant digits, rounded down."""
    digits = 10 ** max(0, len(str(int(samples))) - 2)
    return int(samples) // digits * digits
