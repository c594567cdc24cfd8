"""`report`: write the reports of a study again, or compare trained models with the paper's Tables 7, 8 and 9."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from arch.errors import InputError
from arch.files import check_output
from explore.options import reject_useless
from explore.report.paper_tables import TABLES, Row, load_result, own_row, render

EXAMPLE = """python explore.py report results/STUDY --reference mine:51.4:12.0
         python explore.py report --tables net.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", metavar="STUDY", help="folder of a study; its page is index.html")
    parser.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="BUNDLE|NAME:mm:ms",
        help="model of yours to show on the page: a bundle, or its MPJPE and latency; may be repeated",
    )
    parser.add_argument("--out", metavar="FILE", help="file of the page (default: STUDY/index.html)")
    parser.add_argument(
        "--tables",
        nargs="+",
        metavar="RESULT.json",
        help="results that `train` wrote beside its checkpoints, measured on human36m (protocol 1 or 2) or mupots",
    )
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")


def run(args: argparse.Namespace) -> int:
    if (args.study is None) == (args.tables is None):
        raise InputError("report: give either the folder of a study or --tables RESULT.json")
    if args.tables:
        reject_useless(args, ("reference", "out"), "with --tables")
    else:
        reject_useless(args, ("markdown",), "without --tables")
    return _tables(args) if args.tables else _page(args)


def _page(args: argparse.Namespace) -> int:
    from explore.report.study_report import refresh

    folder = Path(args.study)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of a study, such as results/NAME")
    path = Path(args.out) if args.out else folder / "index.html"
    check_output(path, "--out", ".html")
    summary = refresh(folder, path, args.reference)
    size, rows = path.stat().st_size, len(summary.complete) + len(summary.exported) + len(summary.references)
    if args.json:
        print(json.dumps({"page": str(path), "bytes": size, "rows": rows, "notes": summary.notes}))
        return 0
    for note in summary.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"written: {path} ({size / 1e6:.1f} MB, {rows} rows); open it in a browser")
    return 0


def _tables(args: argparse.Namespace) -> int:
    own: dict[str, list[Row]] = {}
    for path in args.tables:
        table, row = own_row(load_result(path))
        own.setdefault(table.name, []).append(row)
    tables = [table for table in TABLES if table.name in own]
    if args.json:
        print(json.dumps([asdict(table) | {"own": [asdict(row) for row in own[table.name]]} for table in tables]))
        return 0
    print("\n\n".join(render(table, own[table.name], args.markdown) for table in tables))
    return 0
