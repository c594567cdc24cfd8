"""Shapes, params, MACs and memory of each step of a network. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from arch.cost import make_cost, step_counts
from arch.space import Arch


@dataclass(frozen=True)
class Step:
    """One step of the plan; `memory_*` are the bytes of activations alive while it runs (see `arch.cost`).

    `size` is the side of the output map.
    """

    name: str
    reads: str
    channels: int
    size: int
    params: int
    macs: int
    memory_float: int
    memory_int8: int


def describe(arch: Arch) -> list[Step]:
    """Return the steps of the network in order."""
    nodes = arch.plan.nodes
    steps = []
    for node, (tallies, peak) in zip(nodes, step_counts(arch), strict=True):
        part = make_cost(tallies, peak)
        reads = [nodes[i].name + (f" ({how})" if how else "") if i >= 0 else "image" for i, how in node.inputs]
        memory = (part.peak_activation_bytes_float, part.peak_activation_bytes_int8)
        steps.append(Step(node.name, " + ".join(reads), node.channels, node.size, part.params, part.macs, *memory))
    return steps
