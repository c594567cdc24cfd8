"""`report`: a model of one's own as one more row of the paper's Tables 7, 8 and 9."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from explore.report.paper_tables import TABLES, Row, load_result, own_row, render

EXAMPLE = "python explore.py report --tables net.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tables",
        nargs="+",
        required=True,
        metavar="RESULT.json",
        help="what train writes beside its checkpoint, measured on human36m (protocol 1 or 2) or mupots",
    )
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")


def run(args: argparse.Namespace) -> int:
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
