"""A candidate's training: in one run, or in parts that end at the rungs, each from the weights of the one before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.files import write_atomic
from arch.space import Arch
from explore.config import TrainConfig
from explore.estimate.alone import train_alone
from explore.search.rungs import at_rung, samples_at
from explore.ship.files import judged
from explore.train.checkpoint import save_network
from explore.train.loop import predict, train

if TYPE_CHECKING:
    from explore.search.candidate import Bench


def train_to(bench: Bench, arch: Arch, index: int, folder: Path) -> float:
    """Train to the rung of that index unless done; the float network's error in mm.

    A part has a whole schedule of its own, so that a network is judged with its rate run down, and other batches.
    """
    weights = at_rung(bench.config, folder, index)
    record = weights.with_suffix(".json")
    if not record.exists():
        before = samples_at(bench.config, index - 1)
        samples = samples_at(bench.config, index) - before
        found = train_alone(
            arch,
            bench.judge,
            bench.config.candidate.model_copy(update={"samples": samples}),
            bench.config.seed + index,
            weights,
            at_rung(bench.config, folder, index - 1) if index else None,
            bench.lane.work,
            lambda done, total: bench.report("train", before + done, bench.config.candidate.samples),
        )
        write_atomic(record, json.dumps({"samples": before + samples, "float_mpjpe_mm": found.mm}))
    return float(json.loads(record.read_text())["float_mpjpe_mm"])


def train_candidate(bench: Bench, arch: Arch, folder: Path) -> dict[str, Any]:
    """Train a candidate in full unless done, from its last rung where there are rungs; the figures are returned."""
    config, last = bench.config, len(bench.config.rungs) - 1
    if last < 0:
        return train_fully(bench, arch, config.candidate, folder)
    train_to(bench, arch, last, folder)
    seen = samples_at(config, last)
    rest = config.candidate.model_copy(update={"samples": config.candidate.samples - seen})
    onward = replace(bench, report=lambda stage, done, total: bench.report(stage, seen + done, seen + total))
    return train_fully(onward, arch, rest, folder, at_rung(config, folder, last), seen, config.seed + last + 1)


def train_fully(
    bench: Bench,
    arch: Arch,
    settings: TrainConfig,
    folder: Path,
    start: Path | None = None,
    seen: int = 0,
    seed: int | None = None,
) -> dict[str, Any]:
    """Train unless done, from the weights `start` that have seen so many samples; the float network's figures.

    Weights are left in `weights.safetensors`, the network's joints on the test part, camera mm, in `torch.npy`.
    """
    if (folder / "trained.json").exists() and (folder / "torch.npy").exists():
        return json.loads((folder / "trained.json").read_text())  # type: ignore[no-any-return]
    state = folder / "state.safetensors"
    result = train(
        arch,
        bench.judge.train,
        settings,
        bench.config.seed if seed is None else seed,
        state,
        start,
        bench.lane.work,
        lambda done, total: bench.report("train", done, total),
    )
    with bench.lane.work():
        stage = judged(bench.judge, predict(result.net, bench.judge.evaluation.images))
    facts = {
        "samples": seen + result.samples,
        "train_s": round(result.seconds, 1),
        "loss": result.loss,
        "skipped_steps": result.skipped_steps,
        "float_mpjpe_mm": stage.accuracy.mpjpe,
        "float_pa_mpjpe_mm": stage.accuracy.pa_mpjpe,
    }
    save_network(folder / "weights.safetensors", result.net, {"data": bench.judge.train.name, **facts})
    np.save(folder / "torch.npy", stage.mm)
    write_atomic(folder / "trained.json", json.dumps(facts, indent=2))
    state.unlink(missing_ok=True)
    return facts
