"""`report`: the page of a study; or a model of one's own as one more row of the paper's Tables 7, 8 and 9."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from arch.errors import InputError
from explore.report.paper_tables import TABLES, Row, load_result, own_row, render

EXAMPLE = """python explore.py report results/STUDY --reference mine:51.4:12.0
         python explore.py report --tables net.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", metavar="STUDY", help="folder of a study; its page is index.html in there")
    parser.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="BUNDLE|NAME:mm:ms",
        help="a model of your own to draw in, a bundle or its figures; may be repeated",
    )
    parser.add_argument("--out", metavar="FILE", help="where the page goes (default: STUDY/index.html)")
    parser.add_argument(
        "--tables",
        nargs="+",
        metavar="RESULT.json",
        help="what train writes beside its checkpoint, measured on human36m (protocol 1 or 2) or mupots",
    )
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")


def run(args: argparse.Namespace) -> int:
    if (args.study is None) == (args.tables is None):
        raise InputError("report: give the folder of a study, or --tables RESULT.json")
    return _tables(args) if args.tables else _page(args)


def _page(args: argparse.Namespace) -> int:
    from explore.report.page import write_page
    from explore.report.refresh import refresh

    folder = Path(args.study)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of a study, such as results/NAME")
    notes = refresh(folder)
    path = Path(args.out) if args.out else folder / "index.html"
    found = write_page(folder, path, args.reference)
    notes += [note for note in found.notes if note not in notes]
    if args.json:
        print(json.dumps({"page": str(path), "bytes": path.stat().st_size, "rows": len(found.rows), "notes": notes}))
        return 0
    for note in notes:
        print(note, file=sys.stderr)
    print(f"written: {path} ({path.stat().st_size / 1e6:.1f} MB, {len(found.rows)} files); open it in a browser")
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
