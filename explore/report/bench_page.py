"""All bench records as one page: what was asked, what was measured, whether it holds, on which machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from arch.errors import InputError
from arch.files import write_atomic
from explore.bench import Record

TEMPLATES = Path(__file__).with_name("templates")


def write_bench_page(folder: Path) -> Path:
    """Write `folder`/index.html from the records beside it; returns its path.

    Raises:
        InputError: no records, or a file that is none.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    records = load_records(folder)
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    claims = [claim for record in records for claim in record.claims]
    style = (TEMPLATES / "page.css").read_text()
    text = environment.get_template("bench.html").render(
        style=style,
        dark=style.split(':root[data-theme="dark"] {')[1].split("}")[0],  # no script here to choose it
        records=[
            {"record": record, "columns": _columns(record.rows), "rows": _cells(record.rows)} for record in records
        ],
        holding=sum(claim.holds for claim in claims),
        count=len(claims),
    )
    path = folder / "index.html"
    write_atomic(path, text)
    return path


def load_records(folder: Path) -> list[Record]:
    """The records in `folder`, by name.

    Raises:
        InputError: none there, or a file that is none.
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(Record.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{path}: {key}: {first['msg']}; run that bench again") from None
    if not records:
        raise InputError(f"{folder}: holds no records; run: python explore.py bench")
    return records


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _cells(rows: list[dict[str, Any]]) -> Iterable[list[str]]:
    columns = _columns(rows)
    return [[_shown(row.get(key)) for key in columns] for row in rows]


def _shown(value: Any) -> str:
    """A value in a cell: figures to four digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_shown(part) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items())
    return str(value)
