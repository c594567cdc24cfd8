"""`search`: the main job."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from explore.config import SearchConfig, TrainConfig
from explore.options import add_options, from_options
from explore.progress import Display

EXAMPLE = "python explore.py search --scale 64 --trials 40 --sampler nsga2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, SearchConfig)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--remeasure",
        action="store_true",
        help="train nothing: time the shipped files of this study again, on a quiet machine",
    )
    instead.add_argument(
        "--retrain", action="store_true", help="estimator supernet: train one for this study instead of a shipped one"
    )


def run(args: argparse.Namespace) -> int:
    config = from_options(args, SearchConfig)
    from explore.report.study import front_table

    if args.remeasure:
        from explore.search.remeasure import remeasure

        summary = remeasure(config, Display())
    else:
        from explore.search.estimated import with_supernet
        from explore.search.run import search

        config = with_supernet(config, args.retrain)
        if args.retrain:
            retrain(config)
        summary = search(config, Display())
    if args.json:
        print(json.dumps(summary.as_dict()))
        return 0
    console = Console(highlight=False)
    console.width = max(console.width, 110)
    for runtime in config.runtimes:
        heading, *rows = front_table(summary.shipped, runtime)
        table = Table(title=f"{runtime}, networks at {config.scale} px, {config.data}", title_justify="left")
        for index, cell in enumerate(heading):
            table.add_column(cell, justify="right" if index else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    print(f"always answering the mean pose: {summary.mean_pose_mm:.1f} mm")
    for line in summary.findings:
        print(line)
    if summary.equal_error:
        print("shipped files, trained alike:")
    for found in summary.equal_error:
        print(f"  {found.text}")
    for file in summary.shipped:
        if file.gates_failed:
            print(f"{file.bundle}: its certificate misses: {file.gates_failed}")
    print(
        f"\nwritten in {summary.minutes:.1f} min to {config.folder}: index.html (open it in a browser), README.md, "
        "front.png, trials.csv, front.csv, bundles/"
    )
    print(f"next: python explore.py predict PHOTO --bbox x,y,w,h --model {summary.best}")
    print(f"      python explore.py search --trials {2 * config.trials}   (goes on from here)")
    return 0


def retrain(config: SearchConfig) -> None:
    """The study's own supernet, unless an earlier call made it."""
    from explore.commands.train_supernet import BASE, make_supernet

    out = Path(config.estimate.supernet)
    if not out.exists():
        make_supernet(config, TrainConfig.model_validate(BASE), out, Display())
