"""What a bundle proves about itself: how far the file is from the network, what it is made of, which gates hold."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from arch.cost import step_counts
from arch.space import Arch
from quantize.parity import deviation
from quantize.recipes import Recipe
from quantize.runtimes import FileAudit

FLOAT_DEVIATION_MM = 0.1
INT8_SHARE = 0.99


class Gate(BaseModel):
    """Something asked of a file, and whether it holds; `fix` says what to do where it does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    asked: str
    measured: float
    holds: bool
    fix: str


class Certificate(BaseModel):
    """Deviations in mm between two stages each (see `quantize.parity.Deviation`), the file's audit, and the gates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deviations: dict[str, dict[str, Any]]
    operators: dict[str, int]
    int8_share: float
    delegated: float
    partitions: int
    transposes: int
    bytes: int
    float_bytes: int | None
    steps_mm: dict[str, float] = {}  # what 8 bits cost in each step alone, simulated; the costliest first
    gates: tuple[Gate, ...]

    @property
    def holds(self) -> bool:
        """Whether every gate holds."""
        return all(gate.holds for gate in self.gates)


def certify(
    arch: Arch,
    recipe: Recipe,
    audit: FileAudit,
    *,
    torch_mm: NDArray[Any],
    file_mm: NDArray[Any],
    float_mm: NDArray[Any] | None = None,
    float_audit: FileAudit | None = None,
    steps_mm: dict[str, float] | None = None,
) -> Certificate:
    """The certificate of a file from the same pictures' joints, camera mm (N, J, 3), at each stage.

    `float_mm` and `float_audit` are those of the float file of the same runtime, where the recipe is another one;
    `steps_mm` comes from `quantize.sensitivity.step_costs`.
    """
    deviations = {"torch to file": deviation(file_mm, torch_mm).as_dict()}
    if float_mm is not None:
        deviations["torch to float file"] = deviation(float_mm, torch_mm).as_dict()
        deviations["float file to file"] = deviation(file_mm, float_mm).as_dict()
    faithful = deviations.get("torch to float file", None if recipe.int8 else deviations["torch to file"])
    return Certificate(
        deviations=deviations,
        operators=audit.operators,
        int8_share=round(audit.int8_share, 4),
        delegated=round(audit.delegated, 4),
        partitions=audit.partitions,
        transposes=audit.transposes,
        bytes=audit.bytes,
        float_bytes=float_audit.bytes if float_audit else None,
        steps_mm={name: round(mm, 3) for name, mm in (steps_mm or {}).items()},
        gates=tuple(_gates(arch, recipe, audit, faithful)),
    )


def _gates(arch: Arch, recipe: Recipe, audit: FileAudit, faithful: dict[str, Any] | None) -> list[Gate]:
    gates = [
        Gate(
            name="no transpose between convolutions",
            asked="0",
            measured=audit.transposes,
            holds=audit.transposes == 0,
            fix=f"the converter changed the layout ({_named(audit, 'transpose')}); export by another runtime",
        ),
        Gate(
            name="one delegate partition",
            asked="1",
            measured=audit.partitions,
            holds=audit.partitions == 1,
            fix=f"operators the fast backend has not: {_floats(audit)}; take relu, or another runtime",
        ),
    ]
    if recipe.int8:
        share = 1 - float_share(arch, recipe)
        measured = audit.int8_share / share if share else 1.0
        gates.append(
            Gate(
                name="MACs in INT8, float islands aside",
                asked=f"at least {INT8_SHARE:.0%}",
                measured=round(measured, 4),
                holds=measured >= INT8_SHARE,
                fix=f"layers that stayed float: {_floats(audit)}; take relu, or a recipe that quantizes them",
            )
        )
    if faithful:
        gates.append(
            Gate(
                name="float file is the network",
                asked=f"mean deviation at most {FLOAT_DEVIATION_MM} mm",
                measured=round(faithful["mean"], 4),
                holds=faithful["mean"] <= FLOAT_DEVIATION_MM,
                fix="the converter changed the network; report it, and export by another runtime",
            )
        )
    return gates


def float_share(arch: Arch, recipe: Recipe) -> float:
    """Share of the MACs in the steps that the recipe leaves in float."""
    left = recipe.float_steps(arch)
    macs = {
        node.name: sum(tally.macs for tally in tallies)
        for node, (tallies, _) in zip(arch.plan.nodes, step_counts(arch), strict=True)
    }
    return sum(macs[name] for name in left) / sum(macs.values())


def _named(audit: FileAudit, part: str) -> str:
    return ", ".join(f"{count} {name}" for name, count in audit.operators.items() if part in name.lower()) or "none"


def _floats(audit: FileAudit) -> str:
    return (
        ", ".join(f"{count} {name}" for name, count in audit.operators.items() if name.endswith(("float32", "f32")))
        or "none"
    )
