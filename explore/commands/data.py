"""`data`: render the embedded data set, label photos and videos, convert landmarks, or check a data set."""

from __future__ import annotations

import argparse
import json
import shlex
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from arch.errors import InputError, did_you_mean
from arch.files import check_output, check_output_folder, write_atomic
from explore.commands import label
from explore.config import parse
from explore.data import SYNTHETIC_LEVELS, parse_data
from explore.data.config import DataConfig, DatasetConfig
from explore.data.readers import READERS
from explore.host import started_by
from explore.options import add_options, take
from explore.progress import Display
from quantize.environment import usable_cores

if TYPE_CHECKING:
    from explore.data.validate import Report

EXAMPLE = "python explore.py data check human36m:/data/Human36M"
RENDERING = (
    "train_frames",
    "val_frames",
    "test_frames",
    "seed",
    "poses",
    "skeleton",
    "framing",
)  # settings of DatasetConfig
PARTS = (
    "train_subjects",
    "test_subjects",
    "val_subjects",
    "train_step",
    "test_step",
    "protocol",
    "val_fraction",
    "framing",
)
SHOWN = 24  # frames on a contact sheet
LISTED = 8  # problems of a kind that are printed; --json prints all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="synth|check|convert|label")
    text = "render the embedded data set and print its folder"
    example = "example: python explore.py data synth --level full --train-frames 4000 --sheet sheet.png"
    synth = actions.add_parser("synth", help=text, description=text, epilog=example)
    text = (
        "easy: seen from the front, plain; full: from all sides, surroundings of panoramas, occluders (default: easy)"
    )
    synth.add_argument("--level", default="easy", metavar="|".join(SYNTHETIC_LEVELS), help=text)
    add_options(synth, DatasetConfig, only=RENDERING)
    synth.add_argument("--frame", type=int, default=128, metavar="PX", help="side of a frame (default: %(default)s)")
    text = "folder of rendered sets (default: the variable EDGEPOSE_CACHE, or ~/.cache/edgepose)"
    synth.add_argument("--cache", type=Path, metavar="DIR", help=text)
    text = "number of processes (default: one per core)"
    synth.add_argument("--workers", type=int, default=0, metavar="N", help=text)
    synth.add_argument("--sheet", type=Path, metavar="PNG", help="also write a contact sheet")

    text = "list the problems of a data set; the exit status is 1 if there are any"
    check = actions.add_parser("check", help=text, description=text, epilog=f"example: {EXAMPLE}")
    check.add_argument("data", metavar="READER:PATH", help=f"READER is one of {', '.join(READERS)}")
    check.add_argument(
        "--decode", type=int, default=200, metavar="N", help="images to decode per subject or split (default: 200)"
    )
    check.add_argument("--sheet", type=Path, metavar="PNG", help="contact sheet (default: READER-check.png)")
    add_options(check.add_argument_group("parts, as in train and search"), DatasetConfig, "dataset.", only=PARTS)
    text = "make a custom set from landmarks of MediaPipe Pose (JSON, CSV) or joints of SMPL (NPZ, JSON)"
    example = "example: python explore.py data convert landmarks.json --images photos/ --out sets/mine"
    converting = actions.add_parser("convert", help=text, description=text, epilog=example)
    converting.add_argument(
        "source", type=Path, metavar="FILE", help="landmarks or joints, with the file of each image"
    )
    converting.add_argument("--format", choices=("mediapipe", "smpl"), help="default: smpl for .npz, else mediapipe")
    converting.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    converting.add_argument("--out", type=Path, required=True, metavar="SET", help="folder of the new set")
    converting.add_argument(
        "--split", choices=("train", "test"), default="train", help="split to write (default: train)"
    )
    converting.add_argument(
        "--focal", type=float, metavar="PX", help="focal length (default: the longer side of an image)"
    )
    labelling = actions.add_parser("label", help=label.HELP, description=label.HELP, epilog=f"example: {label.EXAMPLE}")
    label.add_arguments(labelling)
    for action in (synth, check, converting, labelling):
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    return {"synth": _synth, "check": _check, "convert": _convert, "label": label.run}[args.action](args)


# ---- synth ----


def _synth(args: argparse.Namespace) -> int:
    from explore.data.sheet import contact_sheet, frames_of
    from explore.data.synthetic.config import SyntheticConfig
    from explore.data.synthetic.dataset import load, render_dataset, render_validation
    from explore.host import default_cache

    if args.level not in SYNTHETIC_LEVELS:
        close = did_you_mean(args.level, SYNTHETIC_LEVELS)
        raise InputError(f"--level {args.level}: unknown level{close}; give one of {', '.join(SYNTHETIC_LEVELS)}")
    if not 32 <= args.frame <= 1024:
        raise InputError(f"--frame {args.frame}: out of range; give 32 to 1024 px")
    if args.workers < 0:
        raise InputError(f"--workers {args.workers}: negative; give 0 or more")
    if args.sheet:
        check_output(args.sheet, "--sheet", ".png")
    values = take(args, DatasetConfig, {}).model_dump(include=set(RENDERING))
    values |= {"level": args.level, "size": args.frame}
    config = parse(SyntheticConfig, values, "command line")
    root, workers = args.cache or default_cache(), args.workers or usable_cores()
    with Display() as display:

        def progress(done: int, total: int) -> None:
            display.update(done / total, f"{done}/{total}")

        display.stage(f"render {config.frames} frames")
        folder = render_dataset(root, config, workers, progress)
        display.stage(f"render {config.val_frames} validation frames")
        render_validation(root, config, workers, progress)
    splits = {
        split: load(folder, split, config.val_frames, config.skeleton) for split in ("train", "test", "validation")
    }
    if args.sheet:
        frames = [frame for data in splits.values() for frame in frames_of(data, SHOWN // 3)]
        write_atomic(args.sheet, contact_sheet(frames, splits["train"].skeleton))
    subjects = {split: sorted(set(data.subject.tolist())) for split, data in splits.items()}
    if args.json:
        facts = {
            "path": str(folder),
            "config": config.facts,
            "frames": {split: len(data) for split, data in splits.items()},
            "subjects": subjects,
            "hash": {split: data.hash for split, data in splits.items()},
            "sheet": str(args.sheet) if args.sheet else None,
        }
        print(json.dumps(facts))
        return 0
    for split, data in splits.items():
        listed = ", ".join(f"S{subject}" for subject in subjects[split])
        print(f"{split:<10} {len(data):>6} frames of {config.size} px, subjects {listed}, hash {data.hash}")
    if args.sheet:
        print(f"sheet  {args.sheet}")
    if config.sources:
        print(f"next   {started_by()} train --arch paper-XS-relu@64 --data {shlex.quote(f'synthetic:{folder}')}")
    print(folder)
    return 0


# ---- convert ----


def _convert(args: argparse.Namespace) -> int:
    from explore.data.convert import convert

    if args.focal is not None and not 0 < args.focal < 1e7:
        raise InputError(f"--focal {args.focal:g}: give a positive number of px")
    check_output_folder(args.out, "--out")
    kind = args.format or ("smpl" if args.source.suffix.lower() == ".npz" else "mediapipe")
    found = convert(args.source, kind, args.images, args.out, args.split, args.focal)
    if args.json:
        print(json.dumps(vars(found) | {"path": str(args.out)}))
        return 0
    print(f"{found.people} people in {found.images} images, {found.in_3d} of them in 3D")
    for kind, lines in (("skipped", found.skipped), ("left out", found.left_out)):
        for line in lines[:LISTED]:
            print(f"{kind}: {line}")
        if len(lines) > LISTED:
            print(f"{kind}: {len(lines) - LISTED} more (--json lists all)")
    print(f"next   {started_by()} data check {shlex.quote(f'custom:{args.out}')}")
    return 0


# ---- check ----


def _check(args: argparse.Namespace) -> int:
    from explore.data.validate import validate
    from explore.evaluation.evaluator import check_keys, reader_options

    reader, _, path = args.data.partition(":")
    if reader not in READERS or not path:
        known = ", ".join(f"{name}:PATH" for name in READERS)
        close = "" if reader in READERS else did_you_mean(reader, READERS)
        raise InputError(f"data {args.data!r} cannot be checked{close}; give {known}")
    if args.decode < 0:
        raise InputError(f"--decode {args.decode}: negative; give 0 or more")
    out = args.sheet or Path(f"{reader}-check.png")
    check_output(out, "--sheet", ".png")
    if parse_data(args.data) != [args.data]:
        raise InputError(f"data {args.data!r}: a mix, or with a weight; check one data set at a time, as READER:PATH")
    config = take(args, DataConfig, {}).model_copy(update={"data": args.data})
    check_keys(config)
    with Display() as display:
        display.stage(f"check {path}")
        options = reader_options(config, args.data)
        report = validate(reader, Path(path).expanduser(), args.decode, display.update, options)
        _check_parts(report, config.dataset)
    sheet = _write_sheet(report, out)
    if args.json:
        print(json.dumps(_facts(report, sheet)))
    else:
        _print(report, sheet)
    return 1 if report.problems else 0


def _check_parts(report: Report, config: DatasetConfig) -> None:
    """Report why training or a search would reject the parts of the data set."""
    from explore.data.split import check_disjoint, hold_out
    from explore.evaluation.evaluator import divide

    def passes(check: Callable[[], object]) -> bool:
        try:
            check()
        except InputError as error:
            report.add("parts", str(error))
            return False
        return True

    for data in report.parts.values():
        passes(partial(data.framed, config.framing))
    train, test = report.parts.get("train"), report.parts.get("test")
    if train and test and not passes(partial(check_disjoint, training=train, test=test)):
        test = None
    if train and train.has_depth.any():  # of others the notes say that they need a mix
        if test:
            passes(partial(divide, train, test, config))
        else:
            passes(partial(hold_out, train, config.val_subjects, config.val_fraction))


def _write_sheet(report: Report, path: Path) -> Path | None:
    """Write a contact sheet of evenly chosen frames without a problem; return None if there are none."""
    from explore.data.sample import evenly_spread
    from explore.data.sheet import contact_sheet

    if not report.good:
        return None
    shown = [report.good[index] for index in evenly_spread(len(report.good), SHOWN)]
    write_atomic(path, contact_sheet(shown, report.skeleton))
    return path


def _facts(report: Report, sheet: Path | None) -> dict[str, object]:
    subjects = {
        number: {
            key: {"median": _quantile(value, 0.5), "max": _quantile(value, 1.0)} if isinstance(value, list) else value
            for key, value in vars(counts).items()
        }
        for number, counts in report.subjects.items()
    }
    problems = [{"kind": kind, "problem": line} for kind, line in report.problems]
    shown = str(sheet) if sheet else None
    return {
        "path": str(report.root),
        "subjects": subjects,
        "problems": problems,
        "notes": report.notes,
        "sheet": shown,
    }


def _quantile(values: list[float], share: float) -> float | None:
    import numpy as np

    return round(float(np.quantile(values, share)), 2) if values else None


def _median_and_max(values: list[float]) -> str:
    return f"{_quantile(values, 0.5):.1f}/{max(values):.1f}" if values else "-"


def _print(report: Report, sheet: Path | None) -> None:
    print("subject  frames  cameras  missing   broken  bad box  behind  outside box px  reprojection px")
    for number, counts in report.subjects.items():
        label = f"S{number}" if isinstance(number, int) else number
        print(
            f"{label:<7}{counts.frames:>8}{counts.cameras:>9}{counts.missing:>9}"
            f"{f'{counts.broken}/{counts.decoded}':>9}{counts.bad_boxes:>9}{counts.behind:>8}"
            f"{_median_and_max(counts.stray_px):>16}{_median_and_max(counts.reprojection_px):>17}"
        )
    print("broken: of the decoded images; behind: joints behind the camera")
    print(
        "outside box, reprojection: median/max; reprojection: mean distance from the annotated pixels, if there are any"
    )
    grey = sum(counts.grey for counts in report.subjects.values())
    if grey:
        print(f"grey: {grey} of the decoded images; they are read as three equal channels")
    for note in report.notes:
        print(f"note: {note}")
    for kind, count in Counter(kind for kind, _ in report.problems).items():
        print(f"\n{kind}: {count}")
        for line in [line for other, line in report.problems if other == kind][:LISTED]:
            print(f"  {line}")
        if count > LISTED:
            print(f"  and {count - LISTED} more (--json lists all)")
    if not report.problems:
        print("no problems found")
    if sheet:
        print(f"contact sheet: {sheet}")
