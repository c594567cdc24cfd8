"""`search`: find a Pareto front of exported networks."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from arch.errors import InputError
from explore.host import started_by
from explore.options import add_options, deprecated_option, from_options
from explore.progress import Display
from explore.search.config import SearchConfig
from explore.train.config import PASSES, SUPERNET_PRESET, TrainConfig

TABLE_WIDTH = 120  # characters that a row needs
EXAMPLE = "python explore.py search --budget 1h --study mine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, SearchConfig)
    parser.add_argument(
        "--teacher",
        dest="final.teacher",
        default=argparse.SUPPRESS,
        metavar="study|FILE",
        help="short for --final.teacher: the network that finalists learn from",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--remeasure",
        action="store_true",
        help="measure the latency of this study's exported files again, on an idle machine, and train nothing",
    )
    instead.add_argument(
        "--train-supernet",
        action="store_true",
        help="with --estimator supernet: train a supernet for this study instead of using a built-in one; the training "
        "precedes the search and does not count towards --budget",
    )
    deprecated_option(instead, "--retrain", "--train-supernet", nargs=0, const=True)


def run(args: argparse.Namespace) -> int:
    config = from_options(args, SearchConfig)
    from explore.report.live import live_page
    from explore.report.study_report import write_study_report
    from explore.report.tables import front_table
    from explore.search.storage.records import read_records
    from explore.search.supernet import with_supernet

    config, display = with_supernet(config, args.train_supernet), Display()
    if args.remeasure:
        from explore.search.costs.remeasure import remeasure

        outcome = remeasure(config, display)
    else:
        from explore.search.run import check, search

        if args.train_supernet:
            check(config, trains_supernet=True)
            train_supernet_of_study(config)
        with ExitStack() as stack:
            outcome = search(
                config,
                display,
                on_start=lambda config, mean_pose_mm: stack.enter_context(live_page(config, mean_pose_mm, display.log)),
            )
    config = outcome.config
    records = read_records(config)
    summary = write_study_report(config, outcome.data, outcome.references, records, outcome.seconds)
    if args.json:
        print(json.dumps(summary.as_dict()))
        return 0
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, TABLE_WIDTH)
    for runtime in config.every_runtime:
        heading, *rows = front_table(summary.exported, runtime, summary.objectives)
        title = f"{runtime}, networks at {config.input_size} px, {config.data}, test part"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for index, cell in enumerate(heading):
            is_number = 0 < index < len(heading) - 1
            header = cell.replace(" ", "\n") if is_number else cell
            table.add_column(header, justify="right" if is_number else "left", no_wrap=is_number or not index)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    print(summary.parts_note)
    print(summary.training_note)
    if summary.latency_note:
        print(summary.latency_note)
    print(summary.interval_note)
    print(f"mean-pose baseline: {outcome.data.test.mean_pose_mm:.1f} mm on the test part")
    if summary.findings:
        print(f"candidates, on the {summary.candidates_part} part:")
    for line in summary.findings:
        print(f"  {line}")
    equal = "equal training compute" if summary.has_equal_compute else "equal samples"
    if summary.iso_accuracy:
        print(f"exported files compared at equal error, after {equal}, on the test part:")
    for found in summary.iso_accuracy:
        print(f"  {found.text}")
    if summary.iso_accuracy_at_equal_samples:
        print("float networks compared at equal error, after equal samples, on the test part:")
    for found in summary.iso_accuracy_at_equal_samples:
        print(f"  {found.text}")
    for file in summary.exported:
        if file.checks_failed:
            print(f"{file.bundle}: failed checks: {file.checks_failed}")
    print(
        f"\nwritten to {config.folder} after {summary.run_minutes:.1f} min: index.html (open it in a browser), README.md, "
        "front.png, trials.csv, front.csv, bundles/"
    )
    print(f"next: {summary.next_step}")
    print(f"      {started_by()} search {summary.more}   (resumes with more trials)")
    return 0


def train_supernet_of_study(config: SearchConfig) -> None:
    """Train the study's own supernet, unless an earlier call did.

    Raises:
        InputError: that call had other data or another seed.
    """
    from arch.elastic import smallest_and_largest
    from arch.search_space import Space
    from explore.evaluation.evaluator import rendering_options
    from explore.train.engine import start_engine
    from explore.train.precision import with_precision
    from explore.train.supernet import train_supernet
    from quantize.checkpoint import load_network, read_trained_on

    out = Path(config.estimate.supernet)
    if out.exists():
        facts = load_network(out)[1]
        record = read_trained_on(facts, out)
        if record and (record.data, facts["seed"]) != (config.data, config.seed):
            raise InputError(
                f"{out}: trained on {record.data} with seed {facts['seed']}; delete it, or give --study another name"
            )
    else:
        space = Space.named(config.space).at(config.input_size)
        settings = TrainConfig.model_validate(SUPERNET_PRESET)
        if rendering_options(config.data_config) is not None:
            most = PASSES * config.dataset.train_frames
            settings = settings.model_copy(update={"samples": min(settings.samples, most)})
        largest = smallest_and_largest(space)[1]
        engine = with_precision(start_engine(config.device), config.precision, largest, settings.batch_size)
        display = Display()
        display.log(f"supernet of this study: {settings.samples:,} samples, before the time of the search's budget")
        train_supernet(
            space,
            config.data_config,
            settings,
            config.seed,
            out,
            display,
            processes=config.processes,
            engine=engine,
        )
