"""Training a network on its own: what `full`, `short` and `inherit` do, for different lengths and starts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from arch.space import Arch
from explore.config import TrainConfig
from explore.judge import Judge


@dataclass(frozen=True)
class Trained:
    """A network's test error in float, mm, and the CPU seconds that training and judging took."""

    mm: float
    cpu_seconds: float


def train_alone(
    arch: Arch,
    judge: Judge,
    config: TrainConfig,
    seed: int,
    weights: Path,
    start: Path | None = None,
    step_context: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Trained:
    """Train and judge `arch`; leaves its weights, and goes on from a state beside them where one was left.

    Raises:
        Diverged, InputError: as explore.train.loop.train.
    """
    import time

    from explore.train.checkpoint import save_network
    from explore.train.loop import predict, train

    state = weights.with_suffix(".state")
    result = train(arch, judge.train, config, seed, state, start, step_context, progress)
    images = judge.evaluation.images  # decoded once for all networks: no part of their cost
    started = time.process_time()
    mm = judge.score(predict(result.net, images)).mpjpe
    judging = time.process_time() - started
    save_network(weights, result.net, {"data": judge.train.name, "samples": result.samples, "float_mpjpe_mm": mm})
    state.unlink(missing_ok=True)
    return Trained(mm, result.cpu_seconds + judging)
