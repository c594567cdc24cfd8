"""`data`: render the embedded data set, or see what is wrong with a real one."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np

from arch.errors import InputError
from arch.files import write_atomic
from explore.config import DatasetConfig, parse
from explore.data import doctor
from explore.data.doctor import Report
from explore.data.sheet import Frame, contact_sheet, frames_of
from explore.data.synthetic.dataset import SyntheticConfig, default_cache, load, render_dataset
from explore.progress import Display

EXAMPLE = "python explore.py data check human36m:/data/Human36M"
SHOWN = 24  # frames on a contact sheet
LISTED = 8  # problems of a kind printed; --json has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="synth|check")
    usual = {name: field.default for name, field in DatasetConfig.model_fields.items()}

    text = "render the embedded set and print where it lies"
    example = "example: python explore.py data synth --level full --train 4000 --sheet sheet.png"
    synth = actions.add_parser("synth", help=text, description=text, epilog=example)
    synth.add_argument("--level", choices=("easy", "full"), default="easy", help="(default: easy)")
    synth.add_argument("--train", type=int, default=usual["train"], metavar="N", help="frames (default: %(default)s)")
    synth.add_argument("--test", type=int, default=usual["test"], metavar="N", help="frames (default: %(default)s)")
    synth.add_argument("--frame", type=int, default=128, metavar="PX", help="side of a frame (default: %(default)s)")
    synth.add_argument(
        "--poses", default="procedural", metavar="SOURCE",
        help="procedural, cmu:FOLDER of .asf and .amc files, or procedural+cmu:FOLDER (default: procedural)",
    )  # fmt: skip
    synth.add_argument("--seed", type=int, default=usual["seed"], help="of the renderer (default: %(default)s)")
    synth.add_argument("--cache", type=Path, metavar="DIR", help="default: EDGEPOSE_CACHE, or ~/.cache/edgepose")
    synth.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one a core)")
    synth.add_argument("--sheet", type=Path, metavar="PNG", help="also write a contact sheet")

    text = "list what is wrong with a data set; exit status 1 where something is"
    check = actions.add_parser("check", help=text, description=text, epilog=f"example: {EXAMPLE}")
    check.add_argument("data", metavar="NAME:PATH", help=f"NAME: {', '.join(doctor.CHECKS)}")
    check.add_argument(
        "--decode", type=int, default=200, metavar="N", help="pictures decoded a subject (default: %(default)s)"
    )
    check.add_argument("--sheet", type=Path, metavar="PNG", help="contact sheet (default: NAME-check.png)")
    for action in (synth, check):
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    return _synth(args) if args.action == "synth" else _check(args)


# ---- synth ----


def _synth(args: argparse.Namespace) -> int:
    if not 32 <= args.frame <= 1024:
        raise InputError(f"--frame {args.frame}: give 32 to 1024 px")
    values = {name: getattr(args, name) for name in ("level", "train", "test", "seed", "poses")}
    config = parse(SyntheticConfig, values | {"size": args.frame}, "data synth")
    cache = args.cache or default_cache()
    with Display() as display:
        display.stage(f"render {config.train + config.test} frames")
        folder = render_dataset(
            cache, config, args.workers or len(os.sched_getaffinity(0)),
            lambda done, total: display.update(done / total, f"{done}/{total}"),
        )  # fmt: skip
    parts = {split: load(folder, split) for split in ("train", "test")}
    if args.sheet:
        frames = [frame for data in parts.values() for frame in frames_of(data, SHOWN // 2)]
        write_atomic(args.sheet, contact_sheet(frames, parts["train"].skeleton))
    facts = {
        "path": str(folder),
        "config": config.facts,
        "frames": {split: len(data) for split, data in parts.items()},
        "subjects": {split: sorted(set(data.subject.tolist())) for split, data in parts.items()},
        "hash": {split: data.hash for split, data in parts.items()},
        "sheet": str(args.sheet) if args.sheet else None,
    }
    if args.json:
        print(json.dumps(facts))
        return 0
    for split, data in parts.items():
        subjects = ", ".join(f"S{subject}" for subject in sorted(set(data.subject.tolist())))
        print(f"{split:<6} {len(data):>6} frames of {config.size} px, {subjects}, hash {data.hash}")
    if args.sheet:
        print(f"sheet  {args.sheet}")
    if config.motion:
        print(f"next   python explore.py train --arch paper-XS-relu@64 --data synthetic:{folder}")
    print(folder)
    return 0


# ---- check ----


def _check(args: argparse.Namespace) -> int:
    name, colon, path = args.data.partition(":")
    if name not in doctor.CHECKS or not colon or not path:
        known = ", ".join(f"{known}:PATH" for known in doctor.CHECKS)
        raise InputError(f"data {args.data!r} cannot be checked: give {known}")
    if args.decode < 0:
        raise InputError(f"--decode {args.decode}: give 0 or more")
    with Display() as display:
        display.stage(f"check {path}")
        report = doctor.CHECKS[name](Path(path), args.decode, display.update)
    sheet = _write_sheet(report, args.sheet or Path(f"{name}-check.png"))
    if args.json:
        print(json.dumps(_facts(report, sheet)))
    else:
        _print(report, sheet)
    return 1 if report.problems else 0


def _write_sheet(report: Report, path: Path) -> Path | None:
    """A contact sheet of frames without a fault, evenly chosen; None where there is none to show."""
    if not report.good:
        return None
    chosen = np.unique(np.linspace(0, len(report.good) - 1, SHOWN).round().astype(int))
    frames: list[Frame] = [report.good[index] for index in chosen]
    write_atomic(path, contact_sheet(frames, report.skeleton))
    return path


def _facts(report: Report, sheet: Path | None) -> dict[str, object]:
    subjects = {
        number: {
            key: {"median": _quantile(value, 0.5), "max": _quantile(value, 1.0)} if isinstance(value, list) else value
            for key, value in vars(found).items()
        }
        for number, found in report.subjects.items()
    }
    problems = [{"kind": kind, "problem": line} for kind, line in report.problems]
    shown = str(sheet) if sheet else None
    return {"path": str(report.root), "subjects": subjects, "problems": problems, "sheet": shown}


def _quantile(values: list[float], share: float) -> float | None:
    return round(float(np.quantile(values, share)), 2) if values else None


def _spread(values: list[float]) -> str:
    return f"{np.median(values):.1f}/{max(values):.1f}" if values else "-"


def _print(report: Report, sheet: Path | None) -> None:
    print("subject  frames  cameras  missing   broken  bad box  behind   off box px    reproj. px")
    for number, found in report.subjects.items():
        stray, reprojection = _spread(found.stray_px), _spread(found.reprojection_px)
        broken = f"{found.broken}/{found.decoded}"
        label = f"S{number}" if isinstance(number, int) else number
        print(
            f"{label:<7}{found.frames:>8}{found.cameras:>9}{found.missing:>9}{broken:>9}"
            f"{found.bad_boxes:>9}{found.behind:>8}{stray:>13}{reprojection:>14}"
        )
    print("broken: of the decoded; off box and reproj.: median/max, reproj. against keypoints_img where there is one")
    grey = sum(found.grey for found in report.subjects.values())
    if grey:
        print(f"grey: {grey} of the decoded pictures, used as three equal channels")
    for kind, count in Counter(kind for kind, _ in report.problems).items():
        print(f"\n{kind}: {count}")
        lines = [line for other, line in report.problems if other == kind]
        for line in lines[:LISTED]:
            print(f"  {line}")
        if count > LISTED:
            print(f"  and {count - LISTED} more (--json lists all)")
    if not report.problems:
        print("nothing wrong found")
    if sheet:
        print(f"contact sheet: {sheet}")
