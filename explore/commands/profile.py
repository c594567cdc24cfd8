"""`profile`: what networks cost, from their description alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from arch.describe import table
from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch, named_arch
from explore.profile import (
    FORMS,
    ComparedRow,
    Form,
    OpinionRow,
    ProfileRow,
    opinion_rows,
    paper_rows,
    render,
    rows,
    sample_rows,
    study_archs,
)

EXAMPLE = "python explore.py profile paper-L paper-XS-relu@64 --describe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="*", metavar="ARCH", help="presets (paper-S@64), YAML files, or folders of studies"
    )
    parser.add_argument(
        "--paper", action="store_true", help="every row of the paper's Tables 2 to 6 and 10 beside ours"
    )
    parser.add_argument("--space", metavar="NAME", help="a random sample of a space, and how many networks it holds")
    parser.add_argument("--sample", type=int, default=20, metavar="N", help="networks of --space (default: 20)")
    parser.add_argument("--scale", type=int, default=256, metavar="PX", help="input size of --space (default: 256)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of --sample (default: 0)")
    parser.add_argument(
        "--engine", choices=("fvcore", "ptflops", "torch"), help="a second opinion on MACs, and why it differs"
    )
    parser.add_argument("--describe", action="store_true", help="stage by stage: shapes, params, MACs, memory")
    parser.add_argument("--format", choices=FORMS, default="text", help="of the table (default: text)")


def run(args: argparse.Namespace) -> int:
    form: Form = "json" if args.json else args.format
    if not (args.what or args.paper or args.space):
        raise InputError("profile: nothing to profile; give presets or files, --paper, or --space NAME")
    if args.sample < 1:
        raise InputError(f"--sample: {args.sample} networks; give at least 1")
    archs = [found for name in args.what for found in _found(name)]
    if args.describe:
        for name, arch in archs:
            print(f"{name} ({arch.id})\n{table(arch)}\n")
        return 0
    shown: list[ProfileRow | ComparedRow | OpinionRow] = []
    if args.paper:
        shown += paper_rows()
    if args.space:
        space = Space.named(args.space).at(args.scale)
        print(f"space {space.name} at {args.scale} px: {space.size():,} different networks", file=sys.stderr)
        shown += sample_rows(space, args.sample, args.seed)
    if archs:
        shown += opinion_rows(archs, args.engine) if args.engine else rows(archs)
    for kind in dict.fromkeys(type(row) for row in shown):
        print(render([row for row in shown if type(row) is kind], form))
    return 0


def _found(name: str) -> list[tuple[str, Arch]]:
    """The networks of one argument: a study's trials, or one preset or file."""
    if Path(name).is_dir():
        return study_archs(name)
    arch = named_arch(name)
    return [(arch.name, arch)]
