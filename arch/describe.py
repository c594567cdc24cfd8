"""A network step by step: shapes, params, MACs and memory, as rows and as a table. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from arch.cost import make_cost, step_counts
from arch.space import Arch


@dataclass(frozen=True)
class Step:
    """One step of the plan; memory is what is alive at once while it runs (see `arch.cost`), in bytes."""

    name: str
    reads: str
    channels: int
    size: int
    stride: float
    params: int
    macs: int
    memory_float: int
    memory_int8: int


def describe(arch: Arch) -> list[Step]:
    """The steps of the network in order; `stride` is below one where a map is larger than the input."""
    nodes = arch.plan.nodes
    steps = []
    for node, (tallies, peak) in zip(nodes, step_counts(arch), strict=True):
        part = make_cost(tallies, peak)
        names = [
            "image" if source < 0 else nodes[source].name + (f" ({how})" if how else "") for source, how in node.inputs
        ]
        steps.append(
            Step(
                name=node.name,
                reads=" + ".join(names),
                channels=node.channels,
                size=node.size,
                stride=arch.input / node.size,
                params=part.params,
                macs=part.macs,
                memory_float=part.peak_activation_bytes_float,
                memory_int8=part.peak_activation_bytes_int8,
            )
        )
    return steps


def table(arch: Arch) -> str:
    """The steps as text, with a last line of totals."""
    steps = describe(arch)
    rows = [("step", "reads", "channels", "size", "params", "MACs", "float memory", "int8 memory")]
    for step in steps:
        rows.append(
            (
                step.name,
                step.reads,
                str(step.channels),
                f"{step.size}x{step.size}",
                f"{step.params:,}",
                f"{step.macs / 1e6:,.1f}M",
                f"{step.memory_float / 2**20:.2f} MiB",
                f"{step.memory_int8 / 2**20:.2f} MiB",
            )
        )
    rows.append(
        (
            "total",
            "",
            "",
            "",
            f"{sum(step.params for step in steps):,}",
            f"{sum(s.macs for s in steps) / 1e6:,.1f}M",
            f"{max(step.memory_float for step in steps) / 2**20:.2f} MiB",
            f"{max(step.memory_int8 for step in steps) / 2**20:.2f} MiB",
        )
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
