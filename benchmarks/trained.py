"""Trained networks for benchmarks, cached beside the rendered data; an interrupted training continues."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from arch.files import content_hash
from arch.space import Arch
from explore.evaluation.evaluator import Evaluator
from explore.host import default_cache
from explore.train.config import CandidateConfig
from explore.train.loop import train
from explore.train.provenance import trained_on
from quantize.checkpoint import save_network


def trained(arch: Arch, samples: int, evaluator: Evaluator, seed: int, progress: Callable[[int, int], None]) -> Path:
    """Return the checkpoint of a network trained on `samples` samples of the evaluator's training set.

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    config = CandidateConfig(samples=samples)
    made_by = {"config": config.model_dump(mode="json"), "data": evaluator.train.hash, "seed": seed}
    path = default_cache() / f"bench-{arch.id}-{content_hash(made_by)}" / "weights.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        state = path.with_name("state.safetensors")
        result = train(arch, evaluator.train, config, seed, state, progress=progress)
        save_network(
            path,
            result.net,
            {"data": evaluator.train.name, "samples": result.samples, "train_s": result.seconds}
            | trained_on(evaluator),
        )
        state.unlink(missing_ok=True)
    return path
