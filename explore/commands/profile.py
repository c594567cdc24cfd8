"""Command `profile`: cost of networks from their description."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from arch.errors import InputError
from arch.search_space import Space
from arch.space import named_arch
from explore.options import deprecated_option, reject_useless
from explore.profile import (
    FORMS,
    Form,
    Named,
    counter_rows,
    paper_rows,
    render,
    rows,
    sample_rows,
    step_rows,
    study_archs,
)

EXAMPLE = "python explore.py profile paper-L paper-XS-relu@64 --describe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "networks",
        nargs="*",
        metavar="ARCH",
        help="presets (paper-S@64), YAML files of networks, or folders of studies",
    )
    parser.add_argument(
        "--paper", action="store_true", help="compare with each row of the paper's Tables 2 to 6 and 10"
    )
    parser.add_argument("--space", metavar="NAME", help="profile random networks of a space and print its exact size")
    parser.add_argument(
        "--sample", type=int, default=20, metavar="N", help="number of random networks of --space (default: 20)"
    )
    parser.add_argument(
        "--input-size", type=int, default=256, metavar="PX", help="input size of --space in px (default: 256)"
    )
    deprecated_option(parser, "--scale", "--input-size", type=int)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of --sample (default: 0)")
    parser.add_argument(
        "--engine",
        choices=("fvcore", "ptflops", "torch"),
        help="also count operations with this tool, and explain each difference from our MACs",
    )
    parser.add_argument(
        "--describe", action="store_true", help="list shapes, params, MACs and memory of each step of a network"
    )
    parser.add_argument("--format", choices=FORMS, default="text", help="format of the tables (default: text)")


def run(args: argparse.Namespace) -> int:
    form: Form = "json" if args.json else args.format
    if not (args.networks or args.paper or args.space):
        raise InputError("profile: no network given; give presets or files, --paper, or --space NAME")
    if args.sample < 1:
        raise InputError(f"--sample: {args.sample} is below 1; give a number of networks")
    if (args.describe or args.engine) and not args.networks:
        raise InputError("profile: --describe and --engine show networks that are named; give presets or files")
    if not args.space:
        reject_useless(args, ("sample", "input_size", "seed"), "without --space")
    archs = [found for name in args.networks for found in _find(name)]
    tables: list[list[Any]] = []
    if args.paper:
        tables.append(paper_rows())
    if args.space:
        space = Space.named(args.space).at(args.input_size)
        print(f"space {space.name} at {args.input_size} px: {space.size():,} different networks", file=sys.stderr)
        tables.append(sample_rows(space, args.sample, args.seed))
    if args.describe:
        tables += [step_rows(name, arch) for name, arch in archs]
    if archs and (args.engine or not args.describe):
        tables.append(counter_rows(archs, args.engine) if args.engine else rows(archs))
    if form == "json":
        tables = [[row for table in tables for row in table]]
    print("\n\n".join(render(table, form) for table in tables))
    return 0


def _find(name: str) -> list[Named]:
    """Return the networks of one argument: the trials of a study, or one preset or file."""
    if Path(name).is_dir():
        return study_archs(name)
    arch = named_arch(name)
    return [(arch.name, arch)]
