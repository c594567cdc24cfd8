"""`train`: one network on one data set, to a checkpoint."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from arch.cost import cost
from arch.files import write_atomic
from arch.space import Arch, named_arch
from explore.commands import train_supernet
from explore.config import SearchConfig, TrainConfig
from explore.data.crop import epoch_length
from explore.judge import Judge
from explore.metrics import Scores, score
from explore.options import add_options, from_options, take
from explore.progress import Display
from explore.train.recipes import PAPER_EPOCHS, RECIPES

EXAMPLE = "python explore.py train --arch paper-XS-relu@64 --samples 20000 --out xs.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--arch", metavar="NAME|FILE", help="a preset such as paper-S@64, or a YAML file")
    what.add_argument("--supernet", metavar="SPACE", help="one set of weights for all networks of a space, see elastic")
    parser.add_argument("--scale", type=int, default=64, metavar="PX", help="input of a supernet (default: 64)")
    parser.add_argument(
        "--subnets", type=int, default=2, metavar="N", help="random networks of a supernet's step (default: 2)"
    )
    parser.add_argument(
        "--out", default="net.safetensors", metavar="FILE", help="checkpoint (default: net.safetensors)"
    )
    parser.add_argument("--start", metavar="FILE", help="checkpoint of the same network to start from")
    parser.add_argument(
        "--recipe",
        choices=tuple(RECIPES),
        default="ours",
        help=f"values that the options below change; paper: {PAPER_EPOCHS} epochs as published (default: ours)",
    )
    parser.add_argument("--epochs", type=_epochs, metavar="N", help="length in epochs of the data, instead of samples")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that load batches (default: 0)")
    parser.add_argument("--flip-test", action="store_true", help="judge by the mean with the mirrored picture's answer")
    add_options(parser, TrainConfig)
    add_options(parser, SearchConfig, only=("data", "dataset", "seed"))


def _epochs(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("give more than 0")
    return value


def run(args: argparse.Namespace) -> int:
    if args.supernet:
        return train_supernet.run(args)
    config = from_options(args, TrainConfig, RECIPES[args.recipe])
    arch = named_arch(args.arch)
    study = take(args, SearchConfig, {"scale": arch.input})
    from explore.search.dataset import open_judge
    from explore.train.checkpoint import save_network
    from explore.train.loop import predict, train

    out = Path(args.out)
    with Display(args.json) as display:
        display.stage("data")
        judge = open_judge(study, lambda done, total: display.update(done / max(1, total)))
        _say_skipped(display, judge)
        epochs = args.epochs or (PAPER_EPOCHS if args.recipe == "paper" and not _given(args, "samples") else None)
        if epochs:
            config = config.model_copy(update={"samples": round(epochs * epoch_length(judge.train))})
        display.stage(f"training {arch.name}")
        shown = _Loss()
        result = train(
            arch,
            judge.train,
            config,
            study.seed,
            out.with_suffix(".state"),
            Path(args.start) if args.start else None,
            progress=lambda done, total: display.update(done / total, f"loss {shown.mean:.4f}"),
            workers=args.workers,
            told_loss=shown.add,
        )
        for line in result.faults:
            display.log(f"passed over: {line}")
    flip = judge.test.skeleton.flip_order if args.flip_test else None
    pred = predict(result.net, judge.evaluation.images, flip_order=flip)
    scores = score(judge.evaluation.to_camera(pred), judge.test)
    facts = {
        "name": arch.name,
        "data": judge.train.name,
        "data_hash": judge.train.hash,
        "samples": result.samples,
        "seconds": round(result.seconds, 1),
        "loss": result.loss,
        "mpjpe_mm": scores.mpjpe,
        "pa_mpjpe_mm": scores.pa_mpjpe,
        "mean_pose_mm": judge.mean_pose_mm,
        "seed": study.seed,
        "recipe": args.recipe,
        "config": config.model_dump(mode="json"),
    }
    save_network(out, result.net, facts)
    write_atomic(
        out.with_suffix(".json"), json.dumps(facts | _scores(scores, judge, arch, study, args.flip_test), indent=1)
    )
    out.with_suffix(".state").unlink(missing_ok=True)
    if args.json:
        print(json.dumps(facts | {"checkpoint": str(out), "result": str(out.with_suffix(".json"))}))
    else:
        print(
            f"{arch.name} on {judge.test.name}: MPJPE {scores.mpjpe:.1f} mm, PA {scores.pa_mpjpe:.1f} mm "
            f"(mean pose {judge.mean_pose_mm:.1f}), {result.samples} samples in {result.seconds:.0f} s"
        )
        print(f"written: {out}, {out.with_suffix('.json')}\nnext: python explore.py export {out}")
    return 0


def _scores(scores: Scores, judge: Judge, arch: Arch, study: SearchConfig, flip_test: bool) -> dict[str, object]:
    """What `report --tables` and a reader want to know beyond the checkpoint's facts."""
    return {
        "test": judge.test.name,
        "test_hash": judge.test.hash,
        "test_samples": len(judge.test),
        "protocol": study.dataset.protocol,
        "root_depth": "detected" if study.dataset.detected else "annotated",
        "flip_test": flip_test,
        "params": cost(arch).params,
        "pck_rel": scores.pck_rel,
        "auc": scores.auc,
        "rigid_mpjpe_mm": scores.rigid_mpjpe,
        "per_joint_mm": scores.per_joint,
        "per_action_mm": scores.per_action,
        "rigid_per_action_mm": scores.rigid_per_action,
        "sequences": {name: vars(found) for name, found in scores.sequences.items()},
    }


def _given(args: argparse.Namespace, key: str) -> bool:
    """Whether an option or the configuration file names the key."""
    from explore.config import load_yaml

    return hasattr(args, key) or bool(args.config and key in (load_yaml(args.config) or {}))


def _say_skipped(display: Display, judge: Judge) -> None:
    for data in (judge.train, judge.test):
        if data.skipped:
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(data.skipped.items()))
            display.log(f"{data.name} ({data.split}): {len(data)} samples, skipped as faulty: {counts}; see data check")


class _Loss:
    """The recent loss, smoothed for the eye."""

    mean = float("nan")

    def add(self, step: int, loss: float) -> None:
        self.mean = loss if self.mean != self.mean else 0.95 * self.mean + 0.05 * loss
