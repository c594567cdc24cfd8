"""Networks that a bench needs trained: made once, kept beside the rendered data, gone on with where a run stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from arch.files import content_hash
from arch.space import Arch
from explore.config import CandidateConfig
from explore.data.synthetic.dataset import default_cache
from explore.judge import Judge
from explore.train.checkpoint import save_network
from explore.train.loop import train


def trained(arch: Arch, samples: int, judge: Judge, seed: int, progress: Callable[[int, int], None]) -> Path:
    """The checkpoint of a network, trained on `samples` samples of the judge's training part.

    Raises:
        Diverged: the loss is no number.
    """
    config = CandidateConfig(samples=samples)
    made_by = {"config": config.model_dump(mode="json"), "data": judge.train.hash, "seed": seed}
    path = default_cache() / f"bench-{arch.id}-{content_hash(made_by)}" / "weights.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        state = path.with_name("state.safetensors")
        result = train(arch, judge.train, config, seed, state, progress=progress)
        save_network(path, result.net, {"data": judge.train.name, "samples": result.samples, "train_s": result.seconds})
        state.unlink(missing_ok=True)
    return path
