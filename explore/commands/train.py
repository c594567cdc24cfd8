"""`train`: one network on one data set, to a checkpoint."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

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
from explore.train.recipes import PAPER_EPOCHS, RECIPES, augment_for

if TYPE_CHECKING:
    from explore.train.loop import TrainResult

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
    parser.add_argument(
        "--backbone", metavar="FILE", help="weights for the encoder: safetensors, or a torch state_dict"
    )
    parser.add_argument(
        "--precision",
        choices=("f32", "bf16"),
        default="f32",
        help="of forward passes; bf16 pays on GPUs (default: f32)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    parser.add_argument(
        "--evaluations", type=int, default=5, metavar="N", help="test error and a sheet of predictions (default: 5)"
    )
    parser.add_argument("--logs", metavar="FOLDER", help="write TensorBoard logs there")
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
    from explore.train.engine import start_engine
    from explore.train.logs import Logs
    from explore.train.loop import predict, train
    from explore.train.watch import Watch

    out = Path(args.out)
    engine = start_engine(args.device, args.precision)
    first = engine.rank == 0
    logs = Logs(Path(args.logs)) if args.logs and first else None
    with Display(args.json or not first) as display:
        display.stage("data")
        if not first:
            engine.wait()  # the first process renders the embedded set
        judge = open_judge(study, lambda done, total: display.update(done / max(1, total)))
        if first:
            engine.wait()
        _say_skipped(display, judge)
        epochs = args.epochs or (PAPER_EPOCHS if args.recipe == "paper" and not _given(args, "samples") else None)
        if epochs:
            config = config.model_copy(update={"samples": round(epochs * epoch_length(judge.train))})
        if args.recipe == "ours" and not _given(args, "augment"):
            chosen = augment_for(config.samples / epoch_length(judge.train))
            config = config.model_copy(update={"augment": chosen})
        if arch.joints != len(judge.train.skeleton):
            display.log(f"{arch.name}: {len(judge.train.skeleton)} joints as {judge.train.name} has, not {arch.joints}")
            arch = arch.replace(joints=len(judge.train.skeleton))
        display.stage(f"training {arch.name}")
        watch = Watch(judge, display, out.with_name(f"{out.stem}-sheets"), logs, engine.device)
        result = train(
            arch,
            judge.train,
            config,
            study.seed,
            out.with_suffix(".state"),
            Path(args.start) if args.start else None,
            progress=watch.progress,
            workers=args.workers,
            told_loss=watch.told_loss,
            backbone=Path(args.backbone) if args.backbone else None,
            engine=engine,
            evaluate=watch.evaluate,
            evaluations=args.evaluations,
            evaluated=watch.rows,
        )
        for line in result.faults:
            display.log(f"passed over: {line}")
        if not first:
            return 0
        if args.evaluations:
            watch.evaluate(result.net, result.samples // config.batch)
    if logs:
        logs.close()
    flip = judge.test.skeleton.flip_order if args.flip_test else None
    pred = predict(result.net, judge.evaluation.images, flip_order=flip, device=engine.device)
    scores = score(judge.evaluation.to_camera(pred), judge.test)
    facts = {
        "name": arch.name,
        "data": judge.train.name,
        "data_hash": judge.train.hash,
        "skipped": judge.train.skipped,
        "passed_over": list(result.faults),
        "samples": result.samples,
        "seconds": round(result.seconds, 1),
        "loss": result.loss,
        "mpjpe_mm": scores.mpjpe,
        "pa_mpjpe_mm": scores.pa_mpjpe,
        "mean_pose_mm": judge.mean_pose_mm,
        "seed": study.seed,
        "recipe": args.recipe,
        "precision": args.precision,
        "processes": engine.world,
        "evaluations": [{"step": step, "mpjpe_mm": round(error, 2)} for step, error in watch.rows],
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
        _print_summary(scores, result, judge, watch.rows, arch, out)
    return 0


def _print_summary(
    scores: Scores, result: TrainResult, judge: Judge, rows: list[tuple[int, float]], arch: Arch, out: Path
) -> None:
    print(
        f"{arch.name} on {judge.test.name}, {len(judge.test)} frames: MPJPE {scores.mpjpe:.1f} mm, "
        f"PA {scores.pa_mpjpe:.1f} mm (mean pose {judge.mean_pose_mm:.1f})"
    )
    speed = result.samples / result.seconds if result.seconds else 0
    print(f"trained: {result.samples} samples in {result.seconds:.0f} s ({speed:.0f}/s), loss {result.loss:.4f}")
    if len(rows) > 1:
        print("on the way, mm at step: " + ", ".join(f"{error:.1f} at {step}" for step, error in rows))
    root = judge.test.skeleton.names[judge.test.skeleton.root]
    joints = sorted((pair for pair in scores.per_joint.items() if pair[0] != root), key=lambda item: item[1])
    print("joints, mm: best " + ", ".join(f"{name} {error:.0f}" for name, error in joints[:3]), end="; ")
    print("worst " + ", ".join(f"{name} {error:.0f}" for name, error in joints[-3:]))
    actions = sorted(scores.per_action.items(), key=lambda item: item[1])
    if len(actions) > 1:
        print(f"actions, mm: {actions[0][0]} {actions[0][1]:.0f} to {actions[-1][0]} {actions[-1][1]:.0f}")
    print(f"written: {out}, {out.with_suffix('.json')}" + (f", {out.stem}-sheets/" if rows else ""))
    print(f"next: python explore.py export {out}")


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
