"""`export`: a checkpoint to bundles, one a runtime."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from explore.config import SearchConfig
from explore.options import add_options, take
from explore.progress import Display

EXAMPLE = "python explore.py export xs.safetensors --runtimes litert,openvino --recipe int8-static"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="weights written by train or search")
    parser.add_argument(
        "--out", metavar="FOLDER", help="folder of the bundles (default: CHECKPOINT without its ending)"
    )
    add_options(parser, SearchConfig, only=("data", "dataset", "seed", "runtimes", "recipe", "timeout", "measure"))


def run(args: argparse.Namespace) -> int:
    from explore.export import export_bundles

    out = Path(args.out) if args.out else Path(args.checkpoint).with_suffix("")
    config = take(args, SearchConfig, {})
    with Display(args.json) as display:
        rows = export_bundles(Path(args.checkpoint), out, config, display)
    if args.json:
        print(json.dumps(rows))
        return 0
    print(f"{'bundle':<40} {'MPJPE mm':>9} {'PA mm':>7} {'torch mm':>9} {'ms':>8} {'KiB':>7}")
    for row in rows:
        print(_line(row))
    print(f"next: python explore.py predict PHOTO --bbox x,y,w,h --model {rows[0]['bundle']}")
    return 0


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['bundle']:<40} {row['mpjpe_mm']:>9.1f} {row['pa_mpjpe_mm']:>7.1f} {row['float_mpjpe_mm']:>9.1f} "
        f"{row['latency_ms']:>8.3f} {row['bytes'] / 1024:>7.0f}"
    )
