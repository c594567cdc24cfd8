"""Questions about an Arch that decide whether it can ship, answered from its plan alone."""

from __future__ import annotations

from typing import Any

from arch.space import Arch
from arch.spec import Block, Conv, SqueezeExcite


def activations(arch: Arch) -> set[str]:
    """Names of all activations and gates in the network."""
    found: set[str] = set()

    def visit(part: Any) -> None:
        if isinstance(part, Conv | Block) and part.act:
            found.add(part.act)
        if isinstance(part, SqueezeExcite):
            found.add(part.gate)
        if isinstance(part, tuple):
            for inner in part:
                visit(inner)

    visit(arch.plan)
    return found
