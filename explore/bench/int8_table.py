"""The record of `bench int8` as a page that people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from explore.bench import Claim


def markdown(rows: list[dict[str, Any]], claims: list[Claim]) -> str:
    """Tables of all parts, claims first; what falls short says so."""
    parts = {name: [row for row in rows if row["part"] == name] for name in dict.fromkeys(row["part"] for row in rows)}
    return "\n".join(
        [
            "# INT8 beside float",
            "",
            "Written by `python explore.py bench int8`; machine and versions are in `int8.json`. One thread throughout;",
            "figures of one network and part were taken in turns, in one run. MPJPE is on 500 rendered frames of people",
            "who were never trained on.",
            "",
            "## Claims",
            "",
            _table(
                ("claim", "asked", "measured", "interval", ""),
                [(c.name, c.asked, c.measured, c.interval, "holds" if c.holds else "**falls short**") for c in claims],
            ),
            "",
            "## Every recipe, as files",
            "",
            "`drop` is the file's MPJPE beyond that of the same runtime's float file; `speedup` is float ms / ms. Trained on",
            "so few samples, the networks are not converged. `int8-qat` trains on, by the samples after the +: its drop is",
            "what 8 bits cost less what training on gains, and no claim rests on it.",
            "",
            _table(
                ("network", "samples", "runtime", "recipe", "MPJPE mm", "drop mm", "ms", "speedup", "KiB", "INT8 MACs"),
                [_file(row) for row in parts.get("recipes", [])],
            ),
            "",
            "## At 256 px",
            "",
            "Latency alone: the weights are random, which changes no latency.",
            "",
            _table(
                ("network", "runtime", "recipe", "ms", "speedup"),
                [
                    (r["network"], r["runtime"], r["recipe"], f"{r['latency_ms']:.2f}", f"{r['speedup']:.2f}")
                    for r in parts.get("scale", [])
                ],
            ),
            "",
            "## Activations that LiteRT cannot run in INT8",
            "",
            "Replaced by relu and trained on; before, at once, and after. The float file before beside the INT8 file after.",
            "",
            _table(
                (
                    "network",
                    "samples",
                    "tuned on",
                    "before mm",
                    "at once mm",
                    "after mm",
                    "INT8 mm",
                    "float ms",
                    "INT8 ms",
                ),
                [_legal(row) for row in parts.get("legalise", [])],
            ),
            "",
            "## Seconds to convert XS by int8-static",
            "",
            "A search at 64 px asks at most 8 of a warm process. LiteRT's are spent tracing and lowering the graph, in",
            "litert-torch: a smaller picture saves little of them.",
            "",
            _table(
                ("runtime", "new process, 256 px", "warm, 256 px", "warm, 64 px"),
                [
                    (r["runtime"], *(f"{r[key]:.1f}" for key in ("cold_s", "warm_s", "warm_64px_s")))
                    for r in parts.get("conversion", [])
                ],
            ),
            "",
            "## One study, judged twice",
            "",
            "Its front by the INT8 file's own error and latency, and by the float network's error and MACs.",
            "",
            _table(
                ("network", "INT8 mm", "INT8 ms", "float mm", "M MACs", "judged as shipped", "judged as float"),
                [_member(row) for row in parts.get("front", []) if row["by_int8"] or row["by_float"]],
            ),
            "",
        ]
    )


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _number(value: float | None, digits: int = 2) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def _file(row: dict[str, Any]) -> tuple[str, ...]:
    further = f" + {row['further_samples']}" * bool(row["further_samples"])
    named = (row["network"], f"{row['samples']}{further}", row["runtime"], row["recipe"])
    if "refused" in row:
        return (*named, f"refused: {row['refused']}", *[""] * 5)
    return (
        *named,
        f"{row['mpjpe_mm']:.2f}",
        f"{row['drop_mm']:+.2f}",
        _number(row["latency_ms"], 3),
        _number(row["speedup"]),
        f"{row['kib']:.0f}",
        f"{row['int8_share']:.0%}",
    )


def _legal(row: dict[str, Any]) -> tuple[str, ...]:
    errors = ("before_mpjpe_mm", "replaced_mpjpe_mm", "after_mpjpe_mm", "int8_mpjpe_mm")
    return (
        row["network"],
        str(row["samples"]),
        str(row["tuning_samples"]),
        *(f"{row[key]:.1f}" for key in errors),
        _number(row["float_latency_ms"], 3),
        _number(row["latency_ms"], 3),
    )


def _member(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["network"],
        f"{row['mpjpe_mm']:.1f}",
        f"{row['latency_ms']:.3f}",
        f"{row['float_mpjpe_mm']:.1f}",
        f"{row['macs'] / 1e6:.1f}",
        "on the front" if row["by_int8"] else "off it",
        "on the front" if row["by_float"] else "off it",
    )
