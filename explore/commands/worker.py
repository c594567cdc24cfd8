"""`worker`: join a search that another shell or machine leads."""

from __future__ import annotations

import argparse
import json

from explore.progress import Display

EXAMPLE = "python explore.py worker --study mobile-human36m-64 --storage postgresql://me@server/studies"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", required=True, metavar="NAME", help="name of the study to join")
    parser.add_argument(
        "--storage",
        default="",
        metavar="URL",
        help="storage that `search` was given (default: study.db in the study's folder)",
    )
    parser.add_argument(
        "--results",
        default="",
        metavar="FOLDER",
        help="folder of all studies, shared with the machine that leads (default: its path there)",
    )
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="worker processes (default: one for each core)"
    )
    parser.add_argument(
        "--device",
        default="",
        metavar="DEVICE",
        help="where to train and evaluate: auto, cpu, cuda, cuda:N or mps (default: that of the search)",
    )


def run(args: argparse.Namespace) -> int:
    from explore.search.workers.join import join

    done = join(args.study, args.storage, args.results, args.workers, Display(args.json), device=args.device)
    print(json.dumps(done) if args.json else f"done: study {args.study} has {done['finished']} finished candidates")
    return 0
