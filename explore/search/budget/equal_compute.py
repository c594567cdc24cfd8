"""Equal training compute: finalists are trained for as long as the most expensive one, cheaper ones on more samples.

The training of their candidates counts. With equal samples, all are trained on as many as the most expensive one.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from explore.evaluation.evaluator import rendering_options
from explore.search.budget.plan import read_stored
from explore.search.budget.speed import USUAL_SPEED, Speed
from explore.search.config import SearchConfig
from explore.search.teacher import teacher_macs
from explore.train.config import PASSES

FORWARD = 0.37  # of the time of a training step that depends on MACs (`python -m benchmarks loop`)
MIN_FINAL = 0.15  # smallest final training of the most expensive finalist, as a fraction of its candidate's


def least_final(samples: int) -> int:
    """Return the smallest number of final samples of the most expensive finalist. samples: of its candidate"""
    return max(1, round(MIN_FINAL * samples))


def sample_seconds(config: SearchConfig, speed: Speed, macs: Sequence[float]) -> list[float]:
    """Return the training time of one sample of each finalist, with the prediction of their teacher if there is one."""
    taught = FORWARD * speed.mac_s * teacher_macs(config)
    return [speed.training(each) + taught for each in macs]


def equal_compute(seconds: float, workers: int, per_sample: Sequence[float], seen: int, overhead_s: float) -> float:
    """Return the largest training time of each network with which all end in time; 0 if there is none.

    per_sample, seen, overhead_s: as for `finalist_durations`
    """
    low, high = 0.0, max(0.0, seconds) + seen * max(per_sample)
    for _ in range(50):
        middle = (low + high) / 2
        durations = finalist_durations(per_sample, seen, overhead_s, middle)
        low, high = (middle, high) if makespan(durations, workers) <= seconds else (low, middle)
    return low


def equal_samples(seconds: float, workers: int, per_sample: Sequence[float], seen: int, overhead_s: float) -> int:
    """Return the largest number of samples on which all networks can be trained in time, `seen` ones included."""
    low, high = seen, seen + int(max(0.0, seconds) * workers / min(per_sample)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        durations = finalist_durations(per_sample, seen, overhead_s, None, middle)
        low, high = (middle, high) if makespan(durations, workers) <= seconds else (low, middle)
    return low


def finalist_durations(
    per_sample: Sequence[float], seen: int, overhead_s: float, compute_s: float | None, samples: int = 0
) -> list[float]:
    """Return how long one worker takes for each finalist.

    per_sample: training time of one sample of each network, s
    seen: samples that all were trained on before, which count as training time
    overhead_s: other work on each network
    compute_s: training time of each network; None: all are trained on `samples` samples
    """
    if compute_s is None:
        return [(samples - seen) * s + overhead_s for s in per_sample]
    return [max(0.0, compute_s - seen * s) + overhead_s for s in per_sample]


def makespan(durations: Sequence[float], workers: int) -> float:
    """Return when the last of some tasks ends if each worker takes the longest that is left."""
    ends = [0.0] * workers
    for seconds in sorted(durations, reverse=True):
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def further_samples(config: SearchConfig, macs: float, largest_macs: float, frames: int) -> int:
    """Return the samples that a finalist needs after those that all have, for the training time of the most expensive.

    frames: training frames; those that are rendered are not seen more than PASSES times
    """
    stored = read_stored(config.folder)
    speed = stored.plan.speed if stored else USUAL_SPEED
    largest_s, own_s = sample_seconds(config, speed, (largest_macs, macs))
    seen = config.candidate.samples + config.final.samples
    samples = int(seen * largest_s / own_s)
    if rendering_options(config.data_config) is not None:
        samples = min(samples, max(seen, PASSES * frames))
    return samples - seen if samples - seen >= config.final.batch_size else 0
