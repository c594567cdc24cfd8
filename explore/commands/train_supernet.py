"""`train --supernet SPACE`: one set of weights for all networks of a space."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from arch.cost import cost
from arch.elastic import SuperNet
from arch.errors import InputError
from arch.files import write_atomic
from arch.search_space import Space
from explore.config import SearchConfig, TrainConfig
from explore.options import from_options, take
from explore.progress import Display

BASE: dict[str, Any] = {"samples": 40000, "batch": 16, "rate": 4e-3, "augment": "light"}
SUBNETS = 2  # random ones a step
SHOWN = 3  # random subnets that are judged in the end, beside the smallest and the largest


def run(args: argparse.Namespace) -> int:
    """Train, write the checkpoint and what its subnets are worth."""
    for key, given in (("epochs", args.epochs), ("flip-test", args.flip_test), ("recipe", args.recipe != "ours")):
        if given:
            raise InputError(f"--{key}: has no use with --supernet; leave it out")
    config = from_options(args, TrainConfig, BASE)
    study = take(args, SearchConfig, {"scale": args.scale, "space": args.supernet})
    start = Path(args.start) if args.start else None
    out = Path(args.out)
    facts = make_supernet(study, config, out, Display(args.json), args.subnets, start, args.workers)
    if args.json:
        print(json.dumps(facts | {"checkpoint": str(out), "result": str(out.with_suffix(".json"))}))
        return 0
    print(f"{facts['name']} on {facts['data']}, {facts['samples']} samples in {facts['seconds']:.0f} s:")
    for row in facts["subnets"]:
        print(f"  {row['arch_id']}  {row['macs'] / 1e6:6.1f} M MACs  {row['mpjpe_mm']:6.1f} mm")
    print(f"always answering the mean pose: {facts['mean_pose_mm']:.1f} mm")
    print(f"written: {out}, {out.with_suffix('.json')}")
    print(f"next: python explore.py search --space {args.supernet} --estimator supernet --estimate.supernet {out}")
    return 0


def make_supernet(
    study: SearchConfig,
    config: TrainConfig,
    out: Path,
    shown: Display,
    subnets_a_step: int = SUBNETS,
    start: Path | None = None,
    workers: int = 0,
) -> dict[str, Any]:
    """Train the supernet of a study's space on its data; goes on where an earlier call stopped.

    Returns the facts that are left beside the checkpoint, errors of some subnets among them.

    Raises:
        InputError: a space that no supernet can hold, or as explore.train.loop.train.
    """
    space = Space.named(study.space).at(study.scale)
    supernet = SuperNet(space, study.seed)
    from explore.search.dataset import open_judge
    from explore.train.loop import predict, train
    from explore.train.supernet import Sandwich, calibration, ready, save_supernet

    with shown as display:
        display.stage("data")
        judge = open_judge(study, lambda done, total: display.update(done / max(1, total)))
        if space.joints != len(judge.train.skeleton):
            space = space.fit(len(judge.train.skeleton))
            supernet = SuperNet(space, study.seed)
        display.stage(f"training the supernet of {space.name}")
        recent = [float("nan")]

        def told(step: int, loss: float) -> None:
            recent[0] = loss if recent[0] != recent[0] else 0.95 * recent[0] + 0.05 * loss

        result = train(
            supernet.largest,
            judge.train,
            config,
            study.seed,
            out.with_suffix(".state"),
            start,
            progress=lambda done, total: display.update(done / total, f"loss {recent[0]:.4f}"),
            workers=workers,
            told_loss=told,
            objective=Sandwich(supernet, config, study.seed, subnets_a_step),
        )
        display.stage("judging subnets")
        batches = calibration(judge)
        rng = random.Random(study.seed)
        chosen = [supernet.smallest, *(space.sample(rng) for _ in range(SHOWN)), supernet.largest]
        subnets: list[dict[str, Any]] = []
        for index, arch in enumerate(chosen):
            accuracy = judge.score(predict(ready(result.net, arch, batches), judge.evaluation.images))
            subnets.append({"arch_id": arch.id, "macs": cost(arch).macs, "mpjpe_mm": accuracy.mpjpe})
            display.update((index + 1) / len(chosen))
    facts = {
        "name": f"supernet of {space.name}",
        "data": judge.train.name,
        "data_hash": judge.train.hash,
        "samples": result.samples,
        "seconds": round(result.seconds, 1),
        "cpu_seconds": round(result.cpu_seconds, 1),
        "skipped_steps": result.skipped_steps,
        "loss": result.loss,
        "mean_pose_mm": judge.mean_pose_mm,
        "seed": study.seed,
        "subnets_a_step": subnets_a_step,
        "subnets": subnets,
        "config": config.model_dump(mode="json"),
    }
    save_supernet(out, result.net, space, facts)
    write_atomic(out.with_suffix(".json"), json.dumps(facts, indent=1))
    out.with_suffix(".state").unlink(missing_ok=True)
    return facts
