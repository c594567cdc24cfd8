"""Markdown page of the record of the benchmark `int8`."""

from __future__ import annotations

from typing import Any

from benchmarks import Claim, claims_table, markdown_table

Row = dict[str, Any]


def markdown(rows: list[Row], claims: list[Claim]) -> str:
    """Return the page: claims first, then a table for each part."""
    parts = {name: [row for row in rows if row["part"] == name] for name in dict.fromkeys(row["part"] for row in rows)}
    results = claims_table(claims)
    files = markdown_table(
        ("network", "samples", "runtime", "recipe", "MPJPE mm", "drop mm", "latency ms", "speedup", "KiB", "INT8 MACs"),
        [_file(row) for row in parts.get("recipes", [])],
    )
    full_size = markdown_table(
        ("network", "runtime", "recipe", "latency ms", "speedup"),
        [
            (row["network"], row["runtime"], row["recipe"], _number(row["latency_ms"]), _number(row["speedup"]))
            for row in parts.get("scale", [])
        ],
    )
    activations = markdown_table(
        (
            "network", "samples", "fine-tuning samples", "original mm", "replaced mm", "fine-tuned mm", "INT8 mm",
            "float latency ms", "INT8 latency ms",
        ),
        [_activation(row) for row in parts.get("legalise", [])],
    )  # fmt: skip
    conversion = markdown_table(
        ("runtime", "new process, 256 px", "warm, 256 px", "warm, 64 px"),
        [
            (row["runtime"], *(f"{row[key]:.1f}" for key in ("cold_s", "warm_s", "warm_64px_s")))
            for row in parts.get("conversion", [])
        ],
    )
    front = markdown_table(
        ("network", "INT8 MPJPE mm", "INT8 latency ms", "float MPJPE mm", "MACs M", "front by INT8", "front by float"),
        [_member(row) for row in parts.get("front", []) if row["by_int8"] or row["by_float"]],
    )
    return f"""# INT8 compared with float

Written by `python -m benchmarks int8`; machine and versions are in `int8.json`. All latencies use one thread and
interleaved rounds within each network and part. MPJPE is measured on 500 rendered frames of test subjects.

## Claims

{results}

## Files by recipe

`drop` is the increase in MPJPE over the same runtime's float file; `speedup` is float latency / latency. The networks are
not converged. `int8-qat` trains further, on the number of samples after the +, so its drop includes the gain of that
training; no claim uses it.

{files}

## At 256 px

Latency of networks with random weights, which are as fast as trained ones.

{full_size}

## Activations that LiteRT cannot run in INT8

Activations replaced by relu, then fine-tuned: MPJPE of the original network, after replacement, after fine-tuning, and of
the INT8 file; latency of the original float file and of the INT8 file.

{activations}

## Seconds to convert XS by int8-static

The target at 64 px is 8 s in a warm converter process. LiteRT spends most of its time tracing and lowering the graph in
litert-torch, which depends little on the input size.

{conversion}

## Pareto front by INT8 and by float results

The front of one study by error and latency of the INT8 files, and by error of the float files and MACs.

{front}
"""


def _number(value: float | None, digits: int = 2) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def _file(row: Row) -> tuple[str, ...]:
    further = f" + {row['further_samples']}" * bool(row["further_samples"])
    named = (row["network"], f"{row['samples']}{further}", row["runtime"], row["recipe"])
    if "refused" in row:
        return (*named, f"refused: {row['refused']}", *[""] * 5)
    sizes = (f"{row['kib']:.0f}", f"{row['int8_share']:.0%}")
    errors = (f"{row['mpjpe_mm']:.2f}", f"{row['drop_mm']:+.2f}")
    return (*named, *errors, _number(row["latency_ms"], 3), _number(row["speedup"]), *sizes)


def _activation(row: Row) -> tuple[str, ...]:
    errors = ("before_mpjpe_mm", "replaced_mpjpe_mm", "after_mpjpe_mm", "int8_mpjpe_mm")
    latencies = (_number(row["float_latency_ms"], 3), _number(row["latency_ms"], 3))
    return (
        row["network"],
        f"{row['samples']}",
        f"{row['tuning_samples']}",
        *(f"{row[k]:.1f}" for k in errors),
        *latencies,
    )


def _member(row: Row) -> tuple[str, ...]:
    int8 = (f"{row['mpjpe_mm']:.1f}", f"{row['latency_ms']:.3f}")
    plain = (f"{row['float_mpjpe_mm']:.1f}", f"{row['macs'] / 1e6:.1f}")
    return (row["network"], *int8, *plain, *("yes" if row[key] else "no" for key in ("by_int8", "by_float")))
