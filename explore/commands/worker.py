"""`worker`: helps a study that another shell or machine leads."""

from __future__ import annotations

import argparse
import json

from explore.progress import Display

EXAMPLE = "python explore.py worker --study mobile-human36m-64 --storage postgresql://me@server/studies"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", required=True, metavar="NAME", help="name of the study")
    parser.add_argument(
        "--storage", default="", metavar="URL", help="where it is kept (default: study.db in its folder of --results)"
    )
    parser.add_argument(
        "--results",
        default="",
        metavar="FOLDER",
        help="the folder that holds the studies, shared with the machine that leads (default: the path it has there)",
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one a core)")


def run(args: argparse.Namespace) -> int:
    from explore.search.join import join

    done = join(args.study, args.storage, args.results, args.workers, Display(args.json))
    print(json.dumps(done) if args.json else f"done: study {args.study}, {done['finished']} candidates are finished")
    return 0
