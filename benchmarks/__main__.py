"""Command line of the benchmarks: `python -m benchmarks [NAME ...]`."""

from __future__ import annotations

import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from arch.errors import InputError, did_you_mean, unknown_key
from arch.files import content_hash, write_atomic
from benchmarks import BENCHES, Record, get
from benchmarks.real_options import RealOptions
from benchmarks.records_page import load_records, write_bench_page
from explore.cli import Parser, report_errors
from explore.options import add_options, take
from explore.progress import Display
from quantize.environment import machine, versions

WIDTH = 200  # columns of a table that is not printed to a terminal


def main(argv: list[str] | None = None) -> int:
    """Run benchmarks; return 0 on success, 1 if a benchmark failed, 2 for wrong input.

    A claim that misses its target is a result, not a failure.
    """
    return report_errors(lambda: _run(sys.argv[1:] if argv is None else argv))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m benchmarks",
        description="measure the project's own claims on this machine",
        epilog="example: python -m benchmarks profile scale:speedup",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"all (default), or any of {', '.join(BENCHES)}; NAME:PART repeats one part of a record",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("results/bench"), metavar="FOLDER", help="records (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value of the benchmark's CONFIG, as in search:own-space --set own_seeds=[0] --set budget=1h",
    )
    parser.add_argument("--page", action="store_true", help="measure nothing; write the pages from the records")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    group = parser.add_argument_group("options of the benchmark real")
    add_options(group, RealOptions, only=tuple(RealOptions.model_fields))
    return parser


def _run(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    options = take(args, RealOptions, {})
    names = [] if args.page else list(BENCHES) if args.names in ([], ["all"]) else args.names
    for name in names:
        _check(name)
    for text in args.set:
        _set(text, [get(name.partition(":")[0]).CONFIG for name in names])
    records = [_record(name, args.out, args.json, options) for name in names]
    page = write_bench_page(args.out)
    for record in load_records(args.out) if args.page else []:
        _write_markdown(record, args.out)
    if args.json:
        result = {"page": str(page)} if args.page else [record.model_dump(mode="json") for record in records]
        print(json.dumps(result))
        return 0
    for record in records or load_records(args.out):
        _print(record)
    print(f"written: {page}")
    return 0


def _check(given: str) -> None:
    name, colon, part = given.partition(":")
    if name not in BENCHES:
        raise InputError(
            f"{name}: unknown benchmark{did_you_mean(name, BENCHES)}; the benchmarks are {', '.join(BENCHES)}"
        )
    parts = getattr(get(name), "PARTS", ()) if colon else ("",)
    if part not in parts:
        raise InputError(f"{given}: unknown part{did_you_mean(part, parts)}; {name} has {', '.join(parts) or 'none'}")


def _set(text: str, configs: list[dict[str, Any]]) -> None:
    """Change a value in every configuration that has the key."""
    key, _, given = text.partition("=")
    having = [config for config in configs if key in config]
    if not having:
        raise InputError(f"--set {text}: {unknown_key(key, [name for config in configs for name in config])}")
    for config in having:
        value = yaml.safe_load(given)
        if type(value) is not type(config[key]):
            raise InputError(f"--set {text}: write a value such as {json.dumps(config[key])}")
        config[key] = value


def _print(record: Record) -> None:
    """Print a table of the claims."""
    title = f"{record.bench}: {record.machine['processor']}, {record.machine['cores']} cores"
    table = Table("claim", "target", "measured", "interval", "", title=title, title_justify="left", box=None)
    for claim in record.claims:
        cells = (claim.name, claim.target, claim.measured, claim.interval, "pass" if claim.passed else "FAIL")
        table.add_row(*map(Text, cells))
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH).print(table)


def _record(given: str, out: Path, quiet: bool, options: RealOptions) -> Record:
    """Run a benchmark or one part of it, and write its record. options: of benchmarks with `OPTIONS`."""
    name, _, part = given.partition(":")
    bench, path = get(name), out / f"{name}.json"
    started = time.monotonic()
    with Display(quiet) as display:
        display.stage(f"benchmark {given}")
        if part:
            before = Record.model_validate_json(path.read_text()).rows if path.exists() else []
            rows, claims = bench.run(display.update, part, before)
        elif hasattr(bench, "OPTIONS"):
            rows, claims = bench.run(display.update, options)
        else:
            rows, claims = bench.run(display.update)
    record = Record(
        bench=name,
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=machine(),
        versions=versions(),
        config_hash=content_hash(bench.CONFIG),
        minutes=round((time.monotonic() - started) / 60, 1),
        rows=rows,
        claims=claims,
    )
    write_atomic(path, record.model_dump_json(indent=2) + "\n")
    _write_markdown(record, out)
    return record


def _write_markdown(record: Record, out: Path) -> None:
    bench = get(record.bench)
    if hasattr(bench, "markdown"):
        write_atomic(out / getattr(bench, "PAGE", f"{record.bench}.md"), bench.markdown(record.rows, record.claims))


if __name__ == "__main__":
    raise SystemExit(main())
