"""HTML page of all benchmark records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from arch.errors import InputError, describe
from arch.files import write_atomic
from benchmarks import Record

TEMPLATES = Path(__file__).with_name("templates")


def write_bench_page(folder: Path) -> Path:
    """Write `folder`/index.html from the records in `folder`, and return its path.

    Raises:
        InputError: no records, or an invalid one.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    records = load_records(folder)
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    claims = [claim for record in records for claim in record.claims]
    text = environment.get_template("bench.html").render(
        records=[{"record": record, **_table(record.rows)} for record in records],
        passed=sum(claim.passed for claim in claims),
        count=len(claims),
    )
    path = folder / "index.html"
    write_atomic(path, text)
    return path


def load_records(folder: Path) -> list[Record]:
    """Return the records in `folder`, sorted by name.

    Raises:
        InputError: no records, or an invalid one.
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(Record.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            raise InputError(f"{path}: {describe(error, Record)}; run this benchmark again") from None
    if not records:
        raise InputError(f"{folder}: no records found; run: python -m benchmarks")
    return records


def _table(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return {"columns": columns, "rows": [[_shown(row.get(key)) for key in columns] for row in rows]}


def _shown(value: Any) -> str:
    """Return the text of a cell; numbers have four digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_shown(part) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items())
    return str(value)
