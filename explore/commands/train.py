"""`train`: one network on one data set, to a checkpoint."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from arch.space import named_arch
from explore.config import SearchConfig, TrainConfig
from explore.options import add_options, from_options, take
from explore.progress import Display

EXAMPLE = "python explore.py train --arch paper-XS-relu@64 --samples 20000 --out xs.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--arch", required=True, metavar="NAME|FILE", help="a preset such as paper-S@64, or a YAML file"
    )
    parser.add_argument(
        "--out", default="net.safetensors", metavar="FILE", help="checkpoint (default: net.safetensors)"
    )
    parser.add_argument("--start", metavar="FILE", help="checkpoint of the same network to start from")
    add_options(parser, TrainConfig)
    add_options(parser, SearchConfig, only=("data", "dataset", "seed"))


def run(args: argparse.Namespace) -> int:
    config = from_options(args, TrainConfig)
    arch = named_arch(args.arch)
    study = take(args, SearchConfig, {"scale": arch.input})
    from explore.search.dataset import open_judge
    from explore.train.checkpoint import save_network
    from explore.train.loop import predict, train

    out = Path(args.out)
    with Display(args.json) as display:
        display.stage("data")
        judge = open_judge(study, lambda done, total: display.update(done / max(1, total)))
        display.stage(f"training {arch.name}")
        result = train(
            arch,
            judge.train,
            config,
            study.seed,
            out.with_suffix(".state"),
            Path(args.start) if args.start else None,
            progress=lambda done, total: display.update(done / total),
        )
    accuracy = judge.score(predict(result.net, judge.evaluation.images))
    facts = {
        "name": arch.name,
        "data": judge.train.name,
        "data_hash": judge.train.hash,
        "samples": result.samples,
        "seconds": round(result.seconds, 1),
        "loss": result.loss,
        "mpjpe_mm": accuracy.mpjpe,
        "pa_mpjpe_mm": accuracy.pa_mpjpe,
        "mean_pose_mm": judge.mean_pose_mm,
        "seed": study.seed,
        "config": config.model_dump(mode="json"),
    }
    save_network(out, result.net, facts)
    out.with_suffix(".state").unlink(missing_ok=True)
    if args.json:
        print(json.dumps(facts | {"checkpoint": str(out)}))
    else:
        print(
            f"{arch.name} on {judge.test.name}: MPJPE {accuracy.mpjpe:.1f} mm, PA {accuracy.pa_mpjpe:.1f} mm "
            f"(mean pose {judge.mean_pose_mm:.1f}), {result.samples} samples in {result.seconds:.0f} s"
        )
        print(f"written: {out}\nnext: python explore.py export {out}")
    return 0
