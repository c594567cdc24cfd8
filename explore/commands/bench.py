"""`bench`: the project's claims measured again on this machine, side by side."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from arch.errors import InputError
from arch.files import content_hash, write_atomic
from explore.bench import BENCHES, Record, get
from explore.progress import Display
from explore.report.bench_page import load_records, write_bench_page
from quantize.environment import machine, versions

WIDTH = 200  # of a table that no terminal shows
EXAMPLE = "python explore.py bench profile"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"all (default), or any of {', '.join(BENCHES)}; NAME:PART measures one part of a record again, as in scale:speedup",
    )
    parser.add_argument(
        "--out", default="results/bench", metavar="FOLDER", help="of the records (default: results/bench)"
    )
    parser.add_argument("--page", action="store_true", help="measure nothing, make the page of the records there anew")


def run(args: argparse.Namespace) -> int:
    if args.page:
        page = write_bench_page(Path(args.out))
        for record in [] if args.json else load_records(Path(args.out)):
            _print(record)
        print(json.dumps({"page": str(page)}) if args.json else f"written: {page}")
        return 0
    names = list(BENCHES) if args.names in ([], ["all"]) else args.names
    for name in names:
        _check(name)
    records = [_record(name, args) for name in names]
    write_bench_page(Path(args.out))
    if args.json:
        print(json.dumps([record.model_dump(mode="json") for record in records]))
        return 0
    for record in records:
        _print(record)
    print(f"written: {args.out}, with a page, index.html")
    return 0


def _check(given: str) -> None:
    name, colon, part = given.partition(":")
    if name not in BENCHES:
        raise InputError(f"bench: '{name}' is not one of all, {', '.join(BENCHES)}")
    parts = getattr(get(name), "PARTS", ()) if colon else ("",)
    if part not in parts:
        raise InputError(f"bench: '{given}': {name} has the parts {', '.join(parts) or '(none)'}")


def _print(record: Record) -> None:
    """A table of claims; intervals where the measurement has them."""
    here = f"{record.bench}: {record.machine['processor']}, {record.machine['cores']} cores"
    table = Table("claim", "asked", "measured", "interval", "", title=here, title_justify="left", box=None)
    for claim in record.claims:
        cells = (claim.name, claim.asked, claim.measured, claim.interval)
        table.add_row(*map(Text, cells), "holds" if claim.holds else "FALLS SHORT")
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH).print(table)


def _record(given: str, args: argparse.Namespace) -> Record:
    name, _, part = given.partition(":")
    bench, path = get(name), Path(args.out) / f"{name}.json"
    began = time.monotonic()
    with Display(args.json) as display:
        display.stage(f"bench {given}")
        if part:
            before = Record.model_validate_json(path.read_text()).rows if path.exists() else []
            rows, claims = bench.run(display.update, part, before)
        else:
            rows, claims = bench.run(display.update)
    record = Record(
        bench=name,
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=machine(),
        versions=versions(),
        config_hash=content_hash(bench.CONFIG),
        minutes=round((time.monotonic() - began) / 60, 1),
        rows=rows,
        claims=claims,
    )
    write_atomic(path, record.model_dump_json(indent=2) + "\n")
    if hasattr(bench, "markdown"):
        write_atomic(Path(args.out) / f"{name}.md", bench.markdown(rows, claims))
    return record
