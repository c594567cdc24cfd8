"""`train`: train one network, or the supernet of a space, and write a checkpoint."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, JsonValue

from arch.errors import InputError
from arch.files import check_output, check_output_folder, remove_leftovers
from explore.config import MAX_WORKERS, PX, load_yaml, parse
from explore.data.config import DataConfig
from explore.host import started_by
from explore.options import add_options, flattened, reject_useless, take
from explore.train.config import (
    PAPER_EPOCHS,
    PRESETS,
    SUPERNET_PRESET,
    Device,
    TrainConfig,
    default_augment,
    frames_for,
)
from quantize.environment import usable_cores

if TYPE_CHECKING:
    from arch.space import Arch
    from explore.evaluation.evaluator import Evaluator
    from explore.evaluation.intervals import Interval
    from explore.evaluation.metrics import Scores
    from explore.train.loop import TrainResult

FILE: dict[str, JsonValue] = {"metavar": "FILE"}
EXAMPLE = "python explore.py train --arch paper-XS-relu@64 --samples 20000 --out xs.safetensors"


class RunConfig(DataConfig):
    """Options of `train` besides those of TrainConfig."""

    renamed: ClassVar[dict[str, str]] = {"scale": "input_size", "start": "init_from", "recipe": "preset"}

    input_size: int = Field(64, ge=32, description="input size of a supernet", json_schema_extra=PX)
    subnets: int = Field(2, ge=0, description="random subnets per step of a supernet")
    out: str = Field("net.safetensors", description="checkpoint to write", json_schema_extra=FILE)
    init_from: str = Field(
        "", description="checkpoint of the same network, at any input size, to start from", json_schema_extra=FILE
    )
    backbone: str = Field(
        "", description="initial weights of the encoder: safetensors, or a torch state_dict", json_schema_extra=FILE
    )
    preset: Literal["ours", "paper"] = Field(
        "ours", description=f"defaults of the training options; paper: as published, {PAPER_EPOCHS} epochs"
    )
    epochs: float | None = Field(None, gt=0, description="length of the run in epochs, instead of --samples")
    workers: int = Field(0, ge=0, le=MAX_WORKERS, description="processes that load batches")
    precision: Literal["auto", "f32", "bf16"] = Field(
        "auto", description="precision of forward passes; auto: bf16 on a GPU where a short trial is faster, else f32"
    )
    device: Device = Field(
        "auto",
        description="where to train and evaluate: cpu, cuda, cuda:N, mps, or auto: a GPU if there is one",
        json_schema_extra={"metavar": "DEVICE"},
    )
    evaluations: int = Field(
        5,
        ge=0,
        description="number of evaluations during the run, each with a sheet of predictions; with init-from, one more "
        "before the first step",
    )
    logs: str = Field("", description="folder for TensorBoard logs", json_schema_extra={"metavar": "FOLDER"})
    seed: int = Field(0, ge=0, description="seed of weights and batches")


class FileConfig(RunConfig, TrainConfig):
    """Keys of the file of --config."""

    renamed: ClassVar[dict[str, str]] = RunConfig.renamed | TrainConfig.renamed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="YAML file with any of the keys of data, run and training")
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--arch", metavar="NAME|FILE", help="network: a preset such as paper-S@64, or a YAML file")
    network.add_argument("--supernet", metavar="SPACE", help="train one set of weights for all networks of a space")
    add_options(parser, RunConfig, only=tuple(RunConfig.model_fields))
    parser.add_argument(
        "--flip-test", action="store_true", help="average test predictions with those for the mirrored image"
    )
    add_options(parser.add_argument_group("training"), TrainConfig, only=tuple(TrainConfig.model_fields))


def run(args: argparse.Namespace) -> int:
    if args.config:
        given = parse(FileConfig, load_yaml(args.config), args.config).model_dump(exclude_unset=True)
        args = argparse.Namespace(**flattened(given) | vars(args))
    out = Path(getattr(args, "out", RunConfig.model_fields["out"].default))
    check_output(out, "--out", ".safetensors")
    for suffix in (".state", ".json"):
        check_output(out.with_suffix(suffix), f"--out {out}:")
    check_output_folder(out.with_name(f"{out.stem}-sheets"), f"--out {out}:")
    if logs := getattr(args, "logs", ""):
        check_output_folder(logs, "--logs")
    remove_leftovers(out.parent)
    return _train_supernet(args) if args.supernet else _train_network(args)


def _train_network(args: argparse.Namespace) -> int:
    from arch.files import write_atomic
    from arch.network import build
    from arch.space import named_arch
    from explore.data.batches import epoch_length
    from explore.data.sample import training_notes
    from explore.evaluation.evaluator import evaluation_note, open_evaluator
    from explore.evaluation.metrics import score
    from explore.progress import Display
    from explore.train.backbone import load_backbone
    from explore.train.distill import make_objective, open_teacher
    from explore.train.engine import start_engine
    from explore.train.identity import data_identity
    from explore.train.loop import predict, train
    from explore.train.monitor import TrainingMonitor, open_tensorboard, run_facts
    from explore.train.precision import with_precision
    from explore.train.provenance import trained_on
    from quantize.checkpoint import load_network, save_network

    if hasattr(args, "input_size"):
        raise InputError("--input-size: has no effect with --arch; add the size to the name, such as paper-S@64")
    reject_useless(args, ("subnets",), "with --arch")
    arch = named_arch(args.arch)
    options = take(args, RunConfig, {"input_size": arch.input_size})
    config = take(args, TrainConfig, dict(PRESETS[options.preset]))
    if options.epochs:
        reject_useless(args, ("samples",), "with --epochs")
    if options.epochs is None and (options.preset == "ours" or "samples" in config.model_fields_set):
        options = _with_frames(args, options, config.samples)
    out = Path(options.out)
    engine = start_engine(options.device)
    if config.teacher:  # these files are read before the data is rendered, too
        open_teacher(config.teacher, None)
    if options.init_from:
        reject_useless(args, ("backbone",), "with --init-from")
        load_network(options.init_from)
    if options.backbone:
        load_backbone(build(arch, options.seed), Path(options.backbone))
    logger = open_tensorboard(Path(options.logs)) if options.logs and engine.is_main_process else None
    with Display(args.json or not engine.is_main_process) as display:
        display.stage("data")
        if not engine.is_main_process:
            engine.barrier()  # the main process renders the embedded set
        evaluator = open_evaluator(options, usable_cores(), lambda done, total: display.update(done / max(1, total)))
        if engine.is_main_process:
            engine.barrier()
        for line in training_notes(evaluator.train, evaluator.data):
            display.log(line)
        for key in sorted(options.dataset.model_fields_set & {"val_subjects", "val_fraction", "val_frames"}):
            display.log(
                f"note: dataset.{key}: recorded for export --max-drop; train --arch holds no validation part out"
            )
        config = _with_length(args, options, config, epoch_length(evaluator.train), bool(evaluator.train.masks))
        joints = len(evaluator.train.skeleton)
        if arch.num_joints != joints:
            display.log(f"{arch.name}: changed to {joints} joints, those of {evaluator.train.name}")
            arch = arch.replace(num_joints=joints)
        engine = with_precision(engine, options.precision, arch, config.batch_size)
        teacher = open_teacher(config.teacher, evaluator.train, engine) if config.teacher else None
        objective = make_objective(config, evaluator.train, options.seed, engine, teacher)
        display.stage(f"training {arch.name} on {engine.name}")
        monitor = TrainingMonitor(evaluator, display, out.with_name(f"{out.stem}-sheets"), logger, engine.device)
        tested = {"test_data": data_identity(evaluator.data)} if options.evaluations else {}
        result = train(
            arch,
            evaluator.train,
            config,
            options.seed,
            out.with_suffix(".state"),
            Path(options.init_from) if options.init_from else None,
            progress=monitor.progress,
            workers=options.workers,
            on_loss=monitor.on_loss,
            backbone=Path(options.backbone) if options.backbone else None,
            engine=engine,
            evaluate=monitor.evaluate,
            evaluations=options.evaluations,
            objective=objective,
            history=monitor.history,
            identity={"preset": options.preset, **tested},
        )
        if result.skipped_steps:
            display.log(f"skipped {result.skipped_steps} steps whose loss or gradient was not finite")
        for line in result.errors:
            display.log(f"skipped: {line}")
        if not engine.is_main_process:
            return 0
        if options.evaluations:
            monitor.evaluate(result.net, result.samples // config.batch_size)
    if logger:
        logger.close()
    skeleton = evaluator.data.skeleton
    flip_test = args.flip_test and skeleton.flippable
    flip_order = skeleton.flip_order if flip_test else None
    pred = predict(result.net, evaluator.evaluation.images, flip_order=flip_order, device=engine.device)
    scores = score(evaluator.evaluation.to_camera(pred), evaluator.data)
    interval = evaluator.evaluate(pred).interval
    facts = run_facts(evaluator, result, config, options.seed) | {
        "name": arch.name,
        "skipped": evaluator.train.skipped,
        "passed_over": list(result.errors),
        "mpjpe_mm": scores.mpjpe,
        "mpjpe_interval": asdict(interval) if interval else None,
        "pa_mpjpe_mm": scores.pa_mpjpe,
        "preset": options.preset,
        "precision": engine.precision,
        "trained_with": engine.name,
        "teacher": teacher.label if teacher else None,
        "processes": engine.world_size,
        "evaluations": [{"step": step, "mpjpe_mm": round(error, 2)} for step, error in monitor.history],
    }
    save_network(out, result.net, facts | trained_on(evaluator, options.preset))
    details = _details(scores, evaluator, arch, options, flip_test)
    write_atomic(out.with_suffix(".json"), json.dumps(facts | details, indent=1))
    out.with_suffix(".state").unlink(missing_ok=True)
    if args.json:
        print(json.dumps(facts | {"checkpoint": str(out), "result": str(out.with_suffix(".json"))}))
    else:
        _print_summary(scores, interval, result, evaluator, monitor.history, arch, out, evaluation_note(options))
    return 0


def _train_supernet(args: argparse.Namespace) -> int:
    from arch.elastic import smallest_and_largest
    from arch.search_space import Space
    from explore.progress import Display
    from explore.train.engine import start_engine
    from explore.train.precision import with_precision
    from explore.train.supernet import train_supernet
    from quantize.checkpoint import load_network

    options = take(args, RunConfig, {})
    config = take(args, TrainConfig, dict(SUPERNET_PRESET))
    network_only = ("flip_test", "teacher", "preset", "epochs", "backbone", "logs", "evaluations")
    reject_useless(args, network_only, "with --supernet")
    options = _with_frames(args, options, config.samples)
    space = Space.named(args.supernet).at(options.input_size)
    engine = with_precision(
        start_engine(options.device), options.precision, smallest_and_largest(space)[1], config.batch_size
    )
    init_from, out = Path(options.init_from) if options.init_from else None, Path(options.out)
    if init_from:
        load_network(init_from)  # before the data is rendered
    facts = train_supernet(
        space,
        options,
        config,
        options.seed,
        out,
        Display(args.json),
        options.subnets,
        init_from,
        options.workers,
        usable_cores(),
        engine,
    )
    if args.json:
        print(json.dumps(facts | {"checkpoint": str(out), "result": str(out.with_suffix(".json"))}))
        return 0
    print(f"{facts['name']} on {facts['data']}, {facts['samples']} samples in {facts['seconds']:.0f} s")
    for row in facts["subnets"]:
        print(f"  {row['arch_id']}  MACs {row['macs'] / 1e6:6.1f} M  MPJPE {row['mpjpe_mm']:6.1f} mm")
    print(f"mean-pose baseline: MPJPE {facts['mean_pose_mm']:.1f} mm")
    print(f"written: {out}, {out.with_suffix('.json')}")
    search = ["search", "--space", args.supernet, "--estimator", "supernet", "--estimate.supernet", str(out)]
    print(f"next: {started_by()} {shlex.join([*search, *data_arguments(options)])}")
    return 0


def data_arguments(data: DataConfig) -> list[str]:
    """Return the options that open the same data at the same input size in another command."""
    values = {"data": data.data, "input_size": data.input_size}
    values |= {f"dataset.{key}": value for key, value in data.dataset}
    defaults = {"data": "synthetic:easy", "input_size": 64, **{f"dataset.{k}": v for k, v in type(data.dataset)()}}
    found = []
    for key, value in values.items():
        if value != defaults[key]:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            found += [f"--{key.replace('_', '-')}", text]
    return found


def _with_frames(args: argparse.Namespace, options: RunConfig, samples: int) -> RunConfig:
    """Render enough frames for PASSES passes where their number is not given."""
    if "dataset.train_frames" in vars(args):
        return options
    frames = frames_for(samples, options.dataset.train_frames)
    return options.model_copy(update={"dataset": options.dataset.model_copy(update={"train_frames": frames})})


def _with_length(
    args: argparse.Namespace, options: RunConfig, config: TrainConfig, samples_per_epoch: int, masks: bool
) -> TrainConfig:
    """Convert epochs to samples, and choose the augmentation where the options do not."""
    given = vars(args)
    epochs = options.epochs or (PAPER_EPOCHS if options.preset == "paper" and "samples" not in given else None)
    if epochs:
        config = config.model_copy(update={"samples": max(1, round(epochs * samples_per_epoch))})
    if options.preset == "ours" and "augment" not in given:
        config = config.model_copy(update={"augment": default_augment(config.samples / samples_per_epoch, masks)})
    return config


def _details(scores: Scores, evaluator: Evaluator, arch: Arch, data: DataConfig, flip_test: bool) -> dict[str, Any]:
    """Return the entries of the result file that the checkpoint does not have; `report --tables` reads them."""
    from arch.cost import cost
    from explore.evaluation.evaluator import evaluation_note, tested_human36m

    human36m = tested_human36m(data)
    return {
        "test": evaluator.data.name,
        "test_note": evaluation_note(data),
        "test_hash": evaluator.data.hash,
        "test_samples": len(evaluator.data),
        "protocol": human36m.protocol if human36m and human36m.is_protocol else None,
        "root_depth": "detected" if data.dataset.detected else "annotated",
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


def _print_summary(
    scores: Scores,
    interval: Interval | None,
    result: TrainResult,
    evaluator: Evaluator,
    history: list[tuple[int, float]],
    arch: Arch,
    out: Path,
    note: str,
) -> None:
    test = evaluator.data
    print(f"{arch.name} on {test.name}, {evaluator.part} part, {len(test)} frames ({note})")
    print(
        f"MPJPE {scores.mpjpe:.1f} mm, PA-MPJPE {scores.pa_mpjpe:.1f} mm (mean-pose baseline: MPJPE "
        f"{evaluator.mean_pose_mm:.1f} mm)"
    )
    if interval:
        print(
            f"95% interval of the MPJPE: {interval.low:.1f} to {interval.high:.1f} mm ({interval.units} {interval.unit}s)"
        )
    speed = result.samples / result.seconds if result.seconds else 0
    print(f"trained on {result.samples} samples in {result.seconds:.0f} s ({speed:.0f}/s), loss {result.loss:.4f}")
    if len(history) > 1:
        print("MPJPE mm during training: " + ", ".join(f"step {step}: {error:.1f}" for step, error in history))
    root = test.skeleton.names[test.skeleton.root]
    joints = sorted((pair for pair in scores.per_joint.items() if pair[0] != root), key=lambda item: item[1])
    best, worst = (", ".join(f"{name} {error:.0f}" for name, error in part) for part in (joints[:3], joints[-3:]))
    print(f"MPJPE mm by joint: best {best}; worst {worst}")
    actions = sorted(scores.per_action.items(), key=lambda item: item[1])
    if len(actions) > 1:
        print(f"MPJPE mm by action: {actions[0][0]} {actions[0][1]:.0f} to {actions[-1][0]} {actions[-1][1]:.0f}")
    print(f"written: {out}, {out.with_suffix('.json')}" + (f", {out.with_name(out.stem)}-sheets/" if history else ""))
    print(f"next: {started_by()} {shlex.join(['export', str(out)])}")  # reads the data from the checkpoint
