"""The architecture tables of the paper as printed, each row with its network in this project. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from arch.space import Arch, make_arch

TABLES = Path(__file__).parent / "paper_tables.yaml"


@dataclass(frozen=True)
class PaperRow:
    """A row of paper_tables.yaml: params in millions, FLOPs in billions, MPJPE in mm on Human3.6M protocol 2.

    `arch` is None if the row is not a network of this project.
    """

    table: str
    row: str
    arch: Arch | None
    params: float
    gflops: float | None
    mpjpe_mm: float
    cpu_ms: float | None
    tflite_mb: float | None
    remark: str


@lru_cache(maxsize=1)
def paper_tables() -> tuple[PaperRow, ...]:
    """Return every row of Tables 2 to 6 and 10, in order."""
    rows = []
    for table in yaml.safe_load(TABLES.read_text(encoding="utf-8"))["tables"]:
        for row in table["rows"]:
            arch = None
            if "arch" in row:
                arch = make_arch(table.get("base", {}) | row["arch"], f"{TABLES.name}: {table['table']}, {row['row']}")
            for suffix, key in (("", "mpjpe_mm"), (", pre-trained", "mpjpe_pretrained_mm")):
                if key in row:
                    name = str(row["row"]) + suffix
                    rest = (row.get("cpu_ms"), row.get("tflite_mb"), row.get("remark", ""))
                    rows.append(PaperRow(table["table"], name, arch, row["params"], row.get("gflops"), row[key], *rest))
    return tuple(rows)
